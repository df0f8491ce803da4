"""golden.npz: what a bundle's graphs gave for a few texts when it was published."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from export.pairs import Pairs
from export.sessions import HeadRun, product_rows, query_rows
from export.tokens import TokenRows
from model_store.manifest import GraphName, Precision
from model_store.tokenizer import Tokenizer

# Nothing, nothing but symbols, mixed scripts, special tokens as text, more than any limit.
ODD_TEXTS = ["", "🎧🔥", "mac电脑 红色", "[CLS] [SEP] [PAD]", "2.5m usb c cable " * 80]

_FROM_PAIRS = 4

# One float16 step of a row's largest value is 2^-10 of it, and another CPU may round to the next.
# The fused head gives the same score on every CPU, but for the last bit of its exponential.
# An int8 activation that another CPU rounds to the next step moves a row by less than this.
TOLERANCE: dict[Precision, float] = {"float32": 1e-3, "int8": 2e-2, "native": 1e-3}

Graphs = dict[tuple[GraphName, Precision], ort.InferenceSession]


def write_golden(
    path: Path,
    graphs: Graphs,
    heads: dict[Precision, HeadRun],
    tokenizer: Tokenizer,
    pairs: Pairs,
) -> None:
    """Runs the odd texts and a few of the pairs' texts through every graph, and keeps the results.

    Arrays: query_texts, product_texts; query.* float32 [k, d_q], product.* float16 [k, d_p],
    head.* float32 [k, k] of the float32 rows; * is each precision that there is.
    """
    queries = [*ODD_TEXTS, *list(dict.fromkeys(pairs.queries))[:_FROM_PAIRS]]
    titles = [*ODD_TEXTS, *list(dict.fromkeys(pairs.titles))[:_FROM_PAIRS]]
    query_tokens = TokenRows(tokenizer, queries, "query")
    title_tokens = TokenRows(tokenizer, titles, "product")
    arrays: dict[str, NDArray[np.generic]] = {
        "query_texts": np.array(query_tokens.distinct),
        "product_texts": np.array(title_tokens.distinct),
    }
    for (name, precision), graph in graphs.items():
        if name == "query":
            arrays[f"query.{precision}"] = query_rows(graph, query_tokens)
        elif name == "product":
            alone = precision == "int8"
            arrays[f"product.{precision}"] = product_rows(graph, title_tokens, alone=alone)
    q, P = arrays["query.float32"], arrays["product.float32"]
    rows = P.astype(np.float16)
    for precision, head in heads.items():
        arrays[f"head.{precision}"] = np.stack(
            [head(row[None].astype(np.float32), rows) for row in q]
        )
    np.savez(path, allow_pickle=False, **arrays)
