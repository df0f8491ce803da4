"""The tables that say what a recipe makes of its data: their keys, what they may be, and defaults.

Options of a teacher, a student and so on stand in their table beside the keys named here, under the
names that the commands' options have; recipe_file.py gathers them into `options`.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from distill.graph import GraphOptions
from distill.lexical_options import LexicalOptions
from distill.objectives import Listwise, Objective, Pairwise, Pointwise
from distill.options import TrainOptions
from distill.pretrain_options import PretrainOptions, ShortenOptions
from distill.table import Name, Share, Table, checked
from distill.teach_options import TeachOptions
from distill.transfer_options import LogOptions, TransferOptions
from evaluation.baselines import Baseline
from evaluation.resampling import RESAMPLES


class NewEncoder(Table):
    """A BERT with random weights and a vocabulary of the catalogue's and the judged texts."""

    name: Name
    layers: PositiveInt = 2
    width: PositiveInt = 128
    heads: PositiveInt = 4
    feed_forward: PositiveInt = 512
    positions: Annotated[int, Field(ge=8)] = 128
    vocabulary: Annotated[int, Field(ge=100)] = 8_000  # tokens at most
    seed: NonNegativeInt | None = None

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of width {self.width}, got {self.heads}")
        return self


class PretrainTable(Table):
    """Continued pre-training of `encoder` on titles and training queries."""

    name: Name
    encoder: str
    seed: NonNegativeInt | None = None
    options: Annotated[PretrainOptions, checked] = PretrainOptions()


class ShortenTable(Table):
    """The first layers of `encoder`, which learn the whole's sentence vectors of titles and
    training queries.
    """

    name: Name
    encoder: str
    seed: NonNegativeInt | None = None
    options: Annotated[ShortenOptions, checked] = ShortenOptions()


class TeacherTable(Table):
    """A cross-encoder fine-tuned from `encoder`; or a lexical teacher, which starts from nothing,
    but may see the vectors of one; or a teacher of either kind that lies in `folder` already.
    """

    name: Name
    architecture: Literal["cross-encoder", "lexical"] = "cross-encoder"
    encoder: str | None = None
    folder: Path | None = None
    seed: NonNegativeInt | None = None
    options: Annotated[TeachOptions, checked] = TeachOptions()
    lexical: Annotated[LexicalOptions, checked] = LexicalOptions()

    @property
    def is_lexical(self) -> bool:
        """Whether it is labelled with as it is: there is no graph to make of it."""
        return self.architecture == "lexical"

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.encoder is not None) + (self.folder is not None)
        if sources > 1 or (sources == 0 and not self.is_lexical):
            raise ValueError("expected either encoder (to learn with), or folder (a teacher)")
        told = self.options != TeachOptions() or self.lexical != LexicalOptions()
        if self.folder is not None and told:
            raise ValueError(f"folder: {self.folder} is trained already: leave out all options")
        return self


class Log(Table):
    """A shop's log, in place of pairs made from catalogue and queries."""

    path: Path
    shown_column: str = "shown"
    clicked_column: str = "clicked"
    ordered_column: str = "ordered"
    skipped_column: str = "skipped"
    options: Annotated[LogOptions, checked] = LogOptions()


class Labels(Table):
    """What labels: the teacher in PyTorch (on a GPU the faster), or converted to an ONNX graph."""

    scorer: Literal["int8", "float32", "pytorch"] = "int8"


class Transfer(Table):
    """Where the pairs to label come from: catalogue and queries, a log, or a file made before."""

    queries: Path | None = None  # more than those of the judgements
    query_column: str = "query"  # of that file
    log: Log | None = None
    file: Path | None = None
    seed: NonNegativeInt | None = None
    options: Annotated[TransferOptions, checked] = TransferOptions()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        made = self.queries is not None or self.options != TransferOptions()
        if (self.log is not None) + (self.file is not None) + made > 1:
            raise ValueError(
                "expected one of log, file, or options for pairs made from catalogue and queries"
            )
        return self


class Course(Table):
    """How a second training of a student differs from its first; None: as there."""

    epochs: PositiveInt | None = None
    patience: PositiveInt | None = None
    validate_every: PositiveInt | None = None
    batch_size: PositiveInt | None = None
    learning_rate: PositiveFloat | None = None
    encoder_learning_rate: PositiveFloat | None = None
    warm_up: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None

    def over(self, options: TrainOptions) -> TrainOptions:
        """Those options, with what is said here in their place."""
        changes = {
            name: getattr(self, name)
            for name in Course.model_fields
            if getattr(self, name) is not None
        }
        return replace(options, **changes)


class FineTune(Course):
    """A second stage on judged pairs: soft + hard_weight * hard (ReprBERT eq. 7)."""

    hard_weight: NonNegativeFloat = 0.5


class Context(Table):
    """Texts with those of their neighbours in the graph of the judged training pairs."""

    dropout: Share = 0.3  # of the training texts, which stay bare
    options: Annotated[GraphOptions, checked] = GraphOptions()


ObjectiveName = Literal["pointwise", "pairwise", "listwise"]


class StudentTable(Table):
    """A student: what it is, whose labels of how many pairs it learns, and what comes of it."""

    name: Name
    like: Name | None = None  # the student above whose keys it has taken, and is compared with
    kind: str
    encoder: str | None = None
    labels: tuple[Name, ...] = ()  # of these teachers, or students above; none named: all teachers
    wide: bool = False  # labels of [wide]'s pairs; always those, where a student labels
    temperature: PositiveFloat = 1.0
    max_pairs: PositiveInt | None = None  # the first so many of them
    behaviour: bool = False  # pairs that the log marks as wanted have target 1
    objective: ObjectiveName = "pointwise"
    seed: NonNegativeInt | None = None
    options: Annotated[TrainOptions, checked] = TrainOptions()
    pointwise: Annotated[Pointwise, checked] = Pointwise()
    pairwise: Annotated[Pairwise, checked] = Pairwise()
    listwise: Annotated[Listwise, checked] = Listwise()
    fine_tune: FineTune | None = None
    context: Context | None = None
    labels_alone: Course | None = None  # the same student, trained on the judged pairs alone
    publish: bool = True  # false: no bundle, its figures are taken in PyTorch
    bundle: Name | None = None  # None: <recipe>-<student>
    int8_product: bool = False

    @property
    def descends_on(self) -> Objective:
        """What it is trained to do on the teachers' labels."""
        by_name: Mapping[ObjectiveName, Objective] = {
            "pointwise": self.pointwise,
            "pairwise": self.pairwise,
            "listwise": self.listwise,
        }
        return by_name[self.objective]


class Calibrate(Table):
    """Targets of the sort modes' thresholds, as `winnow calibrate` reads them."""

    default: str = "recall=0.99"
    sale: str = "recall=0.95"
    price: str = "recall=0.9"
    folds: Annotated[int, Field(ge=2)] = 5


class Publish(Table):
    """Where bundles go is the command's to say; this is what they are called there."""

    dataset: str | None = None  # what manifests call the judgements; None: the recipe's name
    set_current: bool = False  # name each the active version, without looking for vectors


class Report(Table):
    """What students are held against.

    stacks: teachers stacked, by a name for each stack; none named: all of them as "teachers"
    against: the stack or teacher that ratios are taken to; None: the first stack, else the teacher
    """

    baselines: tuple[Baseline, ...] = ("overlap", "bm25")
    stacks: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = Field(
        default_factory=dict
    )
    against: Name | None = None
    resamples: Annotated[int, Field(ge=100)] = RESAMPLES
