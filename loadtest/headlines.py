"""The papers' headlines on this machine: cross-encoders against the students, on the same cores.

    OMP_NUM_THREADS=2 python -m loadtest.headlines

BERT2DNN's head scores 12,800 pairs in this process, split over as many threads as the
cross-encoders use; that is what `model_store.student` is imported for, the one import of the
project's packages under loadtest. ReprBERT scores 1,000 products over HTTP, from a service that
this script starts (or --url), one worker, rows in LMDB.

Cross-encoders have random weights: time does not depend on them. A sample of pairs is timed at
steady state and scaled to all pairs, which flatters them if anything (no tokenizing, no padding).
Needs the extra `train` (torch, transformers).
"""

import argparse
import os
import statistics
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import orjson
import torch
from rich.console import Console
from transformers import BertConfig, BertForSequenceClassification

from loadtest import catalogue
from loadtest.client import Client
from loadtest.commands import index, serve
from loadtest.figures import markdown_table, median_spread, short
from loadtest.traffic import read_ids
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent

BERT2DNN_PAIRS, BERT2DNN_QUERIES, BERT2DNN_TOKENS = 12_800, 10, 32
REPRBERT_PRODUCTS, REPRBERT_TOKENS = 1_000, 43  # 13 of the query and 30 of the title
BASE = BertConfig(num_hidden_layers=12, hidden_size=768, num_attention_heads=12)
TINY = BertConfig(
    num_hidden_layers=4, hidden_size=312, num_attention_heads=12, intermediate_size=1_200
)
SHOP = Path(__file__).parents[1] / "examples" / "shop" / "products.csv"
_CONSOLE = Console(stderr=True)


@dataclass(frozen=True)
class Way:
    """One way of scoring all pairs; `seconds` does it once, or a sample of it, scaled."""

    name: str
    how: str
    seconds: Callable[[], float]


def main() -> None:
    """Measures both headlines and prints one Markdown table each."""
    options = _options()
    torch.set_num_threads(options.threads)
    if options.only != "reprbert":
        title = f"{BERT2DNN_PAIRS:,} pairs of {BERT2DNN_TOKENS} tokens, {options.threads} threads"
        pairs, tokens = BERT2DNN_PAIRS, BERT2DNN_TOKENS
        with ThreadPoolExecutor(options.threads) as pool:
            ways = [
                *_cross_encoders("BERT-Base", BASE, pairs, tokens, options),
                *_cross_encoders("TinyBERT-sized", TINY, pairs, tokens, options),
                *_bert2dnn(pool, options),
            ]
            print(_table(title, ways, _in_turn(ways, options.runs)))
    if options.only != "bert2dnn":
        title = f"1 query, {REPRBERT_PRODUCTS:,} products, pairs of {REPRBERT_TOKENS} tokens"
        with _service(options) as url, Client(url) as client:
            ways = [
                *_cross_encoders("12-layer", BASE, REPRBERT_PRODUCTS, REPRBERT_TOKENS, options),
                *_reprbert(client, options),
            ]
            print(_table(title, ways, _in_turn(ways, options.runs)))


def _in_turn(ways: Sequence[Way], runs: int) -> list[list[float]]:
    """Seconds of each way per run; in turn, so that a slow minute falls on all of them."""
    seconds: list[list[float]] = [[] for _ in ways]
    for run in range(runs):
        for way, of_way in zip(ways, seconds, strict=True):
            of_way.append(way.seconds())
            _CONSOLE.print(f"run {run + 1}: {way.name}: {of_way[-1]:.4f} s", highlight=False)
    return seconds


