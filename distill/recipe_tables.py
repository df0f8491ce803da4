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

LabelScorer = Literal["int8", "float32", "pytorch"]


class NewEncoder(Table):
    """A BERT with random weights and a vocabulary of the catalogue's and the judged texts."""

    name: Name  # by which others name it
    layers: PositiveInt = 2  # of attention, one above the other
    width: PositiveInt = 128  # of a token's state
    heads: PositiveInt = 4  # of attention, in each layer
    feed_forward: PositiveInt = 512  # width between the two products of a layer
    positions: Annotated[int, Field(ge=8)] = 128  # tokens of a text at most
    vocabulary: Annotated[int, Field(ge=100)] = 8_000  # tokens known at most
    seed: NonNegativeInt | None = None  # None: the recipe's

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of width {self.width}, got {self.heads}")
        return self


class PretrainTable(Table):
    """Continued pre-training of `encoder` on titles and training queries."""

    name: Name  # by which others name it
    encoder: str  # where it begins
    seed: NonNegativeInt | None = None  # None: the recipe's
    options: Annotated[PretrainOptions, checked] = PretrainOptions()


class ShortenTable(Table):
    """The first layers of `encoder`, which learn the whole's sentence vectors of titles and
    training queries.
    """

    name: Name  # by which others name it
    encoder: str  # whose first layers are kept
    seed: NonNegativeInt | None = None  # None: the recipe's
    options: Annotated[ShortenOptions, checked] = ShortenOptions()


class TeacherTable(Table):
    """A cross-encoder fine-tuned from `encoder`; or a lexical teacher, which starts from nothing,
    but may see the vectors of one; or a teacher of either kind that lies in `folder` already.
    """

    name: Name  # by which labels, stacks and the report name it
    architecture: Literal["cross-encoder", "lexical"] = "cross-encoder"  # lexical: boosted trees
    encoder: str | None = None  # where it begins; what a lexical one sees beside words
    folder: Path | None = None  # in place of `encoder`: a teacher that is there
    scorer: LabelScorer | None = None  # what labels for it; None: as [labels] says
    label_pairs: PositiveInt | None = None  # it labels the first so many pairs alone; None: all
    seed: NonNegativeInt | None = None  # None: the recipe's
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
        if self.is_lexical and self.scorer is not None:
            raise ValueError("scorer: a lexical teacher labels as it is: leave it out")
        told = self.options != TeachOptions() or self.lexical != LexicalOptions()
        if self.folder is not None and told:
            raise ValueError(f"folder: {self.folder} is trained already: leave out all options")
        return self


class Log(Table):
    """A shop's log, in place of pairs made from catalogue and queries."""

    path: Path  # CSV, TSV or JSONL, also .gz
    shown_column: str = "shown"  # how often the product was shown for the query
    clicked_column: str = "clicked"  # how often it was clicked
    ordered_column: str = "ordered"  # how often it was ordered
    skipped_column: str = "skipped"  # how often shown above one that was clicked; may be missing
    options: Annotated[LogOptions, checked] = LogOptions()


class Labels(Table):
    """What labels: the teacher in PyTorch (on a GPU the faster), or converted to an ONNX graph."""

    # What labels: ONNX graphs on the CPU in int8 or float32, or PyTorch (for a GPU).
    scorer: LabelScorer = "int8"


class Transfer(Table):
    """Where the pairs to label come from: catalogue and queries, a log, or a file made before."""

    queries: Path | None = None  # more than those of the judgements
    query_column: str = "query"  # of that file
    log: Log | None = None
    file: Path | None = None  # in place of all that: pairs made before, with query and title
    seed: NonNegativeInt | None = None  # None: the recipe's
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

    epochs: PositiveInt | None = None  # at most
    patience: PositiveInt | None = None  # validations without a better AUC
    validate_every: PositiveInt | None = None  # steps
    batch_size: PositiveInt | None = None  # pairs of a step
    learning_rate: PositiveFloat | None = None  # at its peak
    encoder_learning_rate: PositiveFloat | None = None  # of layers that come from a checkpoint
    warm_up: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None  # share of all steps

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

    hard_weight: NonNegativeFloat = 0.5  # of what people say, beside the teachers' soft labels


