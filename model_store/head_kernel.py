"""The fused head of `head.c`: its weights on disk, and the object that scores with it.

    mlp          x = [row]; x = relu(W1 x + q), x = relu(Wi x + bi) ..; logit = w x + b
    interaction  r = max(pool of I(p, q) of layers < L, I(p, q) of layer L);
                 logit = w relu(W1 r + b1) + v r + b;  I(p, q) = [max(p, q) ; p - q ; p + q]

Weights are int8 with a scale per output; activations are quantised row by row, to 7 bits. What a
student's head is made of is decided at export; nothing here knows a student by name.
"""

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from model_store.errors import BundleDamaged
from model_store.npz import read_npz
from native.library import load

HeadKind = Literal["mlp", "interaction"]
KernelPath = Literal["avx512vnni", "avx2", "portable"]

SOURCE: Final = Path(__file__).with_name("head.c")
_KIND: Final[dict[HeadKind, int]] = {"mlp": 1, "interaction": 2}
# Bits of `winnow_head_paths`, fastest first.
_PATHS: Final[dict[KernelPath, int]] = {"avx512vnni": 4, "avx2": 2, "portable": 1}
_LIBRARY: Final = load(SOURCE)


@dataclass(frozen=True, slots=True)
class HeadLayer:
    """One dense layer: weights int8 [in, out], scale float32 [out], bias float32 [out].

    The first layer of an mlp has no bias of its own: the query row is it.
    """

    weights: NDArray[np.int8]
    scale: NDArray[np.float32]
    bias: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class HeadWeights:
    """A whole head: layers, and the weights `last` float32 [out] and bias of the logit.

    Of an interaction: `vectors` (L), `width` (D), `pool` float32 [L - 1], `residual` float32 [3 D].
    """

    kind: HeadKind
    layers: tuple[HeadLayer, ...]
    last: NDArray[np.float32]
    last_bias: float
    vectors: int = 0
    width: int = 0
    pool: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    residual: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))


def kernel_paths() -> tuple[KernelPath, ...]:
    """Code paths that this machine can run, fastest first; empty where nothing was compiled."""
    if _LIBRARY is None:
        return ()
    bits = int(_LIBRARY.winnow_head_paths())
    return tuple(name for name, bit in _PATHS.items() if bits & bit)


def fast_path() -> KernelPath | None:
    """The path to take instead of ONNX Runtime; None where only the portable one is there.

    The portable path is five times slower than ONNX Runtime's int8 head: it is a reference.
    """
    paths = kernel_paths()
    return paths[0] if paths and paths[0] != "portable" else None


class HeadKernel:
    """A head packed for this machine. Safe to use from several threads; calls release the GIL."""

    def __init__(self, weights: HeadWeights, path: KernelPath) -> None:
        """Packs the weights once.

        Raises:
            BundleDamaged: the weights make no head, or this machine can't run the path.
        """
        if path not in kernel_paths():
            raise BundleDamaged(
                f"expected one of the head kernel's paths on this machine "
                f"({', '.join(kernel_paths()) or 'none: it is not compiled'}), got {path!r}"
            )
        assert _LIBRARY is not None  # noqa: S101 - kernel_paths says so
        self.path = path
        self._library = _LIBRARY
        self._bit = _PATHS[path]
        self._d_q = len(weights.layers[0].scale) if weights.kind == "mlp" else 0
        self._d_p = len(weights.layers[0].weights)
        if weights.kind == "interaction":
            self._d_q = self._d_p = weights.vectors * weights.width
        self._head = _new_head(self._library, weights)

    def score(self, q: NDArray[np.float32], P: NDArray[np.float16]) -> NDArray[np.float32]:
        """Raw scores, float32 [n], of product rows P [n, d_p] for a query row [1, d_q]."""
        if q.shape != (1, self._d_q) or P.ndim != 2 or P.shape[1] != self._d_p:
            raise ValueError(
                f"expected q [1, {self._d_q}] and P [n, {self._d_p}], got {q.shape} and {P.shape}"
            )
        q = np.ascontiguousarray(q, np.float32)
        P = np.ascontiguousarray(P, np.float16)
        scores = np.empty(len(P), np.float32)
        failed = self._library.winnow_head_score(
            self._head, self._bit, q.ctypes.data, P.ctypes.data, len(P), scores.ctypes.data
        )
        if failed:
            raise MemoryError("no memory for the head's activations")
        return scores

    def __del__(self) -> None:
        """Gives the packed weights back."""
        head = getattr(self, "_head", None)
        if head:
            self._library.winnow_head_free(head)


