"""The fused head: every code path agrees bit by bit, and none depends on a row's company."""

import ctypes
import itertools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from model_store import head_kernel
from model_store.errors import BundleDamaged
from model_store.head_kernel import (
    HeadKernel,
    HeadLayer,
    HeadWeights,
    kernel_paths,
    read_head,
    write_head,
)
from model_store.registry import DEFAULT_ROOT, bundle_folder
from native.compile import compiler

ROOT = Path(__file__).parents[2]
SIMDE = Path("/usr/include/simde/x86/avx512.h")

pytestmark = pytest.mark.skipif(
    compiler() is None, reason="no C compiler: the head runs on ONNX Runtime"
)

# widths of the layers; L and D of an interaction: round ones and odd ones
MLPS = [(64, 1024, 256, 128, 64), (16, 16), (5, 33, 7), (1, 1)]
INTERACTIONS = [(2, 128), (1, 16), (3, 8), (4, 5)]


def _layer(rng: np.random.Generator, inputs: int, outputs: int) -> HeadLayer:
    # Sixteen weights of at most 16 never add up to more than 258.
    return HeadLayer(
        rng.integers(-16, 17, (inputs, outputs)).astype(np.int8),
        rng.uniform(0.001, 0.01, outputs).astype(np.float32),
        rng.normal(0, 0.1, outputs).astype(np.float32),
    )


def _mlp(widths: tuple[int, ...], seed: int = 0) -> HeadWeights:
    rng = np.random.default_rng(seed)
    layers = tuple(_layer(rng, a, b) for a, b in itertools.pairwise(widths))
    return HeadWeights("mlp", layers, rng.normal(0, 0.2, widths[-1]).astype(np.float32), 0.1)


def _interaction(vectors: int, width: int, seed: int = 0) -> HeadWeights:
    rng = np.random.default_rng(seed)
    pool = rng.dirichlet(np.ones(vectors - 1)) if vectors > 1 else np.zeros(0)
    outputs = 2 * width  # idle units are left out
    return HeadWeights(
        "interaction",
        (_layer(rng, 3 * width, outputs),),
        rng.normal(0, 0.1, outputs).astype(np.float32),
        -0.2,
        vectors,
        width,
        pool.astype(np.float32),
        rng.normal(0, 0.1, 3 * width).astype(np.float32),
    )


HEADS = [*(_mlp(widths) for widths in MLPS), *(_interaction(*shape) for shape in INTERACTIONS)]
NAMES = [*map(str, MLPS), *(f"L{L} D{D}" for L, D in INTERACTIONS)]


def _request(
    head: HeadWeights, n: int, seed: int = 1
) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    rng = np.random.default_rng(seed)
    if head.kind == "mlp":
        d_q, d_p = len(head.layers[0].scale), len(head.layers[0].weights)
    else:
        d_q = d_p = head.vectors * head.width
    scale = np.exp(rng.normal(0, 1, (n, 1)))  # rows of very different size
    return (
        rng.normal(0, 1, (1, d_q)).astype(np.float32),
        (rng.normal(0, 1, (n, d_p)) * scale).astype(np.float16),
    )


def _reference(
    head: HeadWeights, q: NDArray[np.float32], P: NDArray[np.float16]
) -> NDArray[np.float64]:
    """The formulas in float64, without rounding any activation."""
    rows = P.astype(np.float64)
    weights = [layer.weights * layer.scale.astype(np.float64) for layer in head.layers]
    if head.kind == "mlp":
        x = np.maximum(rows @ weights[0] + q, 0)
        for W, layer in zip(weights[1:], head.layers[1:], strict=True):
            x = np.maximum(x @ W + layer.bias, 0)
        logit = x @ head.last
    else:
        pairs = zip(
            np.split(rows, head.vectors, axis=1), np.split(q, head.vectors, axis=1), strict=True
        )
        *middle, r = [np.concatenate([np.maximum(p, v), p - v, p + v], axis=1) for p, v in pairs]
        if middle:
            pooled = sum(w * m for w, m in zip(head.pool, middle, strict=True))
            r = np.maximum(pooled, r)
        x = np.maximum(r @ weights[0] + head.layers[0].bias, 0)
        logit = x @ head.last + r @ head.residual
    return np.asarray(1 / (1 + np.exp(-(logit + head.last_bias))))


@pytest.mark.parametrize("head", HEADS, ids=NAMES)
def test_scores_are_those_of_the_formulas(head: HeadWeights) -> None:
    q, P = _request(head, 200)
    scores = HeadKernel(head, kernel_paths()[0]).score(q, P)
    assert np.abs(scores - _reference(head, q, P)).max() < 0.03
    assert scores.std() > 0


