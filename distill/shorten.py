"""A shorter encoder: the first layers of one learn the sentence vectors of the whole.

What a student has of an encoder is its first layers, and those alone say little: the mean state of
MiniLM-L6's second layer tells relevant Home Depot titles with ROC-AUC .57 by its cosine, that of
its sixth with .66. ReprBERT takes them as they are and has weeks of steps to teach them. Here they
learn first, from titles and queries without labels, what the layers above them would have made of a
text (as TinyBERT is distilled before its task: Jiao et al., 2020; on sentence vectors as Reimers
and Gurevych distil them, 2020).

    loss = 1 - cos(mean state of the short encoder, mean state of the whole one)
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from distill.errors import TrainingRefused
from distill.fine_tune import OnProgress, run_epochs, seeded
from distill.pretrain_options import ShortenOptions
from distill.pretrained import load_encoder, most_tokens, quiet_transformers
from distill.resume import Epoch, RunFolder, distinct_tensors
from distill.teacher import choose_device
from distill.unlabelled import facts, identity, split_held_out
from export.checkpoint import Facts
from export.errors import EncoderRefused
from export.students.encoder import last_states
from export.students.pooling import pooled
from export.tokens import TokenRows, bucketed_batches
from model_store.errors import TokenizerError
from model_store.wordpiece import TOKENIZER_FILE, WordPieceTokenizer

SHORTENING_FILE = "shortening.json"

_HELD_OUT_BATCH = 64  # texts


@dataclass(frozen=True)
class Shortened:
    """What came of a run: cosines are means over the held-out texts."""

    folder: Path
    cosine_before: float
    best: Epoch
    epochs: list[Epoch]

    @property
    def cosine_after(self) -> float:
        """Of the best epoch, whose weights the folder has."""
        return self.best.value


def shorten(
    encoder: Path,
    texts: Sequence[str],
    out: Path,
    options: ShortenOptions,
    on_progress: OnProgress,
    device: str | None = None,
) -> Shortened:
    """Writes the first layers of the encoder in folder `encoder`, trained, to `out`.

    `out` is an encoder that `train` and `teach` start from. Call it again with the same arguments
    after it was stopped, and it goes on. The same texts, options, machine and thread count give the
    same weights, stopped or not.

    Args:
        encoder: folder of a BERT-type checkpoint with a tokenizer.json.
        texts: distinct texts.
        out: folder to write; must not exist.
        options: the rest.
        on_progress: told of every phase.
        device: as `teacher.choose_device`.

    Raises:
        TrainingRefused: `out` exists, `<out>.partial` is another training's, there are too few
            texts, the encoder has no more layers than are asked for, or the loss is not finite.
        TeacherRefused: no such device.
        EncoderRefused: the folder is no checkpoint of an encoder with a tokenizer.json.
    """
    chosen = choose_device(device)
    run = RunFolder(out, identity(encoder, texts, options))
    whole = load_encoder(encoder).to(chosen)
    if whole.config.num_hidden_layers <= options.layers:
        raise TrainingRefused(
            f"layers: expected fewer than the {whole.config.num_hidden_layers} of {encoder}, got "
            f"{options.layers}"
        )
    with seeded(options.seed, chosen):
        short = load_encoder(encoder, layers=options.layers).to(chosen)
        on_progress("tokenising", 0, len(texts))
        rows = _tokenised(encoder, texts, options, most_tokens(whole, whole.config))
        on_progress("tokenising", len(texts), len(texts))
        kept, held_out = split_held_out(np.arange(len(texts)), options)
        learner = _Learner(whole, short, rows, kept, options, chosen)
        validation = _HeldOut(learner, held_out, on_progress)
        before = validation.value()[0]
        epochs = run_epochs(short, learner, validation, options.descent, run, chosen, on_progress)
        best = [epoch for epoch in epochs if epoch.best][-1]
        run.load_best(short, best.number)
    result = Shortened(out, before, best, epochs)
    figures: Facts = {
        "cosine_before": result.cosine_before,
        "cosine_after": result.cosine_after,
        "best_epoch": best.number,
    }
    told = facts(encoder, texts, options, figures)

    def write(folder: Path) -> None:
        with quiet_transformers():
            short.to("cpu").save_pretrained(folder)
        shutil.copyfile(encoder / TOKENIZER_FILE, folder / TOKENIZER_FILE)
        text = json.dumps(told, indent=2, sort_keys=True) + "\n"
        (folder / SHORTENING_FILE).write_text(text, encoding="utf-8")

    run.finish(write)
    return result


class _Learner:
    """Both encoders and the texts that one learns of the other."""

    def __init__(
        self,
        whole: Any,
        short: Any,
        texts: TokenRows,
        kept: NDArray[np.int64],
        options: ShortenOptions,
        device: torch.device,
    ) -> None:
        self.short, self.texts = short, texts
        self._whole, self._kept = whole.eval(), kept
        self._options, self._device = options, device

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng([self._options.seed, epoch])
        lengths = self.texts.lengths[self._kept]
        size = self._options.batch_size
        return [self._kept[members] for members in bucketed_batches(lengths, size, generator)]

    def loss(self, batch: NDArray[np.int64]) -> Tensor:
        return 1.0 - self.cosines(batch).mean()

    def cosines(self, batch: NDArray[np.int64]) -> Tensor:
        """Of the two vectors of each text, float32 [N]."""
        token_ids_NT, token_mask_NT = (each.to(self._device) for each in self.texts.batch(batch))
        with torch.no_grad():
            wanted_NH = self._vectors(self._whole, token_ids_NT, token_mask_NT)
        got_NH = self._vectors(self.short, token_ids_NT, token_mask_NT)
        return functional.cosine_similarity(got_NH, wanted_NH, dim=-1)

    def _vectors(self, encoder: nn.Module, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        states_NTH = last_states(encoder, token_ids_NT, token_mask_NT)
        return pooled(states_NTH, token_mask_NT, self._options.pooling)


class _HeldOut:
    """Mean cosine of texts that are not learned from."""

    def __init__(
        self, learner: _Learner, held_out: NDArray[np.int64], on_progress: OnProgress
    ) -> None:
        self._learner, self._on_progress = learner, on_progress
        order = held_out[np.argsort(learner.texts.lengths[held_out], kind="stable")]
        starts = range(0, len(order), _HELD_OUT_BATCH)
        self._batches = [order[start : start + _HELD_OUT_BATCH] for start in starts]

    def value(self) -> tuple[float, Facts]:
        self._learner.short.eval()
        cosines = []
        with torch.inference_mode():
            for done, batch in enumerate(self._batches):
                self._on_progress("held-out texts", done, len(self._batches))
                cosines.append(self._learner.cosines(batch).double().cpu())
        self._on_progress("held-out texts", len(self._batches), len(self._batches))
        return float(torch.cat(cosines).mean()), {}

    def weights(self) -> dict[str, Tensor]:
        return distinct_tensors(self._learner.short)


def _tokenised(
    encoder: Path, texts: Sequence[str], options: ShortenOptions, most: int | None
) -> TokenRows:
    limit = options.text_tokens if most is None else min(options.text_tokens, most)
    try:
        tokenizer = WordPieceTokenizer(encoder / TOKENIZER_FILE, limit, limit)
    except TokenizerError as error:
        raise EncoderRefused(f"{encoder}: {error}") from error
    return TokenRows(tokenizer, texts, "product")