class Context(Table):
    """Texts with those of their neighbours in the graph of the judged training pairs."""

    dropout: Share = 0.3  # of the training texts, which stay bare
    options: Annotated[GraphOptions, checked] = GraphOptions()


ObjectiveName = Literal["pointwise", "pairwise", "listwise"]


class StudentTable(Table):
    """A student: what it is, whose labels of how many pairs it learns, and what comes of it."""

    name: Name  # of its folder, its bundle and its line in the report
    # The student above whose keys it takes, and which it is compared with; its own come first.
    like: Name | None = None
    kind: str  # bert2dnn, deepdot, reprbert, siamese, poly, listbert
    encoder: str | None = None  # where its layers begin, or whose word pieces a bag takes
    labels: tuple[Name, ...] = ()  # of these teachers, or students above; none named: all teachers
    wide: bool = False  # labels of [wide]'s pairs; always those, where a student labels
    temperature: PositiveFloat = 1.0  # of the labels: sigmoid(logit / temperature)
    max_pairs: PositiveInt | None = None  # the first so many of them
    behaviour: bool = False  # pairs that the log marks as wanted have target 1
    clicks: bool = False  # learns the log's click ratios (rule "clicks") in place of labels
    objective: ObjectiveName = "pointwise"  # with the options of that objective, below
    seed: NonNegativeInt | None = None  # None: the recipe's
    options: Annotated[TrainOptions, checked] = TrainOptions()
    pointwise: Annotated[Pointwise, checked] = Pointwise()
    pairwise: Annotated[Pairwise, checked] = Pairwise()
    listwise: Annotated[Listwise, checked] = Listwise()
    fine_tune: FineTune | None = None
    context: Context | None = None
    labels_alone: Course | None = None  # the same student, trained on the judged pairs alone
    publish: bool = True  # false: no bundle, its figures are taken in PyTorch
    bundle: Name | None = None  # its name in the registry; None: RECIPE-STUDENT
    int8_product: bool = False  # index with the int8 product graph, where it passes the gate

    @model_validator(mode="after")
    def _labels_once(self) -> Self:
        if twice := [name for name in self.labels if self.labels.count(name) > 1]:
            raise ValueError(f"labels: expected each name once, got {twice[0]!r} twice")
        return self

    @property
    def has_probabilities(self) -> bool:
        """Whether its logits are log odds of relevance, and not an order of products alone."""
        if self.fine_tune is not None or self.objective == "pointwise":
            return True
        return self.objective == "listwise" and self.listwise.pointwise_weight > 0

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

    # recall=SHARE of the relevant pairs kept, precision=SHARE of the kept pairs relevant, or
    # keep=SHARE of all pairs.
    default: str = "recall=0.99"
    sale: str = "recall=0.95"  # the same
    price: str = "recall=0.9"  # the same
    folds: Annotated[int, Field(ge=2)] = 5  # of queries: what is promised is held out


class Publish(Table):
    """Where bundles go is the command's to say; this is what they are called there."""

    dataset: str | None = None  # what manifests call the judgements; None: the recipe's name
    set_current: bool = False  # name each the active version, without looking for vectors


class Report(Table):
    """What students are held against.

    stacks: teachers stacked, by a name for each stack; none named: all of them as "teachers"
    against: the stack or teacher that ratios are taken to; None: the first stack, else the teacher
    """

    baselines: tuple[Baseline, ...] = ("overlap", "bm25")  # scorers without a model
    stacks: dict[Name, Annotated[tuple[Name, ...], Field(min_length=2)]] = Field(
        default_factory=dict
    )
    against: Name | None = None
    resamples: Annotated[int, Field(ge=100)] = RESAMPLES  # of the queries, for 95 % intervals