@pytest.mark.parametrize("head", HEADS, ids=NAMES)
def test_paths_agree_bit_by_bit(head: HeadWeights) -> None:
    q, P = _request(head, 101)
    expected = HeadKernel(head, "portable").score(q, P)
    for path in kernel_paths():
        np.testing.assert_array_equal(HeadKernel(head, path).score(q, P), expected)


@pytest.mark.parametrize("head", HEADS, ids=NAMES)
@pytest.mark.parametrize("path", kernel_paths())
def test_a_score_does_not_depend_on_company(
    head: HeadWeights, path: head_kernel.KernelPath
) -> None:
    kernel = HeadKernel(head, path)
    q, P = _request(head, 50)
    whole = kernel.score(q, P)
    order = np.random.default_rng(2).permutation(50)
    np.testing.assert_array_equal(kernel.score(q, P[order]), whole[order])
    for size in (1, 2, 3, 11, 12, 13):
        parts = [kernel.score(q, P[start : start + size]) for start in range(0, 50, size)]
        np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_odd_rows() -> None:
    """A row of zeros, of one value, of the largest values: no division by nothing, no overflow."""
    head = _interaction(2, 16)
    q = np.zeros((1, 32), np.float32)
    P = np.array([[0.0] * 32, [1.5] * 32, [65504.0] * 32, [-65504.0, 65504.0] * 16], np.float16)
    expected = HeadKernel(head, "portable").score(q, P)
    assert np.isfinite(expected).all()
    for path in kernel_paths():
        np.testing.assert_array_equal(HeadKernel(head, path).score(q, P), expected)
    assert HeadKernel(head, kernel_paths()[0]).score(q, P[:0]).shape == (0,)


@pytest.mark.skipif("avx2" not in kernel_paths(), reason="this machine has no AVX2")
def test_sums_of_16_bits_are_safe_up_to_the_limit_and_not_beyond() -> None:
    """Why export/kernel_weights.py limits the weights: at 258 all agrees, above it AVX2 wraps."""
    rows = np.ones((1, 64), np.float16)
    rows[0, 0] = 0  # so that all others are quantised to 127, the largest there is
    q = np.zeros((1, 1), np.float32)
    for weight, agrees in ((16, True), (32, False)):
        layer = HeadLayer(
            np.full((64, 1), weight, np.int8), np.full(1, 1e-4, np.float32), np.zeros(1, np.float32)
        )
        head = HeadWeights("mlp", (layer,), np.ones(1, np.float32), 0.0)
        portable, avx2 = (HeadKernel(head, path).score(q, rows) for path in ("portable", "avx2"))
        assert (portable[0] == avx2[0]) is np.bool_(agrees)


def test_many_threads_share_one_kernel() -> None:
    head = _interaction(2, 64)
    kernel = HeadKernel(head, kernel_paths()[0])
    requests = [_request(head, 40 + seed, seed) for seed in range(16)]
    expected = [kernel.score(q, P) for q, P in requests]
    with ThreadPoolExecutor(4) as threads:
        for _ in range(10):
            scored = threads.map(lambda request: kernel.score(*request), requests)
            for got, want in zip(scored, expected, strict=True):
                np.testing.assert_array_equal(got, want)


def test_weights_survive_the_file_and_give_the_same_bytes(tmp_path: Path) -> None:
    head = _interaction(3, 8)
    q, P = _request(head, 20)
    write_head(tmp_path / "a.npz", head)
    write_head(tmp_path / "b.npz", head)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    again = HeadKernel(read_head(tmp_path / "a.npz"), "portable").score(q, P)
    np.testing.assert_array_equal(again, HeadKernel(head, "portable").score(q, P))


def test_weights_in_another_order_of_memory_are_the_same_weights(tmp_path: Path) -> None:
    head = _mlp((64, 256, 64))
    turned = tuple(
        replace(layer, weights=np.asfortranarray(layer.weights)) for layer in head.layers
    )
    write_head(tmp_path / "head.npz", replace(head, layers=turned))
    q, P = _request(head, 20)
    expected = HeadKernel(head, "portable").score(q, P)
    for _ in range(20):
        again = HeadKernel(read_head(tmp_path / "head.npz"), "portable")
        np.testing.assert_array_equal(again.score(q, P), expected)


