"""The one shape every student has: a torch module cut at the two places a bundle is cut at.

Legend for all students: N texts or pairs, T tokens of the longest text, d_q and d_p the widths of
a query row and a product row. `_NT` behind a name is its shape.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from model_store.head_kernel import HeadKind

Segments = dict[str, tuple[int, int]]
"""Named parts of a row: name -> (offset, width), in floats."""


class StudentConfig(BaseModel):
    """Sizes from which a student is built again; stored in student.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class DenseHead:
    """A head that the fused kernel can run (model_store/head_kernel.py has the two formulas).

    layers: weights float32 [in, out] and bias [out] of each; an mlp's first bias is the query row
    last, last_bias: weights float32 [out] and bias of the logit
    vectors, width, pool: of an interaction: L, D, and the weights of its first L - 1 layers
    """

    kind: HeadKind
    layers: tuple[tuple[NDArray[np.float32], NDArray[np.float32]], ...]
    last: NDArray[np.float32]
    last_bias: float
    vectors: int = 0
    width: int = 0
    pool: NDArray[np.float32] | None = None


def linear(layer: nn.Module) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights [in, out] and bias [out] (zeros where it has none) of an nn.Linear."""
    state = layer.state_dict()
    weights: NDArray[np.float32] = state["weight"].numpy().T.copy()
    bias = state.get("bias")
    return weights, np.zeros(weights.shape[1], np.float32) if bias is None else bias.numpy().copy()


class Student(Protocol):
    """What training, checkpoints and export ask of a student. Score = sigmoid(logit)."""

    @property
    def kind(self) -> str:
        """The name in student.json and in the manifest."""
        ...

    @property
    def config(self) -> StudentConfig:
        """Sizes from which `students.build_student` builds it again."""
        ...

    @property
    def query_segments(self) -> Segments:
        """What a query row consists of; the widths add up to d_q."""
        ...

    @property
    def product_segments(self) -> Segments:
        """What a product row consists of; the widths add up to d_p."""
        ...

    def query(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Query rows, float32 [N, d_q]. Runs once per request."""
        ...

    def product(self, token_ids_NT: Tensor, token_mask_NT: Tensor) -> Tensor:
        """Product rows, float32 [N, d_p]. Runs offline."""
        ...

    def head(self, q: Tensor, p: Tensor) -> Tensor:
        """Logits, float32 [N]; q is [N, d_q], or [1, d_q] for one query and many products p."""
        ...

    def dense_head(self) -> DenseHead | None:
        """The head as layers for the fused kernel; None where it is none of its two kinds."""
        ...

    def __call__(
        self, query_ids: Tensor, query_mask: Tensor, product_ids: Tensor, product_mask: Tensor
    ) -> Tensor:
        """Logits of N pairs, float32 [N]: head(query, product), as training runs it."""
        ...

    # The parts of nn.Module that training and checkpoints use.
    def train(self, mode: bool = True) -> Self: ...  # noqa: FBT001, FBT002 (torch's signature)
    def eval(self) -> Self: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...
    def state_dict(self) -> dict[str, Tensor]: ...
    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object: ...


def row_width(segments: Segments) -> int:
    """Width of a row in floats."""
    return sum(width for _, width in segments.values())
