"""Steps and epochs of fine-tuning, the same for teachers and masked language models.

AdamW without decay of biases and LayerNorms (BERT's); the rate rises linearly, then falls to 0; the
gradient's norm is clipped. A training that was stopped goes on where its last state was written,
and ends with the same weights on the same machine and thread count.
"""

import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import AdamW

from distill.descent import Descent
from distill.errors import TrainingRefused
from distill.resume import Epoch, Position, RunFolder
from export.checkpoint import Facts

OnProgress = Callable[[str, int, int | None], None]
"""Told (phase, done, total) as a phase goes on."""

_REPORT_EVERY = 10  # steps between two reports of progress
# "encoder.layer.3.output", "transformer.layer.3.ffn", "layers.3.mlp": depth 3 of an encoder.
_LAYER = re.compile(r"(?:^|\.)(?:layer|layers|block|blocks|h)\.(\d+)\.")

Batch = TypeVar("Batch")


class Material(Protocol[Batch]):
    """What is learned from."""

    def batches(self, epoch: int) -> Sequence[Batch]:
        """All batches of an epoch in their order; the same epoch gives the same ones again."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """The loss to descend, a scalar."""
        ...


class Validation(Protocol):
    """What an epoch is measured by."""

    def value(self) -> tuple[float, Facts]:
        """The number that the best epoch has most of, and other figures."""
        ...

    def weights(self) -> dict[str, Tensor]:
        """What is kept of an epoch that is the best so far."""
        ...


def run_epochs(
    module: nn.Module,
    material: Material[Batch],
    validation: Validation,
    descent: Descent,
    run: RunFolder,
    device: torch.device,
    on_progress: OnProgress,
) -> list[Epoch]:
    """Trains `module` for all epochs, from where `run` says it is.

    Raises:
        TrainingRefused: the loss is no longer finite, or `run` is another training's.
    """
    # One pass over the parameters: on a CPU the plain one takes a fifth of a MiniLM's step.
    optimiser = AdamW(parameter_groups(module, descent), fused=True)
    position = run.restore(module, optimiser, device)
    while position.epoch <= descent.epochs:
        _one_epoch(module, optimiser, material, descent, run, device, position, on_progress)
        loss = position.loss / max(1, position.step)
        value, figures = validation.value()
        best = value > max((epoch.value for epoch in position.epochs), default=-math.inf)
        if best:
            run.save_best(validation.weights(), position.epoch)
        position.epochs.append(Epoch(position.epoch, loss, value, best, figures))
        position.epoch, position.step, position.loss = position.epoch + 1, 0, 0.0
        run.save(module, optimiser, device, position)
    return position.epochs


def _one_epoch(
    module: nn.Module,
    optimiser: AdamW,
    material: Material[Batch],
    descent: Descent,
    run: RunFolder,
    device: torch.device,
    position: Position,
    on_progress: OnProgress,
) -> None:
    """The steps of an epoch that are still to do; `position` moves with them."""
    module.train()
    batches = material.batches(position.epoch)
    phase = f"epoch {position.epoch} of {descent.epochs}"
    on_progress(phase, position.step, len(batches))
    while position.step < len(batches):
        done = (position.epoch - 1 + (position.step + 0.5) / len(batches)) / descent.epochs
        for group in optimiser.param_groups:
            group["lr"] = group["peak"] * descent.factor(done)
        loss = material.loss(batches[position.step])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(module.parameters(), descent.clip)
        optimiser.step()
        value = loss.item()
        position.step += 1
        position.loss += value
        if not math.isfinite(value):
            # The same command would come to the same end; a first state may not be written yet.
            shutil.rmtree(run.path, ignore_errors=True)
            raise TrainingRefused(
                f"epoch {position.epoch}, step {position.step}: the loss is {value}: training "
                "diverged; choose a smaller learning rate"
            )
        if position.step % descent.save_every == 0 and position.step < len(batches):
            run.save(module, optimiser, device, position)
        if position.step % _REPORT_EVERY == 0 or position.step == len(batches):
            on_progress(phase, position.step, len(batches))


def parameter_groups(module: nn.Module, descent: Descent) -> list[dict[str, Any]]:
    """AdamW's groups: peak rate by depth, decay for matrices alone. Whatever isn't the encoder's
    is the head's.

    Raises:
        TrainingRefused: a layer decay, and an encoder whose layers aren't numbered.
    """
    names = [name for name, _ in module.named_parameters()]
    depths = [int(found[1]) for name in names if (found := _LAYER.search(name))]
    if not depths and descent.layer_decay != 1.0:
        raise TrainingRefused(
            f"layer_decay: expected 1 for an encoder whose layers share their weights or have no "
            f"numbers, got {descent.layer_decay}"
        )
    top = max(depths, default=0)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if name.startswith("encoder."):
            layer = _LAYER.search(name)
            below = -1 if "embed" in name else top  # of layers without a number
            depth = int(layer[1]) if layer else below
            rate = descent.learning_rate * descent.layer_decay ** (top - depth)
        else:
            rate = descent.head_learning_rate
        decay = descent.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((rate, decay), []).append(parameter)
    return [
        {"params": members, "lr": 0.0, "peak": rate, "weight_decay": decay}
        for (rate, decay), members in groups.items()
    ]


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's random state begins at `seed` and is put back as it was afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
