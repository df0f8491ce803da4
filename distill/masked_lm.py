"""Continued pre-training: a masked language model of catalogue titles and queries.

Devlin et al. (2019): 15 % of the tokens of a text, at least one, are to be predicted; of these 80 %
are replaced by [MASK], 10 % by a random token, and 10 % stay. Masks are drawn anew every epoch
(RoBERTa). The decoder is tied to the embeddings. ReprBERT's teacher is pretrained on its catalogue
likewise; StructBERT's shuffled words and its order of sentences are left out.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput

from distill.fine_tune import OnProgress, run_epochs, seeded
from distill.masking import MaskedTexts, Masking
from distill.pair_tokens import batches_by_length, vocabulary_size
from distill.pretrain_options import PretrainOptions
from distill.pretrained import (
    check_vocabulary,
    load_masked_lm,
    load_tokenizer,
    most_tokens,
    quiet_transformers,
)
from distill.resume import Epoch, RunFolder, distinct_tensors
from distill.teacher import choose_device
from distill.unlabelled import facts, identity, split_held_out
from export.checkpoint import Facts
from export.tokens import bucketed_batches
from model_store.wordpiece import TOKENIZER_FILE

PRETRAINING_FILE = "pretraining.json"

_BATCH_TOKENS = 2048  # tokens per run of the held-out texts, padding included


@dataclass(frozen=True)
class Pretrained:
    """What came of a run: losses are means over the masked tokens of the held-out texts."""

    folder: Path
    loss_before: float
    head_was_new: bool  # the checkpoint had no masked-LM head, so the loss before means little
    best: Epoch
    epochs: list[Epoch]

    @property
    def loss_after(self) -> float:
        """Of the best epoch, whose weights the folder has."""
        return -self.best.value


def pretrain(
    encoder: Path,
    texts: Sequence[str],
    out: Path,
    options: PretrainOptions,
    on_progress: OnProgress,
    device: str | None = None,
) -> Pretrained:
    """Goes on pre-training the encoder in folder `encoder`; writes the best epoch to `out`.

    `out` is what `teach` and `train` start from, and transformers' AutoModelForMaskedLM. Call it
    again with the same arguments after it was stopped, and it goes on. The same texts, options,
    machine and thread count give the same weights, stopped or not.

    Args:
        encoder: folder of a BERT-type checkpoint.
        texts: distinct texts.
        out: folder to write; must not exist.
        options: the rest.
        on_progress: told of every phase.
        device: as `teacher.choose_device`.

    Raises:
        TrainingRefused: `out` exists, `<out>.partial` is another training's, there are too few
            texts, or the loss is no longer finite.
        TeacherRefused: no such device.
        EncoderRefused: the folder is no checkpoint of an encoder, or has no mask token.
    """
    chosen = choose_device(device)
    run = RunFolder(out, identity(encoder, texts, options))
    with seeded(options.seed, chosen):
        model, head_was_new = load_masked_lm(encoder)
        tokenizer = load_tokenizer(encoder)
        check_vocabulary(encoder, vocabulary_size(tokenizer), model)
        on_progress("tokenising", 0, None)
        whole = MaskedTexts(
            tokenizer,
            texts,
            Masking(options.mask_share, options.whole_words),
            limit=options.text_tokens,
            most=most_tokens(model, model.config),
            pad=model.config.pad_token_id or 0,
        )
        on_progress("tokenising", len(whole), len(whole))
        # Texts without a token to predict are in neither.
        kept, held_out = split_held_out(whole.usable, options)
        learner = _Learner(model.to(chosen), whole, kept, options, chosen)
        validation = _HeldOut(learner, whole, held_out, options, on_progress)
        loss_before = -validation.value()[0]
        epochs = run_epochs(model, learner, validation, options.descent, run, chosen, on_progress)
        best = [epoch for epoch in epochs if epoch.best][-1]
        run.load_best(model, best.number)
    result = Pretrained(out, loss_before, head_was_new, best, epochs)
    figures: Facts = {
        "text_tokens": whole.limit,
        "head_was_new": head_was_new,
        "loss_before": loss_before,
        "loss_after": result.loss_after,
        "best_epoch": best.number,
    }
    told = facts(encoder, texts, options, figures)
    run.finish(lambda folder: _save(model, tokenizer, told, folder))
    return result


def _save(model: Any, tokenizer: Tokenizer, facts: Facts, folder: Path) -> None:
    with quiet_transformers():
        model.to("cpu").save_pretrained(folder)
    tokenizer.save(str(folder / TOKENIZER_FILE))
    text = json.dumps(facts, indent=2, sort_keys=True) + "\n"
    (folder / PRETRAINING_FILE).write_text(text, encoding="utf-8")


class _Learner:
    """The model and the texts it learns from."""

    def __init__(
        self,
        model: Any,
        texts: MaskedTexts,
        kept: NDArray[np.int64],
        options: PretrainOptions,
        device: torch.device,
    ) -> None:
        self.model, self._texts, self._kept = model, texts, kept
        self._options, self._device = options, device
        self._places = torch.empty(0)
        model.base_model.register_forward_hook(self._at_masked_places)

    def _at_masked_places(self, _: nn.Module, __: object, output: Any) -> BaseModelOutput:
        """States of the masked tokens alone, [1, M, d]: the head costs more than the encoder."""
        return BaseModelOutput(last_hidden_state=output[0][self._places][None])

    def batches(self, epoch: int) -> list["_Batch"]:
        generator = np.random.default_rng([self._options.seed, epoch])
        lengths = self._texts.lengths[self._kept]
        return [
            _Batch(self._kept[members], (self._options.seed, epoch, number))
            for number, members in enumerate(
                bucketed_batches(lengths, self._options.batch_size, generator)
            )
        ]

    def loss(self, batch: "_Batch") -> Tensor:
        return self.losses(batch).mean()

    def losses(self, batch: "_Batch") -> Tensor:
        """Cross-entropy of every masked token, [M]."""
        masked = self._texts.masked(batch.rows, np.random.default_rng(batch.seed))
        self._places = masked.places.to(self._device)
        logits_1MV = self.model(
            input_ids=masked.token_ids.to(self._device),
            attention_mask=masked.token_mask.to(self._device),
        ).logits
        wanted = masked.wanted.to(self._device)
        return functional.cross_entropy(logits_1MV[0].float(), wanted, reduction="none")


@dataclass(frozen=True)
class _Batch:
    """Rows of texts, and what their masks are drawn from."""

    rows: NDArray[np.int64]
    seed: tuple[int, ...]


class _HeldOut:
    """Loss on texts that are not learned from, under masks that stay the same."""

    def __init__(
        self,
        learner: _Learner,
        texts: MaskedTexts,
        held_out: NDArray[np.int64],
        options: PretrainOptions,
        on_progress: OnProgress,
    ) -> None:
        self._learner, self._on_progress = learner, on_progress
        self._batches = [
            _Batch(held_out[members], (options.seed, 0, number))
            for number, members in enumerate(
                batches_by_length(texts.lengths[held_out], _BATCH_TOKENS)
            )
        ]

    def value(self) -> tuple[float, Facts]:
        self._learner.model.eval()
        losses = []
        with torch.inference_mode():
            for done, batch in enumerate(self._batches):
                self._on_progress("held-out loss", done, len(self._batches))
                losses.append(self._learner.losses(batch).double().cpu())
        self._on_progress("held-out loss", len(self._batches), len(self._batches))
        loss = float(torch.cat(losses).mean())
        return -loss, {"held_out_loss": loss}

    def weights(self) -> dict[str, Tensor]:
        return distinct_tensors(self._learner.model)
