"""The floor: query graph, one blocking read and head, one after the other in one thread.

Both graphs run on ONNX Runtime with one thread, the head in int8 where the bundle has it and in
tiles of 512. Nothing is cached, overlapped or shared with the service.
"""

from time import perf_counter

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from bench.bare_store import BareStore
from bench.errors import BenchError
from bench.subject import Subject
from model_store.manifest import GraphName, Precision
from model_store.tokenizer import open_tokenizer

TILE = 512  # what ONNX Runtime's heads like best; the service's own is a setting


class Floor:
    """The parts of a request, each to be timed alone; `head_precision` is the head's."""

    def __init__(self, subject: Subject, store: BareStore) -> None:
        """Opens both graphs; the query graph in the precision that the service runs."""
        manifest = subject.student.manifest
        self.head_precision: Precision = (
            "int8" if "int8" in manifest.graphs["head"].files else "float32"
        )
        self._tokenizer = open_tokenizer(subject.folder, manifest.tokenizer)
        self._query = _session(subject, "query", subject.student.run["query"])
        self._head = _session(subject, "head", self.head_precision)
        self._store = store
        self._width = manifest.d_p
        self._record_bytes = subject.header.record_bytes

    def encode(self, text: str) -> NDArray[np.float32]:
        """Query row, float32 [1, d_q]."""
        token_ids, token_mask = self._tokenizer.encode([text], "query")
        feeds = {"token_ids": token_ids, "token_mask": token_mask}
        q: NDArray[np.float32] = self._query.run(["q"], feeds)[0]
        return q

    def read(self, keys: list[bytes]) -> NDArray[np.float16]:
        """Product rows, float16 [n, d_p].

        Raises:
            BenchError: a row is missing or has another length.
        """
        try:
            # A None is refused by join itself, so that looking for it costs nothing here.
            joined = b"".join(self._store.read(keys))  # type: ignore[arg-type]
            records = np.frombuffer(joined, dtype=np.uint8).reshape(len(keys), self._record_bytes)
        except (TypeError, ValueError) as error:
            raise BenchError(
                f"expected {len(keys)} rows of {self._record_bytes} bytes, the store has not all "
                "of them: index the catalogue again"
            ) from error
        return np.ascontiguousarray(records[:, : 2 * self._width]).view(np.float16)

    def head(self, q: NDArray[np.float32], P: NDArray[np.float16]) -> None:
        """Runs the head over product rows P [n, d_p] for a query row q [1, d_q]."""
        for start in range(0, len(P), TILE):
            self._head.run(["score"], {"q": q, "P": P[start : start + TILE]})

    def request(self, query: str, product_ids: list[str]) -> dict[str, float]:
        """Milliseconds of each part of one request, and of all."""
        keys = self._store.keys(product_ids)
        started = perf_counter()
        q = self.encode(query)
        encoded = perf_counter()
        rows = self.read(keys)
        fetched = perf_counter()
        self.head(q, rows)
        done = perf_counter()
        return {
            "query": (encoded - started) * 1e3,
            "rows": (fetched - encoded) * 1e3,
            "head": (done - fetched) * 1e3,
            "all": (done - started) * 1e3,
        }

    def rows(self, product_ids: list[str]) -> NDArray[np.float16]:
        """Product rows of these products, float16 [n, d_p]."""
        return self.read(self._store.keys(product_ids))


def _session(subject: Subject, graph: GraphName, precision: Precision) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    file = subject.student.manifest.graphs[graph].files[precision]
    return ort.InferenceSession(subject.folder / file, options, ["CPUExecutionProvider"])
