"""Texts with masked tokens: which ones are to be predicted, and what stands in their places."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from distill.errors import TrainingRefused
from distill.pair_tokens import covering_limit
from export.errors import EncoderRefused

MASKED, RANDOM = 0.8, 0.1  # shares of the tokens to predict; the rest stay (Devlin et al., 2019)

_MASK_TOKENS = ("[MASK]", "<mask>")
_COVERED = 0.99  # share of the texts that a chosen limit leaves whole
_CHUNK = 1024  # texts per call of the tokenizer


@dataclass(frozen=True)
class Masked:
    """N texts of at most T tokens with M tokens to predict.

    token_ids, token_mask: int64 [N, T], as the encoder takes them
    places: bool [N, T], true where a token is to be predicted
    wanted: int64 [M], what stood there, row by row
    """

    token_ids: Tensor
    token_mask: Tensor
    places: Tensor
    wanted: Tensor


@dataclass(frozen=True)
class Masking:
    """How tokens are chosen: a share of each text's, at least one; whole words together or not."""

    share: float
    whole_words: bool


class MaskedTexts:
    """Token ids of texts between the tokenizer's special tokens, and their masks."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        texts: Sequence[str],
        masking: Masking,
        *,
        limit: int | None,
        most: int | None,
        pad: int,
    ) -> None:
        """Tokenises the texts.

        Args:
            tokenizer: of the encoder, without padding and truncation.
            texts: n texts.
            masking: how tokens are chosen.
            limit: tokens of a text, special ones included; None for what 99 % of them need.
            most: positions of the encoder; None where nothing limits them.
            pad: the id in padded places.

        Raises:
            EncoderRefused: the tokenizer has no mask token.
            TrainingRefused: the limit is beyond the encoder's positions.
        """
        self._masking, self._pad = masking, pad
        self._mask_id = _mask_id(tokenizer)
        if limit is not None and most is not None and limit > most:
            raise TrainingRefused(
                f"text_tokens: expected at most {most} (positions of the encoder), got {limit}"
            )
        encodings = _encoded(tokenizer, texts)
        lengths = np.array([len(one.ids) for one in encodings], dtype=np.int64)
        self.limit = limit if limit is not None else covering_limit(lengths, _COVERED, most)
        long = np.flatnonzero(lengths > self.limit)
        tokenizer.enable_truncation(self.limit)
        for row, one in zip(
            long, _encoded(tokenizer, [texts[int(row)] for row in long]), strict=True
        ):
            encodings[row] = one
        tokenizer.no_truncation()
        self.lengths: NDArray[np.int64] = np.minimum(lengths, self.limit)
        self._ids = [np.array(one.ids, dtype=np.int32) for one in encodings]
        # A word's number within its text; -1 for special tokens, which are never predicted.
        self._words = [
            np.array([-1 if word is None else word for word in one.word_ids], dtype=np.int32)
            for one in encodings
        ]
        special = {
            id_ for id_, token in tokenizer.get_added_tokens_decoder().items() if token.special
        }
        self._ordinary = np.array(
            [id_ for id_ in sorted(tokenizer.get_vocab().values()) if id_ not in special]
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def usable(self) -> NDArray[np.int64]:
        """Rows of the texts that have a token to predict."""
        return np.flatnonzero([bool((words >= 0).any()) for words in self._words])

    def masked(self, texts: NDArray[np.int64], generator: np.random.Generator) -> Masked:
        """Those texts, padded to the longest, with masks drawn from `generator`."""
        shape = (len(texts), int(self.lengths[texts].max()))
        token_ids = np.full(shape, self._pad, dtype=np.int64)
        token_mask, places = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=np.bool_)
        for place, text in enumerate(texts):
            ids = self._ids[text]
            token_ids[place, : len(ids)] = ids
            token_mask[place, : len(ids)] = 1
            places[place, chosen_tokens(self._words[text], self._masking, generator)] = True
        wanted = token_ids[places]
        dice = generator.random(len(wanted))
        token_ids[places] = np.select(
            [dice < MASKED, dice < MASKED + RANDOM],
            [self._mask_id, generator.choice(self._ordinary, size=len(wanted))],
            wanted,
        )
        return Masked(*(torch.from_numpy(part) for part in (token_ids, token_mask, places, wanted)))


def chosen_tokens(
    words: NDArray[np.int32], masking: Masking, generator: np.random.Generator
) -> NDArray[np.int64]:
    """Places of the tokens to predict in one text.

    Words, or tokens, are taken in random order until the share is reached: round(share x n) of n
    tokens, but at least one; the last word may carry the number beyond.

    Args:
        words: int32 [T], the number of each token's word; -1 where it is special.
        masking: share, and whether words stay whole.
        generator: decides.
    """
    places = np.flatnonzero(words >= 0)
    enough = max(1, round(masking.share * len(places)))
    unit = np.arange(len(places))
    if masking.whole_words:
        unit = np.unique(words[places], return_inverse=True)[1]
    sizes = np.bincount(unit)
    order = generator.permutation(len(sizes))
    before = np.cumsum(sizes[order]) - sizes[order]
    return places[np.isin(unit, order[before < enough])]


def _mask_id(tokenizer: Tokenizer) -> int:
    named = [tokenizer.token_to_id(token) for token in _MASK_TOKENS]
    found = next((token for token in named if token is not None), None)
    if found is None:
        raise EncoderRefused(
            f"expected a tokenizer with {' or '.join(_MASK_TOKENS)}, got one without: it belongs "
            "to no masked language model"
        )
    return found


def _encoded(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Encoding]:
    encodings: list[Encoding] = []
    for start in range(0, len(texts), _CHUNK):
        encodings += tokenizer.encode_batch(list(texts[start : start + _CHUNK]))
    return encodings
