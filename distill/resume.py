"""The state of a training in one file, from which it goes on as if it had never stopped.

Tensors (weights, Adam's moments, torch's random state) and, as text in the file's header, where the
training is. No pickle: safetensors holds both.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from distill.errors import TrainingRefused
from distill.whole_file import written_whole
from export.checkpoint import Facts

_STATE_FILE = "state.safetensors"
_RANDOM = "random.cpu"
_RANDOM_GPU = "random.gpu"


@dataclass(frozen=True)
class Epoch:
    """How one pass over the training data ended.

    number: counted from 1
    loss: mean over its steps
    value: what the best epoch has most of
    best: the best so far
    figures: the rest of what validation found
    """

    number: int
    loss: float
    value: float
    best: bool
    figures: Facts


@dataclass
class Position:
    """Where a training is: `step` steps of an epoch are done, their losses add up to `loss`."""

    epoch: int = 1
    step: int = 0
    loss: float = 0.0
    epochs: list[Epoch] = field(default_factory=list)


def partial_folder(out: Path) -> Path:
    """Where a training keeps what it needs to go on, until `out` is there."""
    return out.with_name(f"{out.name}.partial")


class RunFolder:
    """The folder beside the result in which a training keeps its state and its best weights."""

    def __init__(self, out: Path, identity: Mapping[str, object]) -> None:
        """`<out>.partial`; `identity` is whatever decides the result: options, data, start.

        Raises:
            TrainingRefused: the result is there already.
        """
        if out.exists():
            raise TrainingRefused(f"{out}: exists already; training never overwrites: name another")
        self._out = out
        self.path = partial_folder(out)
        self._state = self.path / _STATE_FILE
        self._identity = json.dumps(identity, sort_keys=True, default=str)

    @property
    def begun(self) -> bool:
        """Whether a training has left a state here."""
        return self._state.exists()

    def best_weights(self, epoch: int) -> Path:
        """Where the weights of an epoch lie that was the best when it ended."""
        return self.path / f"best-{epoch}.safetensors"

    def save_best(self, weights: Mapping[str, Tensor], epoch: int) -> None:
        """Writes the weights of the best epoch so far; `save` removes those of earlier ones."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_tensors(weights, self.best_weights(epoch), {"format": "pt"})

    def load_best(self, module: nn.Module, epoch: int) -> None:
        """Fills `module` with what `save_best` wrote of its `distinct_tensors`."""
        stored = load_file(self.best_weights(epoch))
        with torch.no_grad():
            for name, tensor in distinct_tensors(module).items():
                tensor.copy_(stored[name])

    def save(
        self, module: nn.Module, optimiser: Optimizer, device: torch.device, position: Position
    ) -> None:
        """Writes the state; a reader finds this one or the one before, whole."""
        tensors = {f"module.{name}": tensor for name, tensor in distinct_tensors(module).items()}
        for index, state in optimiser.state_dict()["state"].items():
            tensors |= {f"optimiser.{index}.{name}": tensor for name, tensor in state.items()}
        tensors[_RANDOM] = torch.get_rng_state()
        if device.type == "cuda":
            tensors[_RANDOM_GPU] = torch.cuda.get_rng_state(device)
        self.path.mkdir(parents=True, exist_ok=True)
        header = {"identity": self._identity, "position": json.dumps(asdict(position))}
        write_tensors(tensors, self._state, header)
        best = [self.best_weights(epoch.number) for epoch in position.epochs if epoch.best]
        for path in self.path.glob("best-*.safetensors"):
            if path not in best[-1:]:
                path.unlink()

    def finish(self, write: Callable[[Path], None]) -> None:
        """Lets `write` fill a folder, makes it the result, and removes what the training kept."""
        folder = self.path / "result"
        shutil.rmtree(folder, ignore_errors=True)  # of a stop in the middle of writing
        folder.mkdir()
        write(folder)
        folder.rename(self._out)
        shutil.rmtree(self.path)

    def restore(self, module: nn.Module, optimiser: Optimizer, device: torch.device) -> Position:
        """Fills module, optimiser and torch's random state; the beginning where nothing is stored.

        Raises:
            TrainingRefused: what is stored belongs to another training, or is damaged.
        """
        if not self._state.exists():
            return Position()
        try:
            with safe_open(self._state, framework="pt") as file:
                header: dict[str, str] = file.metadata() or {}
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise TrainingRefused(
                f"{self._state}: damaged ({error}): remove {self.path} to start again"
            ) from error
        self._check_identity(header.get("identity", "{}"))
        with torch.no_grad():
            for name, tensor in distinct_tensors(module).items():
                tensor.copy_(stored[f"module.{name}"])
        whole = optimiser.state_dict()
        for name, tensor in stored.items():
            kind, _, rest = name.partition(".")
            if kind == "optimiser":
                index, _, key = rest.partition(".")
                whole["state"].setdefault(int(index), {})[key] = tensor
        optimiser.load_state_dict(whole)
        torch.set_rng_state(stored[_RANDOM])
        if device.type == "cuda" and _RANDOM_GPU in stored:
            torch.cuda.set_rng_state(stored[_RANDOM_GPU], device)
        position = json.loads(header["position"])
        return Position(**position | {"epochs": [Epoch(**epoch) for epoch in position["epochs"]]})

    def _check_identity(self, stored: str) -> None:
        if stored == self._identity:
            return
        theirs, ours = json.loads(stored), json.loads(self._identity)
        other = sorted(
            name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)
        )
        told = ", ".join(f"{name} {theirs.get(name)!r}, now {ours.get(name)!r}" for name in other)
        raise TrainingRefused(
            f"{self.path}: holds an unfinished training with other options or data ({told}): "
            f"repeat its options to go on, or remove the folder to start again"
        )


def write_tensors(tensors: Mapping[str, Tensor], path: Path, header: dict[str, str]) -> None:
    """Writes a safetensors file that is there whole or not at all."""
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as unfinished:
        save_file(whole, unfinished, metadata=header)


def distinct_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that are stored, each once where two names share one."""
    found: dict[str, Tensor] = dict(module.named_parameters())
    known = {tensor.data_ptr() for tensor in found.values()}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if name not in found and tensor.data_ptr() not in known:
            found[name] = tensor
    return found
