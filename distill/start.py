"""A student before its first step: tokenizer, token limits, and layers, random or borrowed."""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import transformers

from distill.errors import TrainingRefused
from distill.options import TrainOptions
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
)
from export.students.reprbert import ReprBert, ReprBertConfig
from export.students.student import Student
from export.tokens import TokenRows
from model_store.cwub import VOCABULARY_FILE, build_vocabulary
from model_store.errors import TokenizerError
from model_store.manifest import TokenizerSpec
from model_store.tokenizer import Side, Tokenizer, open_tokenizer
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer

READABLE_VOCABULARY_FILE = "vocabulary.txt"

_MOST_TOKENS = 4096  # what a manifest allows
_COVERED = 0.99  # share of the texts that a chosen limit leaves whole
_SAMPLE = 20_000  # texts whose lengths are looked at


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
    if kind == ReprBert.kind:
        return _start_reprbert(pairs, options, folder)
    if kind not in (Bert2DnnFc.kind, DeepDot.kind):
        raise TrainingRefused(
            f"unknown student {kind!r}: expected {Bert2DnnFc.kind}, {DeepDot.kind} or "
            f"{ReprBert.kind}"
        )
    if options.encoder is not None:
        raise TrainingRefused(f"student {kind} has no encoder: leave out {options.encoder}")
    return _start_cwub(kind, pairs, options, folder)


def _start_cwub(kind: str, pairs: Pairs, options: TrainOptions, folder: Path) -> Start:
    try:
        vocabulary, tokens = build_vocabulary(
            (*pairs.queries, *pairs.titles), options.minimum_frequency
        )
    except TokenizerError as error:
        raise TrainingRefused(f"{pairs.source}: {error}") from error
    vocabulary.save(folder / VOCABULARY_FILE)
    (folder / READABLE_VOCABULARY_FILE).write_text("\n".join(tokens) + "\n", encoding="utf-8")
    spec = _with_limits(
        TokenizerSpec(
            kind="cwub",
            files=[VOCABULARY_FILE],
            query_tokens=options.query_tokens or _MOST_TOKENS,
            product_tokens=options.product_tokens or _MOST_TOKENS,
        ),
        pairs,
        options,
        folder,
    )
    student: Student
    if kind == DeepDot.kind:
        student = DeepDot(DeepDotConfig(vocabulary=len(vocabulary)))
    else:
        student = Bert2DnnFc(Bert2DnnConfig(vocabulary=len(vocabulary)))
    facts: Facts = {
        "vocabulary": len(vocabulary),
        "minimum_frequency": options.minimum_frequency,
    }
    return Start(student, open_tokenizer(folder, spec), spec, facts)


def _start_reprbert(pairs: Pairs, options: TrainOptions, folder: Path) -> Start:
    if options.encoder is None:
        raise TrainingRefused(
            "student reprbert starts from an encoder: give the folder of a BERT-type checkpoint "
            "(config.json, tokenizer.json and, unless from_scratch, model.safetensors)"
        )
    config = read_encoder_config(options.encoder, options.layers)
    _copy_tokenizer(options.encoder, config, folder)
    positions = min(_MOST_TOKENS, config.max_position_embeddings)
    for name, limit in (("query", options.query_tokens), ("product", options.product_tokens)):
        if limit is not None and not 3 <= limit <= positions:
            raise TrainingRefused(
                f"{name}_tokens: expected 3 (one token between [CLS] and [SEP]) to {positions} "
                f"(positions of the encoder), got {limit}"
            )
    spec = _with_limits(
        TokenizerSpec(
            kind="wordpiece",
            files=[TOKENIZER_FILE],
            query_tokens=options.query_tokens or positions,
            product_tokens=options.product_tokens or positions,
        ),
        pairs,
        options,
        folder,
    )
    student = ReprBert(ReprBertConfig(encoder=config))
    facts: Facts = {"layers": options.layers, "from_scratch": options.from_scratch}
    facts["transformers"] = transformers.__version__
    if not options.from_scratch:
        load_encoder_weights(student.encoder, options.encoder)
        with (options.encoder / WEIGHTS_FILE).open("rb") as file:
            facts["encoder_sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    return Start(student, open_tokenizer(folder, spec), spec, facts)


def _copy_tokenizer(encoder: Path, config: EncoderConfig, folder: Path) -> None:
    path = encoder / TOKENIZER_FILE
    try:
        WordPieceTokenizer(path, query_tokens=3, product_tokens=3)
    except TokenizerError as error:
        raise EncoderRefused(
            f"{encoder}: {error}. An older checkpoint gets its tokenizer.json from transformers: "
            "AutoTokenizer.from_pretrained(folder).save_pretrained(folder)"
        ) from error
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    ends = [tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]")]
    ids = tokenizer.encode("a").ids
    if ids[:1] + ids[-1:] != ends:
        raise EncoderRefused(
            f"{path}: expected every text to become [CLS] tokens [SEP] (ids {ends}), got ids {ids}"
        )
    if tokenizer.get_vocab_size() > config.vocab_size:
        raise EncoderRefused(
            f"{path}: has {tokenizer.get_vocab_size()} tokens, but the encoder's table has "
            f"{config.vocab_size}: they belong to different checkpoints"
        )
    shutil.copyfile(path, folder / TOKENIZER_FILE)


def _with_limits(
    spec: TokenizerSpec, pairs: Pairs, options: TrainOptions, folder: Path
) -> TokenizerSpec:
    """The spec with limits that leave 99 % of the texts whole, rounded up to a multiple of 8."""
    tokenizer = open_tokenizer(folder, spec)
    limits = spec.model_dump()
    sides: list[tuple[Side, Sequence[str], int | None]] = [
        ("query", pairs.queries, options.query_tokens),
        ("product", pairs.titles, options.product_tokens),
    ]
    for side, texts, told in sides:
        if told is None:
            sample = texts[:: 1 + len(texts) // _SAMPLE]
            covering = TokenRows(tokenizer, sample, side).covering_length(_COVERED)
            limits[f"{side}_tokens"] = min(limits[f"{side}_tokens"], max(8, -(-covering // 8) * 8))
    return TokenizerSpec.model_validate(limits)