def _cross_encoders(
    name: str, config: BertConfig, pairs: int, tokens: int, options: argparse.Namespace
) -> list[Way]:
    """float32 with PyTorch's fused attention, and with its dynamic int8 linear layers."""
    torch.manual_seed(options.seed)
    config._attn_implementation = "sdpa"
    config.num_labels = 1
    model = BertForSequenceClassification(config)
    model.train(mode=False)
    with warnings.catch_warnings():
        # Both are to leave torch for another package; what they compute is what counts here.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", UserWarning)
        int8 = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)  # type: ignore[no-untyped-call]
    shape = options.batch, tokens
    feeds = {
        "input_ids": torch.randint(1_000, config.vocab_size, shape),
        "token_type_ids": (torch.arange(tokens) >= tokens // 3).long().expand(shape),
    }
    batches = max(1, options.sample // options.batch)
    scale = pairs / (batches * options.batch)
    how = f"{batches * options.batch} pairs timed in batches of {options.batch}, scaled"

    def seconds(network: torch.nn.Module) -> float:
        with torch.inference_mode():
            network(**feeds)  # steady state
            started = perf_counter()
            for _ in range(batches):
                network(**feeds)
        return float(scale * (perf_counter() - started))

    return [
        Way(f"{name} cross-encoder, float32", how, partial(seconds, model)),
        Way(f"{name} cross-encoder, int8", how, partial(seconds, int8)),
    ]


def _bert2dnn(pool: ThreadPoolExecutor, options: argparse.Namespace) -> list[Way]:
    """The head alone, and with the queries encoded; 10 queries with 1,280 products each."""
    student = OnnxStudent.load(bundle_folder(options.bundles, options.bert2dnn))
    texts = catalogue.queries(BERT2DNN_QUERIES, options.seed)
    titles = [title for _, title, _, _ in catalogue.products(BERT2DNN_PAIRS, options.seed)]
    P = student.encode_products(titles).reshape(BERT2DNN_QUERIES, -1, student.manifest.d_p)
    rows = [student.encode_query(text) for text in texts]

    def head(i: int) -> None:
        student.calibrate(student.score(rows[i], P[i]))

    def encode_and_head(i: int) -> None:
        student.calibrate(student.score(student.encode_query(texts[i]), P[i]))

    def all_pairs(work: Callable[[int], None]) -> float:
        started = perf_counter()
        list(pool.map(work, range(BERT2DNN_QUERIES)))
        return perf_counter() - started

    def seconds(work: Callable[[int], None]) -> float:
        return statistics.median(all_pairs(work) for _ in range(options.requests))

    how = f"all pairs, median of {options.requests}; runs {student.run['head']}"
    return [
        Way("BERT2DNN, queries encoded too", how, partial(seconds, encode_and_head)),
        Way("BERT2DNN, head", how, partial(seconds, head)),
    ]


def _reprbert(client: Client, options: argparse.Namespace) -> list[Way]:
    """Over HTTP on one connection, each query a new one: a request per product, or for all."""
    ids = read_ids(SHOP)[:REPRBERT_PRODUCTS]
    per_run = REPRBERT_PRODUCTS + options.requests
    queries = iter(catalogue.queries(per_run * options.runs + 1, options.seed))
    _post(client, next(queries), ids)  # rows are in the service's cache from here on

    def one_by_one() -> float:
        return sum(_post(client, next(queries), [product_id]) for product_id in ids)

    def at_once() -> float:
        times = [_post(client, next(queries), ids) for _ in range(options.requests)]
        return statistics.median(times)

    once = f"1 request of 1,000 products, median of {options.requests}"
    return [
        Way("ReprBERT over HTTP, query encoded 1,000 times", "1,000 requests of 1", one_by_one),
        Way("ReprBERT over HTTP, query encoded once", once, at_once),
    ]


def _post(client: Client, query: str, ids: Sequence[str]) -> float:
    """Seconds from sending to the answer."""
    body = orjson.dumps({"query": query, "product_ids": ids})
    started = perf_counter()
    answer = client.post("/score", body)
    seconds = perf_counter() - started
    if answer.outcome != "ok":
        raise SystemExit(f"expected a fully scored answer, got {answer.body[:300]!r}")
    return seconds


@contextmanager
def _service(options: argparse.Namespace) -> Iterator[str]:
    if options.url:
        yield options.url
        return
    with tempfile.TemporaryDirectory(prefix="winnow-headlines-") as folder:
        store = f"lmdb:{folder}/rows"
        index(SHOP, options.reprbert, store, options.bundles)
        with serve(store, options.reprbert, options.bundles, 1, {}) as served:
            yield served.url


def _table(title: str, ways: Sequence[Way], seconds: Sequence[Sequence[float]]) -> str:
    """Every way beside the last one, which is the student at its best."""
    best = statistics.median(seconds[-1])
    rows = [
        (
            way.name,
            way.how,
            median_spread([1e3 * one for one in of_way]),
            short(statistics.median(of_way) / best),
        )
        for way, of_way in zip(ways, seconds, strict=True)
    ]
    return f"{title}\n\n{markdown_table(('', 'how', 'ms', 'times the last'), rows)}\n"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", choices=("bert2dnn", "reprbert"))
    parser.add_argument("--url", help="a running service with the shop's products and ReprBERT")
    parser.add_argument("--bundles", type=Path, default=DEFAULT_ROOT)
    parser.add_argument("--bert2dnn", default="shop-bert2dnn", help="bundle of that student")
    parser.add_argument("--reprbert", default="shop-reprbert", help="bundle of that student")
    parser.add_argument("--sample", type=int, default=640, help="pairs that are timed")
    parser.add_argument("--batch", type=int, default=64, help="pairs at once")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--requests", type=int, default=100, help="per run, of the fast ones")
    parser.add_argument("--seed", type=int, default=7)
    return parser.parse_args()


if __name__ == "__main__":
    main()
