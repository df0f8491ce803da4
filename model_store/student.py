"""OnnxStudent: runs a bundle's three graphs; refuses one that has drifted.

Query and product graph run on ONNX Runtime; so does the head, or else its fused form (head_kernel).
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Lock
from typing import Self

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from model_store import title_runs
from model_store.bundle import GOLDEN_FILE, Bundle, open_bundle
from model_store.calibration import calibrated
from model_store.errors import BundleDamaged, BundleRefused
from model_store.head_kernel import HeadKernel, KernelPath, fast_path, kernel_paths, read_head
from model_store.manifest import TILE, GraphName, Manifest, Precision
from model_store.npz import read_npz
from model_store.tokenizer import Side, Tokenizer, open_tokenizer
from model_store.words import Word

log = logging.getLogger("winnow.student")

_ORT_ERRORS = (
    ort_errors.Fail,
    ort_errors.InvalidArgument,
    ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf,
    ort_errors.NoSuchFile,
    ort_errors.NotImplemented,
    ort_errors.RuntimeException,
)


class OnnxStudent:
    """One verified student: text to rows, rows to scores. Safe to use from several threads."""

    def __init__(
        self, bundle: Bundle, threads: int, tile: int, run: dict[GraphName, Precision]
    ) -> None:
        """Use `load`; this makes the sessions but checks no golden row."""
        self.manifest: Manifest = bundle.manifest
        self.run = run
        self._folder = bundle.folder
        self._threads = threads
        self._tile = tile
        self._tokenizer: Tokenizer = open_tokenizer(bundle.folder, bundle.manifest.tokenizer)
        self._query = self._session("query", run["query"])
        self._kernel: HeadKernel | None = None
        if run["head"] == "native":
            weights = read_head(bundle.folder / bundle.manifest.graphs["head"].files["native"])
            self._kernel = HeadKernel(weights, kernel_paths()[0])
        else:
            self._head = self._session("head", run["head"])
        # Loaded by the first title: a server that is only asked for ids never holds its memory.
        self._product: ort.InferenceSession | None = None
        self._product_lock = Lock()

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        threads: int = 1,
        tile: int = TILE,
        precision: Precision | None = None,
    ) -> Self:
        """Opens a bundle: checksums, then the golden rows through all three graphs.

        Args:
            folder: the bundle's version folder.
            threads: ONNX Runtime threads of one graph run.
            tile: rows per run of the head.
            precision: of the query and head graphs, in place of the manifest's choice, wherever
                the bundle has it ("native" is a precision of the head alone). The product graph
                always runs as the manifest says: another precision makes other rows.

        A bundle that runs the native head falls back to ONNX Runtime's (int8, else float32) on a
        machine without it; `run` and `kernel_path` say what is run.

        Raises:
            ModelStoreError: the bundle is missing, damaged, or refused by a check.
        """
        bundle = open_bundle(folder)
        chosen = {name: graph.run for name, graph in bundle.manifest.graphs.items()}
        if precision is not None:
            # A graph without a matrix product has no int8 file: it runs in float32 either way.
            for name in ("query", "head"):
                if precision in bundle.manifest.graphs[name].files:
                    chosen[name] = precision
        if chosen["head"] == "native" and not _native_runs(asked=precision == "native"):
            files = bundle.manifest.graphs["head"].files
            chosen["head"] = "int8" if "int8" in files else "float32"
            log.warning(
                "%s: this machine has no fused head (%s): its %s head runs on ONNX Runtime",
                bundle.manifest.name,
                "no AVX2" if kernel_paths() else "not compiled: install with a C compiler present",
                chosen["head"],
            )
        student = cls(bundle, threads, tile, chosen)
        student.check_golden()
        return student

    @property
    def kernel_path(self) -> KernelPath | None:
        """Code path of the fused head; None where the head runs on ONNX Runtime."""
        return None if self._kernel is None else self._kernel.path

    def encode_query(self, text: str) -> NDArray[np.float32]:
        """Query row, float32 [1, d_q]."""
        token_ids, token_mask = self._tokenizer.encode([text], "query")
        q: NDArray[np.float32] = self._query.run(
            ["q"], {"token_ids": token_ids, "token_mask": token_mask}
        )[0]
        return q

    def encode_products(self, titles: Sequence[str]) -> NDArray[np.float16]:
        """Product rows, float16 [n, d_p], aligned with `titles`.

        A row depends on its title alone, to the last bit: one that is encoded now is the one that
        an index of the same kind of machine holds. The first call loads the product graph, which
        stays for as long as the student does.
        """
        rows = np.empty((len(titles), self.manifest.d_p), dtype=np.float16)
        if not titles:
            return rows
        session = self._product_session()
        token_ids, token_mask = self._tokenizer.encode(titles, "product")
        alone = self.run["product"] == "int8"
        for positions, run, width in title_runs.runs(token_mask, alone=alone):
            feeds = {
                "token_ids": title_runs.widened(token_ids[run], width),
                "token_mask": title_runs.widened(token_mask[run], width),
            }
            rows[positions] = session.run(["P"], feeds)[0][: len(positions)]
        return rows

    def words(self, text: str, side: Side) -> list[Word]:
        """The words of a query or title, as its tokenizer reads them."""
        return self._tokenizer.words(text, side)

    def _product_session(self) -> ort.InferenceSession:
        with self._product_lock:
            if self._product is None:
                self._product = self._session("product", self.run["product"])
            return self._product

    def score(
        self,
        q: NDArray[np.float32],
        P: NDArray[np.float16],
        stop: Callable[[], bool] = lambda: False,
    ) -> NDArray[np.float32]:
        """Raw scores, float32 [n] in [0, 1], of product rows P [n, d_p] for a query row q [1, d_q].

        Runs in tiles of `tile` rows; a score does not depend on the tile it falls into. `stop` is
        asked before each tile, and once it says yes the rest stays NaN (= not scored).
        """
        scores = np.full(len(P), np.nan, dtype=np.float32)
        for start in range(0, len(P), self._tile):
            if stop():
                break
            rows = P[start : start + self._tile]
            if self._kernel is not None:
                scores[start : start + self._tile] = self._kernel.score(q, rows)
            else:
                feeds = {"q": q, "P": rows}
                scores[start : start + self._tile] = self._head.run(["score"], feeds)[0]
        return scores

    def calibrate(self, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated scores, float32 [n]: sigmoid(slope * logit(raw) + intercept); NaN stays."""
        return calibrated(raw, self.manifest.calibration)

    def check_golden(self) -> None:
        """Runs the golden rows through every graph.

        Raises:
            BundleDamaged: golden.npz can't be read, or a graph knows fewer tokens than there are.
            BundleRefused: a graph's output is not finite or differs by more than the tolerance.
        """
        self._check_largest_token(self._query, "query", "q")
        self._check_largest_token(self._product_session(), "product", "P")
        golden = read_npz(self._folder / GOLDEN_FILE)
        query_texts, product_texts = (
            golden[f"{side}_texts"].tolist() for side in ("query", "product")
        )
        q = np.concatenate([self.encode_query(text) for text in query_texts])
        self._compare("query", q, golden)
        P = self.encode_products(product_texts)
        self._compare("product", P, golden)
        self._product = None
        rows_q = golden["query.float32"].astype(np.float32)
        rows_P = golden["product.float32"].astype(np.float16)
        scores = np.stack([self.score(row[None, :], rows_P) for row in rows_q])
        self._compare("head", scores, golden)

    def _check_largest_token(
        self, session: ort.InferenceSession, graph: GraphName, output: str
    ) -> None:
        """Else the first text with a token beyond the table would fail, perhaps in months."""
        token_ids = np.array([[self._tokenizer.size - 1]], dtype=np.int64)
        try:
            session.run([output], {"token_ids": token_ids, "token_mask": np.ones_like(token_ids)})
        except _ORT_ERRORS as error:
            raise BundleDamaged(
                f"{self.manifest.name} {self.manifest.version}: graph {graph} fails on token "
                f"{token_ids.item()}, the last one of {self._tokenizer.size} in the vocabulary: "
                "the two are not of one export. Export again."
            ) from error

    def _compare(
        self, graph: GraphName, got: NDArray[np.floating], golden: dict[str, NDArray[np.generic]]
    ) -> None:
        precision = self.run[graph]
        expected = golden[f"{graph}.{precision}"].astype(np.float64)
        tolerance = self.manifest.golden_tolerance[precision]
        where = (
            f"{self.manifest.name} {self.manifest.version}: golden rows of {graph} ({precision})"
        )
        if got.shape != expected.shape:
            raise BundleRefused(f"{where}: expected shape {expected.shape}, got {got.shape}")
        # Rows are compared relative to their own scale, scores (in [0, 1]) as they are.
        scale = 1.0 if graph == "head" else max(1.0, float(np.abs(expected).max(initial=0.0)))
        difference = float(np.abs(got.astype(np.float64) - expected).max(initial=0.0)) / scale
        if not difference <= tolerance:  # NaN is refused too
            raise BundleRefused(
                f"{where}: expected a difference of at most {tolerance:g}, got {difference:g}. "
                "This machine or ONNX Runtime computes something else than was published: "
                "export again."
            )

    def _session(self, graph: GraphName, precision: Precision) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Spinning threads steal the other workers' cores between requests.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Shapes vary (query lengths, the last tile): a memory pattern per shape would only pile up.
        options.enable_mem_pattern = False
        file = self.manifest.graphs[graph].files[precision]
        try:
            return ort.InferenceSession(
                self._folder / file, options, providers=["CPUExecutionProvider"]
            )
        except _ORT_ERRORS as error:
            reason = str(error).splitlines()[0][:300]
            raise BundleDamaged(
                f"{self.manifest.name}/{file}: ONNX Runtime can't load it: {reason}"
            ) from error


def _native_runs(*, asked: bool) -> bool:
    """Whether the fused head is used here: where it is fast, or where it was asked for by name."""
    return fast_path() is not None or (asked and bool(kernel_paths()))
