"""Fine-tuning of a cross-encoder on judged pairs: a pretrained encoder in, a teacher's folder out.

Pointwise: mean sigmoid cross-entropy against the target, graded or binary (BERT2DNN sec. III).
Listwise: the pairs of a query as one list (distill/listwise.py, after ListBERT). A listwise logit
puts products in order but is no log odds, so a Platt scale is fitted on the validation pairs and
kept in the teacher: soft labels of either kind then mean the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from distill.cross_encoder import CrossEncoder
from distill.errors import TrainingRefused
from distill.fine_tune import Material, OnProgress, run_epochs, seeded
from distill.listwise import LISTWISE, approx_ndcg, mean_over_lists
from distill.pair_tokens import PairRows, PairTokenizer, covering_limit
from distill.pretrained import (
    check_vocabulary,
    encoder_sha256,
    load_encoder,
    load_tokenizer,
    most_tokens,
)
from distill.query_lists import ListBatch, QueryLists
from distill.resume import Epoch, RunFolder
from distill.teach_options import TeachOptions
from distill.teacher import choose_device, load_weights, save_teacher
from distill.teacher_file import TeacherFile
from distill.teacher_validation import TeacherValidation, scale_of
from distill.texts import texts_sha256
from distill.training_pairs import check_classes, pairs_facts
from export.checkpoint import Facts
from export.pairs import Pairs
from export.tokens import bucketed_batches

_COVERED = 0.99  # share of the pairs that a chosen limit leaves whole


@dataclass(frozen=True)
class Taught:
    """What came of a run: the folder holds the best epoch."""

    folder: Path
    best: Epoch
    epochs: list[Epoch]
    description: TeacherFile


def teach(
    encoder: Path,
    pairs: Pairs,
    validation: Pairs,
    out: Path,
    options: TeachOptions,
    on_progress: OnProgress,
    device: str | None = None,
) -> Taught:
    """Fine-tunes the encoder in folder `encoder` and writes its best epoch to `out`.

    Call it again with the same arguments after it was stopped, and it goes on; what it needs for
    that lies in `<out>.partial` meanwhile. The same pairs, options, machine and thread count give
    the same weights, stopped or not. torch's own random state is left as it was.

    Raises:
        TrainingRefused: `out` exists, `<out>.partial` is another training's, there is nothing to
            learn or to validate with, the loss is no longer finite, or relevance can't be read
            from a listwise teacher's scores.
        TeacherRefused: no such device.
        EncoderRefused: the encoder's folder is no checkpoint of an encoder.
    """
    check_classes(pairs, "training", options.relevant_from)
    check_classes(validation, "validation", options.relevant_from)
    chosen = choose_device(device)
    run = RunFolder(out, _identity(encoder, pairs, validation, options))
    with seeded(options.seed, chosen):
        network = load_encoder(encoder)
        config: Any = network.config
        model = CrossEncoder(network, config, options.head).to(chosen)
        tokenizer = PairTokenizer(load_tokenizer(encoder), config.pad_token_id)
        check_vocabulary(encoder, tokenizer.size, network)
        limit = _limit(tokenizer, pairs, options, most_tokens(network, config))
        on_progress("tokenising", 0, None)
        rows = PairRows(tokenizer, pairs.queries, pairs.titles, limit)
        on_progress("tokenising", len(rows), len(rows))
        epochs = run_epochs(
            model,
            _material(model, rows, pairs, options, chosen),
            TeacherValidation(model, tokenizer, limit, validation, options, chosen),
            options.descent,
            run,
            chosen,
            on_progress,
        )
    best = [epoch for epoch in epochs if epoch.best][-1]
    description = TeacherFile(
        pair_tokens=limit,
        head=options.head,
        scale=scale_of(best, options),
        training=_facts(encoder, pairs, validation, options, best),
    )
    load_weights(model, run.best_weights(best.number))
    run.finish(lambda folder: save_teacher(model, tokenizer, description, folder))
    return Taught(out, best, epochs, description)


def _limit(tokenizer: PairTokenizer, pairs: Pairs, options: TeachOptions, most: int | None) -> int:
    """The limit told, or the one that leaves 99 % of the pairs whole."""
    if options.pair_tokens is None:
        whole = PairRows(tokenizer, pairs.queries, pairs.titles, None)
        return covering_limit(whole.lengths, _COVERED, most)
    if most is not None and options.pair_tokens > most:
        raise TrainingRefused(
            f"pair_tokens: expected at most {most} (positions of the encoder), got "
            f"{options.pair_tokens}"
        )
    return options.pair_tokens


def _material(
    model: CrossEncoder, rows: PairRows, pairs: Pairs, options: TeachOptions, device: torch.device
) -> Material[Any]:
    targets = pairs.targets
    if options.binary:
        targets = (targets >= options.relevant_from).astype(np.float32)
    if options.loss == "pointwise":
        return _Points(model, rows, torch.from_numpy(targets), options, device)
    return _Lists(model, rows, QueryLists(pairs.queries, targets), targets, options, device)


class _Points:
    """Pairs one by one."""

    def __init__(
        self,
        model: CrossEncoder,
        rows: PairRows,
        targets: Tensor,
        options: TeachOptions,
        device: torch.device,
    ) -> None:
        self._model, self._rows, self._device = model, rows, device
        self._targets, self._options = targets, options

    def batches(self, epoch: int) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng([self._options.seed, epoch])
        return bucketed_batches(self._rows.lengths, self._options.batch_size, generator)

    def loss(self, batch: NDArray[np.int64]) -> Tensor:
        logit = self._model.on(self._rows.batch(batch), self._device)
        target = self._targets[batch].to(self._device)
        return functional.binary_cross_entropy_with_logits(logit, target)


class _Lists:
    """All pairs of a query together."""

    def __init__(
        self,
        model: CrossEncoder,
        rows: PairRows,
        lists: QueryLists,
        targets: NDArray[np.float32],
        options: TeachOptions,
        device: torch.device,
    ) -> None:
        self._model, self._rows, self._device = model, rows, device
        self._lists, self._options = lists, options
        self._grades = torch.from_numpy(targets * np.float32(options.top_grade))
        self._loss = LISTWISE[options.loss]
        if options.loss == "approxndcg":
            self._loss = partial(approx_ndcg, temperature=options.rank_temperature)

    def batches(self, epoch: int) -> list[ListBatch]:
        options = self._options
        generator = np.random.default_rng([options.seed, epoch])
        return self._lists.batches(
            self._rows.lengths, options.batch_size, options.list_size, generator
        )

    def loss(self, batch: ListBatch) -> Tensor:
        logit = self._model.on(self._rows.batch(batch.rows), self._device)
        grades = batch.spread(self._grades[batch.rows].to(self._device))
        mask = batch.mask.to(self._device)
        return mean_over_lists(self._loss(batch.spread(logit), grades, mask), grades, mask)


def _identity(
    encoder: Path, pairs: Pairs, validation: Pairs, options: TeachOptions
) -> Mapping[str, object]:
    return options.deciding | {
        "encoder": encoder_sha256(encoder),
        "pairs": _content_sha256(pairs),
        "validation": _content_sha256(validation),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def _content_sha256(pairs: Pairs) -> str:
    """sha256 of the pairs themselves: a file may be split or rescaled in many ways."""
    return texts_sha256([*pairs.queries, *pairs.titles], after=pairs.targets.tobytes())


def _facts(
    encoder: Path, pairs: Pairs, validation: Pairs, options: TeachOptions, best: Epoch
) -> Facts:
    figures = {f"validation_{name}": value for name, value in best.figures.items()}
    return (
        options.deciding
        | {"best_epoch": best.number, "training_loss": best.loss}
        | figures
        | {
            "encoder_sha256": encoder_sha256(encoder),
            **pairs_facts(pairs, validation),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        }
    )
