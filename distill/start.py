"""A student before its first step: tokenizer, token limits, and layers, random or borrowed."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
import transformers
from pydantic import ValidationError

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from distill.vocabularies import MOST_TOKENS, copy_wordpieces, idf, wordpiece_spec, write_cwub
from export.checkpoint import Facts
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.students.bert2dnn import Bert2DnnConfig, Bert2DnnFc
from export.students.deepdot import DeepDot, DeepDotConfig
from export.students.encoder import (
    WEIGHTS_FILE,
    EncoderConfig,
    load_encoder_weights,
    read_encoder_config,
    read_word_embeddings,
)
from export.students.listbert import ListBert, ListBertConfig
from export.students.poly import Poly, PolyConfig
from export.students.reprbert import ReprBert, ReprBertConfig
from export.students.siamese import Siamese, SiameseConfig
from export.students.student import Student
from model_store.digest import file_sha256
from model_store.manifest import TokenizerSpec
from model_store.tokenizer import Tokenizer, open_tokenizer
from model_store.wordpiece import TOKENIZER_FILE

BAGS = (Bert2DnnFc.kind, DeepDot.kind)
ENCODERS = (ReprBert.kind, Siamese.kind, Poly.kind, ListBert.kind)

# Options that only some students take.
_TAKEN_BY = {
    "tokenizer": BAGS,
    "minimum_frequency": BAGS,
    "maximum_vocabulary": BAGS,
    "layers": ENCODERS,
    "from_scratch": BAGS + ENCODERS,
    "late": (ReprBert.kind,),
    "intermediate": (ReprBert.kind,),
    "attention": (ReprBert.kind,),
    "pooling": (Siamese.kind, Poly.kind, ListBert.kind),
    "codes": (Poly.kind,),
}

_EncoderStudent = ReprBert | Siamese | Poly | ListBert


@dataclass(frozen=True)
class Start:
    """A student with untrained parts, and the tokenizer whose files lie in the folder given."""

    student: Student
    tokenizer: Tokenizer
    spec: TokenizerSpec
    facts: Facts


def start_student(kind: str, pairs: Pairs, options: TrainOptions, folder: Path) -> Start:
    """Writes the tokenizer's files into `folder` and makes the student. torch's seed decides.

    Raises:
        TrainingRefused: no such kind, an option the kind doesn't take, or one it lacks.
        EncoderRefused: the encoder's folder is no BERT-type checkpoint.
    """
    check_options(kind, options)
    if kind in ENCODERS:
        return _start_encoder(kind, pairs, options, folder)
    return _start_bag(kind, pairs, options, folder)


def check_options(kind: str, options: TrainOptions) -> None:
    """Refuses what can be known to be wrong before there are pairs.

    Raises:
        TrainingRefused: no such kind, or an option the kind doesn't take.
    """
    if kind not in BAGS + ENCODERS:
        raise TrainingRefused(
            f"unknown student {kind!r}: expected one of {', '.join(BAGS + ENCODERS)}"
        )
    for option in fields(options):
        takers = _TAKEN_BY.get(option.name, (kind,))
        if kind not in takers and getattr(options, option.name) != option.default:
            raise TrainingRefused(
                f"student {kind} takes no {option.name}: leave it out, or train one of "
                f"{', '.join(takers)}"
            )
    if kind in BAGS and options.from_scratch and options.tokenizer == "cwub":
        raise TrainingRefused(
            "from_scratch: a table of tokenizer cwub begins at random anyway: leave it out"
        )
    for name in ("minimum_frequency", "maximum_vocabulary"):
        if options.tokenizer == "wordpiece" and getattr(options, name) != getattr(
            TrainOptions, name
        ):
            raise TrainingRefused(
                f"{name}: the vocabulary of tokenizer wordpiece is what it is: leave it out"
            )


def _start_bag(kind: str, pairs: Pairs, options: TrainOptions, folder: Path) -> Start:
    """BERT2DNN and deep-dot: a table for the words of CWUB, or for an encoder's word pieces."""
    facts: Facts
    if options.tokenizer == "wordpiece":
        if options.encoder is None:
            raise TrainingRefused(
                "tokenizer wordpiece: expected as encoder the folder of a BERT-type checkpoint, "
                "whose tokenizer.json is taken, got none"
            )
        pieces = copy_wordpieces(options.encoder, folder)
        spec = wordpiece_spec(MOST_TOKENS, pairs, options, folder)
        size, not_counted = pieces.size, pieces.no_words
        facts = {"vocabulary": size, "from_scratch": options.from_scratch}
    else:
        if options.encoder is not None:
            raise TrainingRefused(
                f"student {kind} has no encoder: leave out {options.encoder}, or take its "
                "vocabulary with tokenizer wordpiece"
            )
        spec, size = write_cwub(pairs, options, folder)
        not_counted = ()
        facts = {"vocabulary": size, "minimum_frequency": options.minimum_frequency}
    student: DeepDot | Bert2DnnFc
    if kind == DeepDot.kind:
        student = DeepDot(DeepDotConfig(vocabulary=size, not_counted=not_counted))
    else:
        student = Bert2DnnFc(Bert2DnnConfig(vocabulary=size, not_counted=not_counted))
    if options.encoder is not None and not options.from_scratch:
        meanings_VH = read_word_embeddings(options.encoder)
        _check_same_tokens(options.encoder, size, len(meanings_VH))
        weights_V = idf(open_tokenizer(folder, spec), pairs.titles, not_counted)
        student.bag.begin_with(meanings_VH, torch.from_numpy(weights_V))
        facts["encoder_sha256"] = file_sha256(options.encoder / WEIGHTS_FILE)
    return Start(student, open_tokenizer(folder, spec), spec, facts)