def write_head(path: Path, weights: HeadWeights) -> None:
    """Writes `head.npz`; the same weights give the same bytes."""
    arrays: dict[str, NDArray[np.generic]] = {
        "kind": np.array(weights.kind),
        "last": weights.last,
        "last_bias": np.float32(weights.last_bias).reshape(1),
        "shape": np.array([len(weights.layers), weights.vectors, weights.width], np.int32),
        "pool": weights.pool,
        "residual": weights.residual,
    }
    for i, layer in enumerate(weights.layers):
        arrays[f"weights{i}"] = layer.weights
        arrays[f"scale{i}"] = layer.scale
        arrays[f"bias{i}"] = layer.bias
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def read_head(path: Path) -> HeadWeights:
    """Weights that `write_head` wrote.

    Raises:
        BundleDamaged: the file is no such thing.
    """
    arrays = read_npz(path)
    try:
        count, vectors, width = (int(value) for value in arrays["shape"])
        layers = tuple(
            HeadLayer(arrays[f"weights{i}"], arrays[f"scale{i}"], arrays[f"bias{i}"])
            for i in range(count)
        )
        kind = str(arrays["kind"])
        head = HeadWeights(
            kind="mlp" if kind == "mlp" else "interaction",
            layers=layers,
            last=arrays["last"],
            last_bias=float(arrays["last_bias"][0]),
            vectors=vectors,
            width=width,
            pool=arrays["pool"],
            residual=arrays["residual"],
        )
        if kind != head.kind:
            raise ValueError(f"expected kind mlp or interaction, got {kind!r}")  # noqa: TRY301
        _check(head)
    except (KeyError, ValueError, IndexError) as error:
        raise BundleDamaged(
            f"{path.name}: expected the weights of a head kernel: {error}"
        ) from error
    return head


def _check(head: HeadWeights) -> None:
    """Shapes and dtypes: `head.c` reads exactly what they promise."""
    if not head.layers:
        raise ValueError("expected at least one layer, got none")
    wide = head.layers[0].weights.shape[0]
    for i, layer in enumerate(head.layers):
        shape, out = layer.weights.shape, layer.scale.shape
        fits = len(shape) == 2 and shape[0] == wide and out == layer.bias.shape == shape[1:]
        types = [str(array.dtype) for array in (layer.weights, layer.scale, layer.bias)]
        if not fits or types != ["int8", "float32", "float32"]:
            raise ValueError(
                f"layer {i}: expected int8 [{wide}, out] with float32 [out] twice, got {types[0]} "
                f"{shape}, {types[1]} {out} and {types[2]} {layer.bias.shape}"
            )
        wide = shape[1]
    if head.last.shape != (wide,) or str(head.last.dtype) != "float32":
        raise ValueError(f"expected last float32 [{wide}], got {head.last.dtype} {head.last.shape}")
    inputs = 3 * head.width if head.kind == "interaction" else 0
    for name, array, length in (
        ("pool", head.pool, max(0, head.vectors - 1)),
        ("residual", head.residual, inputs),
    ):
        if (str(array.dtype), array.shape) != ("float32", (length,)):
            raise ValueError(f"expected {name} float32 [{length}], got {array.dtype} {array.shape}")


def _new_head(library: ctypes.CDLL, weights: HeadWeights) -> int:
    library.winnow_head_new.restype = ctypes.c_void_p
    library.winnow_head_new.argtypes = [
        *(ctypes.c_int, ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_int),
        *(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_float),
    ]
    library.winnow_head_set_layer.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
    ]
    library.winnow_head_score.argtypes = [
        *(ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p),
        *(ctypes.c_int64, ctypes.c_void_p),
    ]
    library.winnow_head_free.argtypes = [ctypes.c_void_p]
    widths = np.array(
        [len(weights.layers[0].weights), *(len(layer.scale) for layer in weights.layers)], np.int32
    )
    # Bound to names: an address says nothing to Python of the array that it points into.
    pool, residual, last = (
        np.ascontiguousarray(array) for array in (weights.pool, weights.residual, weights.last)
    )
    head = library.winnow_head_new(
        _KIND[weights.kind],
        len(weights.layers),
        widths.ctypes.data,
        weights.vectors,
        weights.width,
        pool.ctypes.data,
        residual.ctypes.data if weights.kind == "interaction" else None,
        last.ctypes.data,
        weights.last_bias,
    )
    if not head:
        raise BundleDamaged(
            f"expected an mlp of at most 8 layers of at most 4096, or an interaction of L vectors "
            f"of D with one layer of 3 D inputs, got {weights.kind} {widths.tolist()} with L = "
            f"{weights.vectors} and D = {weights.width}"
        )
    for i, layer in enumerate(weights.layers):
        rows, scale, bias = (
            np.ascontiguousarray(array) for array in (layer.weights, layer.scale, layer.bias)
        )
        library.winnow_head_set_layer(
            head, i, rows.ctypes.data, scale.ctypes.data, bias.ctypes.data
        )
    return int(head)
