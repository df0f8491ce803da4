"""An encoder from nothing: a small BERT with random weights, and word pieces of given texts.

For catalogues that no pretrained encoder knows, and for encoders small enough for a repository.
The vocabulary is not what `tokenizers` would train, which differs from one run to the next: it has
every character of the texts, alone and within a word, and then their most frequent words. Greedy
longest match reads "chargers" as charger ##s all the same.
"""

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM

from distill.errors import TrainingRefused
from distill.fine_tune import seeded
from distill.pretrained import quiet_transformers
from model_store.wordpiece import TOKENIZER_FILE

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_UNKNOWN = "[UNK]"
_LEAST_FREQUENT = 2  # a word seen once teaches nothing about another text


@dataclass(frozen=True, kw_only=True)
class EncoderSizes:
    """Sizes of a BERT; `vocabulary` is the most it may have."""

    layers: int
    width: int
    heads: int
    feed_forward: int
    positions: int
    vocabulary: int


def write_new_encoder(texts: Iterable[str], sizes: EncoderSizes, seed: int, out: Path) -> int:
    """Writes configuration, weights and tokenizer to the folder `out`; how many tokens it knows.

    The same texts, sizes and seed give the same bytes.

    Raises:
        TrainingRefused: more characters than the vocabulary may have entries.
    """
    tokens = word_pieces(texts, sizes.vocabulary)
    config = BertConfig(
        vocab_size=len(tokens),
        hidden_size=sizes.width,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.feed_forward,
        max_position_embeddings=sizes.positions,
    )
    staging = out.with_name(f"{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    with seeded(seed, torch.device("cpu")), quiet_transformers():
        BertForMaskedLM(config).save_pretrained(staging)
    _tokenizer(tokens).save(str(staging / TOKENIZER_FILE))
    staging.rename(out)
    return len(tokens)


def word_pieces(texts: Iterable[str], most: int) -> list[str]:
    """At most so many tokens: special ones, characters, ##characters, words by frequency.

    Raises:
        TrainingRefused: the characters alone are more.
    """
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    counts: Counter[str] = Counter()
    for text in texts:
        pieces = splitter.pre_tokenize_str(normalizer.normalize_str(text))
        counts.update(piece for piece, _ in pieces)
    alone = sorted({character for word in counts for character in word})
    within = sorted({character for word in counts for character in word[1:]})
    tokens = [*_SPECIAL, *alone, *(f"##{character}" for character in within)]
    if len(tokens) > most:
        raise TrainingRefused(
            f"vocabulary: expected room for {len(tokens)} characters and special tokens, got {most}"
        )
    words = [word for word, count in counts.items() if len(word) > 1 and count >= _LEAST_FREQUENT]
    words.sort(key=lambda word: (-counts[word], word))
    return [*tokens, *words[: most - len(tokens)]]


def _tokenizer(tokens: Sequence[str]) -> Tokenizer:
    """[CLS] a [SEP], and [CLS] a [SEP] b [SEP] with segments 0 and 1."""
    numbers = {token: number for number, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(numbers, unk_token=_UNKNOWN))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(_SPECIAL))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, numbers[token]) for token in ("[CLS]", "[SEP]")],
    )
    return tokenizer
