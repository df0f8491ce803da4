"""What a student reads its texts with: the tokenizer's files in its folder, and token limits."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import tokenizers
from numpy.typing import NDArray

from distill.errors import TrainingRefused
from distill.options import TrainOptions
from export.errors import EncoderRefused
from export.pairs import Pairs
from export.tokens import TokenRows
from model_store.cwub import VOCABULARY_FILE, build_vocabulary
from model_store.errors import TokenizerError
from model_store.manifest import TokenizerSpec
from model_store.tokenizer import Side, Tokenizer, open_tokenizer
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer

READABLE_VOCABULARY_FILE = "vocabulary.txt"
MOST_TOKENS = 4096  # what a manifest allows

_COVERED = 0.99  # share of the texts that a chosen limit leaves whole
_SAMPLE = 20_000  # texts whose lengths are looked at

# WordPiece tokens that are no words of a text: a bag leaves them out.
_NO_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class WordPieces:
    """A WordPiece vocabulary: its size, and the ids of tokens that are no words of a text."""

    size: int
    no_words: tuple[int, ...]


def write_cwub(pairs: Pairs, options: TrainOptions, folder: Path) -> tuple[TokenizerSpec, int]:
    """Builds a CWUB vocabulary from the pairs' texts and writes it, once more for people.

    Returns:
        The tokenizer with its limits, and the number of entries.

    Raises:
        TrainingRefused: no token is frequent enough.
    """
    try:
        vocabulary, tokens = build_vocabulary(
            chain(pairs.queries, pairs.titles),
            options.minimum_frequency,
            options.maximum_vocabulary,
        )
    except TokenizerError as error:
        raise TrainingRefused(f"{pairs.source}: {error}") from error
    vocabulary.save(folder / VOCABULARY_FILE)
    (folder / READABLE_VOCABULARY_FILE).write_text("\n".join(tokens) + "\n", encoding="utf-8")
    spec = TokenizerSpec(
        kind="cwub",
        files=[VOCABULARY_FILE],
        query_tokens=options.query_tokens or MOST_TOKENS,
        product_tokens=options.product_tokens or MOST_TOKENS,
    )
    return _with_limits(spec, pairs, options, folder), len(vocabulary)


def copy_wordpieces(encoder: Path, folder: Path) -> WordPieces:
    """Copies an encoder's tokenizer.json, if it makes [CLS] tokens [SEP] of every text.

    Raises:
        EncoderRefused: there is no such tokenizer.
    """
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
    shutil.copyfile(path, folder / TOKENIZER_FILE)
    no_words = (tokenizer.token_to_id(token) for token in _NO_WORDS)
    return WordPieces(
        size=tokenizer.get_vocab_size(),
        no_words=tuple(sorted(token for token in no_words if token is not None)),
    )


def wordpiece_spec(
    positions: int, pairs: Pairs, options: TrainOptions, folder: Path
) -> TokenizerSpec:
    """The tokenizer in `folder` with limits of at most `positions`, which count [CLS] and [SEP].

    Raises:
        TrainingRefused: a limit that was asked for leaves no room for a word, or is beyond.
    """
    positions = min(MOST_TOKENS, positions)
    for name, limit in (("query", options.query_tokens), ("product", options.product_tokens)):
        if limit is not None and not 3 <= limit <= positions:
            raise TrainingRefused(
                f"{name}_tokens: expected 3 (one token between [CLS] and [SEP]) to {positions} "
                f"(the positions that there are), got {limit}"
            )
    spec = TokenizerSpec(
        kind="wordpiece",
        files=[TOKENIZER_FILE],
        query_tokens=options.query_tokens or positions,
        product_tokens=options.product_tokens or positions,
    )
    return _with_limits(spec, pairs, options, folder)


def idf(
    tokenizer: Tokenizer, titles: Sequence[str], not_counted: Sequence[int] = ()
) -> NDArray[np.float32]:
    """IDF of each token over the distinct titles, float32 [V]; 1 in the mean over their tokens.

    As scikit-learn's, ln((1 + n) / (1 + titles with it)) + 1, so that a token of no title weighs
    most. Those `not_counted` have a weight too, but no part in the mean.
    """
    rows = TokenRows(tokenizer, titles, "product")
    title = np.repeat(np.arange(len(rows)), rows.lengths)
    tokens = np.unique(title * tokenizer.size + rows.ids) % tokenizer.size  # once a title
    holding = np.bincount(tokens, minlength=tokenizer.size)
    weights = np.log((1 + len(rows)) / (1 + holding)) + 1
    holding[list(not_counted)] = 0
    weights /= np.average(weights, weights=holding) if holding.any() else 1.0
    return weights.astype(np.float32)


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
