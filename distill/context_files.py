"""What `winnow context` writes: pairs, a catalogue and queries whose texts have their context.

pairs.csv       query, title, target (and hard): to train on
evaluate/       tables with a query and a title in each row, copied with the texts of serving
catalogue.csv   product_id, title: to index
queries.csv     query, text: rows of these queries are stored under `query`, encoded from `text`
context.json    options, hashes of the pairs, whose labels their targets are, counts

A row of pairs says what the graph knew: query_known and product_known are 1 or 0.
"""

import csv
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from distill.context import PairsInContext, TrainingContext, pairs_in_context
from distill.errors import ContextRefused
from distill.graph import Graph
from evaluation.tables import Row, rows
from export.pairs import PairColumns, Pairs
from indexing.catalogue import Catalogue, Entry
from indexing.catalogue import Row as CatalogueRow

OnProgress = Callable[[str, int, int | None], None]  # phase, done, total

CATALOGUE_FILE = "catalogue.csv"
QUERIES_FILE = "queries.csv"
_KNOWN = ("query_known", "product_known")
_CHUNK = 4096  # rows at a time


@dataclass(frozen=True)
class Written:
    """One file; of its rows, those whose query, product, or both are nodes of the graph.

    Of a catalogue and of queries one of the three has no meaning, and both is 0.
    """

    file: str
    rows: int
    query_known: int
    product_known: int
    both_known: int
    left_out: int = 0  # bad lines, which `winnow index` would reject


@dataclass(frozen=True, kw_only=True)
class ContextInputs:
    """What gets context.

    training: pairs to train on
    evaluation: tables to evaluate on
    columns: of their query and title
    catalogue: to index
    queries: whose rows will be stored; None: those of the graph
    """

    training: Pairs
    evaluation: tuple[Path, ...] = ()
    columns: PairColumns
    catalogue: Catalogue | None = None
    queries: Catalogue | None = None