def _bad_heads() -> Iterator[tuple[str, HeadWeights]]:
    head = _mlp((16, 32, 8))
    first, second = head.layers
    yield "no layer", replace(head, layers=())
    yield "widths that do not meet", replace(head, layers=(first, first))
    yield (
        "wide weights",
        replace(head, layers=(replace(first, weights=first.weights.astype("i2")), second)),
    )
    yield "a short bias", replace(head, layers=(replace(first, bias=first.bias[:-1]), second))
    yield "a short last layer", replace(head, last=head.last[:-1])
    yield "a short residual", replace(_interaction(2, 16), residual=np.ones(47, np.float32))
    yield "a long pool", replace(_interaction(2, 16), pool=np.ones(2, np.float32))


@pytest.mark.parametrize(
    "head", [head for _, head in _bad_heads()], ids=[n for n, _ in _bad_heads()]
)
def test_weights_that_make_no_head_are_refused(tmp_path: Path, head: HeadWeights) -> None:
    write_head(tmp_path / "head.npz", head)
    with pytest.raises(BundleDamaged, match=r"head\.npz: expected"):
        read_head(tmp_path / "head.npz")


def test_a_residual_of_another_width_is_refused() -> None:
    head = replace(_interaction(2, 16), width=8)
    with pytest.raises(BundleDamaged, match="interaction of L vectors"):
        HeadKernel(head, "portable")


@pytest.mark.parametrize("size", [0, 10, 200])
def test_a_truncated_file_is_refused(tmp_path: Path, size: int) -> None:
    write_head(tmp_path / "head.npz", _mlp((16, 16)))
    whole = (tmp_path / "head.npz").read_bytes()
    (tmp_path / "head.npz").write_bytes(whole[:size])
    with pytest.raises(BundleDamaged, match=r"head\.npz"):
        read_head(tmp_path / "head.npz")


def test_wrong_shapes_are_refused() -> None:
    head = _interaction(2, 16)
    q, P = _request(head, 3)
    kernel = HeadKernel(head, "portable")
    with pytest.raises(ValueError, match=r"expected q \[1, 32\] and P \[n, 32\]"):
        kernel.score(q, P[:, :-1])
    with pytest.raises(ValueError, match=r"expected q \[1, 32\]"):
        kernel.score(q[:, :-1], P)


@pytest.mark.skipif(not SIMDE.exists(), reason="SIMDe (Debian: libsimde-dev) is not installed")
def test_avx512_gives_the_same_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The AVX-512 VNNI code, its instructions emulated: its logic is tested on every machine."""
    library = tmp_path / "libhead.so"
    command = compiler()
    assert command is not None
    flags = ["-O2", "-std=gnu11", "-shared", "-fPIC", "-ffp-contract=off", "-w", "-Wno-psabi"]
    source = str(head_kernel.SOURCE)
    subprocess.run(
        [*command, *flags, "-DWINNOW_EMULATE_AVX512", "-o", str(library), source, "-lm"], check=True
    )
    scored = []
    for head in HEADS:
        q, P = _request(head, 37)
        scored.append((head, q, P, HeadKernel(head, "portable").score(q, P)))
    monkeypatch.setattr(head_kernel, "_LIBRARY", ctypes.CDLL(str(library)))
    assert kernel_paths()[0] == "avx512vnni"
    for head, q, P, expected in scored:
        np.testing.assert_array_equal(HeadKernel(head, "avx512vnni").score(q, P), expected)


_RUN = """
import logging, sys, numpy as np
logging.basicConfig(stream=sys.stderr, level=logging.INFO)
from pathlib import Path
from model_store.student import OnnxStudent
student = OnnxStudent.load(Path(sys.argv[1]))
print(student.run["head"], student.kernel_path)
"""


@pytest.mark.parametrize("how", ["not compiled", "compiled from another source"])
def test_without_the_compiled_head_onnx_runtime_takes_over(tmp_path: Path, how: str) -> None:
    for package in ("model_store", "native"):
        ignore = shutil.ignore_patterns("bundles", "__pycache__", "*.so")
        shutil.copytree(ROOT / package, tmp_path / package, ignore=ignore)
    if how != "not compiled":
        command = [sys.executable, "-c", "from native.compile import *; compile_source(SOURCES[0])"]
        subprocess.run(command, cwd=tmp_path, check=True)
        with (tmp_path / "model_store" / "head.c").open("a") as source:
            source.write("/* edited */\n")
    bundle = bundle_folder(DEFAULT_ROOT, "shop-reprbert")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(bundle)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["int8", "None"]
    assert "runs on ONNX Runtime" in done.stderr
    assert ("another version" in done.stderr) is (how != "not compiled")