def _start_encoder(kind: str, pairs: Pairs, options: TrainOptions, folder: Path) -> Start:
    """All others: the first layers of a BERT-type checkpoint, and what each puts on top."""
    if options.encoder is None:
        raise TrainingRefused(
            f"student {kind} starts from an encoder: give the folder of a BERT-type checkpoint "
            "(config.json, tokenizer.json and, unless from_scratch, model.safetensors)"
        )
    config = read_encoder_config(options.encoder, options.layers)
    pieces = copy_wordpieces(options.encoder, folder)
    _check_same_tokens(options.encoder, pieces.size, config.vocab_size)
    spec = wordpiece_spec(config.max_position_embeddings, pairs, options, folder)
    student = _on_top(kind, config, options)
    facts: Facts = {"layers": options.layers, "from_scratch": options.from_scratch}
    facts["transformers"] = transformers.__version__
    if not options.from_scratch:
        load_encoder_weights(student.encoder, options.encoder)
        facts["encoder_sha256"] = file_sha256(options.encoder / WEIGHTS_FILE)
    return Start(student, open_tokenizer(folder, spec), spec, facts)


def _check_same_tokens(encoder: Path, tokens: int, rows: int) -> None:
    if tokens > rows:
        raise EncoderRefused(
            f"{encoder / TOKENIZER_FILE}: has {tokens} tokens, but the encoder's "
            f"table has {rows}: they belong to different checkpoints"
        )


def _on_top(kind: str, encoder: EncoderConfig, options: TrainOptions) -> _EncoderStudent:
    """The student with random weights, its encoder's too."""
    pooling = options.pooling
    try:
        match kind:
            case Siamese.kind:
                return Siamese(SiameseConfig(encoder=encoder, pooling=pooling))
            case Poly.kind:
                return Poly(PolyConfig(encoder=encoder, codes=options.codes, pooling=pooling))
            case ListBert.kind:
                return ListBert(ListBertConfig(encoder=encoder, pooling=pooling))
            case _:
                return ReprBert(
                    ReprBertConfig(
                        encoder=encoder,
                        late=options.late,
                        intermediate=options.intermediate,
                        attention=options.attention,
                    )
                )
    except ValidationError as error:
        raise TrainingRefused(f"student {kind}: {error.errors()[0]['msg']}") from error