def write_context(
    graph: Graph,
    inputs: ContextInputs,
    training: TrainingContext,
    out: Path,
    on_progress: OnProgress,
) -> list[Written]:
    """Writes the folder `out`, whole or not at all.

    Raises:
        ContextRefused: it exists, or two tables have one name.
        InputFileError: a table can't be read, or a row lacks a query or a title.
        CatalogueError: the catalogue or the queries can't be read.
    """
    if out.exists():
        raise ContextRefused(f"{out}: exists already: name another folder")
    names = [_csv_name(path) for path in inputs.evaluation]
    if len(set(names)) < len(names):
        raise ContextRefused(f"expected tables of distinct names, got {', '.join(names)}")
    staging = out.with_name(f"{out.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    (staging / "evaluate").mkdir(parents=True)
    try:
        written = [_write_training(graph, inputs.training, training, staging / "pairs.csv")]
        for path, name in zip(inputs.evaluation, names, strict=True):
            target = staging / "evaluate" / name
            written.append(_copy_table(graph, path, inputs.columns, target, on_progress))
        if inputs.catalogue is not None:
            target = staging / CATALOGUE_FILE
            written.append(write_catalogue(graph, inputs.catalogue.rows(), target, on_progress))
        written.append(write_queries(graph, inputs.queries, staging / QUERIES_FILE))
        facts: dict[str, object] = {
            "graph": asdict(graph.options),
            "training": asdict(training),
            "pairs": inputs.training.source,
            "pairs_sha256": inputs.training.sha256,
            "labels": inputs.training.facts,
            "edges": len(graph),
            "queries": len(graph.queries),
            "products": len(graph.products),
            "files": [asdict(each) for each in written],
        }
        text = json.dumps(facts, indent=2, ensure_ascii=False) + "\n"
        (staging / "context.json").write_text(text, encoding="utf-8")
        staging.rename(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return written


def _write_training(graph: Graph, pairs: Pairs, training: TrainingContext, path: Path) -> Written:
    found = pairs_in_context(graph, pairs, training)
    kept = found.pairs  # not all of `pairs`: some are the graph's alone
    columns = ["query", "title", "target", *_KNOWN]
    numbers = [kept.targets]
    if kept.hard is not None:
        columns.insert(3, "hard")
        numbers.append(kept.hard)
    cells = zip(*(each.tolist() for each in numbers), strict=True)
    lines = (
        (query, title, *("" if np.isnan(number) else f"{number:.7g}" for number in row), *known)
        for query, title, row, known in zip(
            kept.queries, kept.titles, cells, _known(found), strict=True
        )
    )
    _write(path, columns, lines)
    return _counted(path.name, [found])


def _copy_table(
    graph: Graph, source: Path, columns: PairColumns, path: Path, on_progress: OnProgress
) -> Written:
    """All columns as they are, but for query and title, which are as a student is served them."""
    parts: list[PairsInContext] = []
    header: list[str] = []

    def lines() -> Iterator[Sequence[object]]:
        done = 0
        with closing(rows(source)) as read:
            while chunk := list(islice(read, _CHUNK)):
                found = pairs_in_context(graph, _pairs_of(chunk, columns), None)
                parts.append(found)
                texts = zip(found.pairs.queries, found.pairs.titles, _known(found), strict=True)
                for row, (query, title, known) in zip(chunk, texts, strict=True):
                    fields = row.fields | {columns.query: query, columns.title: title}
                    fields |= dict(zip(_KNOWN, known, strict=True))
                    header[:] = header or list(fields)
                    if list(fields) != header:
                        raise ContextRefused(
                            f"{row.place}: expected the columns of the rows before, "
                            f"{', '.join(header)}, got {', '.join(fields)}"
                        )
                    yield list(fields.values())
                done += len(chunk)
                on_progress(source.name, done, None)

    body = lines()
    first = next(body, None)
    if first is None:
        raise ContextRefused(f"{source.name}: expected at least one pair, found none")
    _write(path, header, [first], body)
    return _counted(f"evaluate/{path.name}", parts)


def _pairs_of(chunk: Sequence[Row], columns: PairColumns) -> Pairs:
    queries = [row.text(columns.query) for row in chunk]
    titles = [row.text(columns.title) for row in chunk]
    return Pairs("", "", queries, titles, np.zeros(len(chunk), dtype=np.float32))


def write_catalogue(
    graph: Graph, products: Iterable[CatalogueRow], path: Path, on_progress: OnProgress
) -> Written:
    """Products with the titles to index: id, and title with its neighbours."""
    count = {"rows": 0, "known": 0, "bad": 0}

    def lines() -> Iterator[Sequence[object]]:
        for row in products:
            if not isinstance(row, Entry):
                count["bad"] += 1
                continue
            node = int(graph.products.find([row.text])[0])
            count["rows"] += 1
            count["known"] += node >= 0
            yield row.entry_id, graph.product_text(row.text, node)
            if count["rows"] % _CHUNK == 0:
                on_progress("catalogue", count["rows"], None)

    _write(path, ("product_id", "title"), lines())
    return Written(CATALOGUE_FILE, count["rows"], 0, count["known"], 0, count["bad"])


def write_queries(graph: Graph, queries: Catalogue | None, path: Path) -> Written:
    """The queries given, or all spellings that the graph has of its own."""
    bad = 0
    if queries is None:
        texts = list(graph.query_spellings)
    else:
        found = list(queries.rows())
        texts = list(dict.fromkeys(row.text for row in found if isinstance(row, Entry)))
        bad = sum(not isinstance(row, Entry) for row in found)
    nodes = graph.queries.find(texts).tolist()
    lines = ((text, graph.query_text(text, node)) for text, node in zip(texts, nodes, strict=True))
    _write(path, ("query", "text"), lines)
    return Written(QUERIES_FILE, len(texts), sum(node >= 0 for node in nodes), 0, 0, bad)


def _write(path: Path, header: Sequence[str], *parts: Iterable[Sequence[object]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(header)
        for lines in parts:
            table.writerows(lines)


def _known(found: PairsInContext) -> Iterator[tuple[int, int]]:
    known = zip(found.query_known.tolist(), found.product_known.tolist(), strict=True)
    return ((int(query), int(product)) for query, product in known)


def _counted(name: str, parts: Sequence[PairsInContext]) -> Written:
    query = np.concatenate([part.query_known for part in parts])
    product = np.concatenate([part.product_known for part in parts])
    both = int((query & product).sum())
    return Written(name, len(query), int(query.sum()), int(product.sum()), both)


def _csv_name(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).with_suffix(".csv").name
