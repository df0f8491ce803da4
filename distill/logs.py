"""Pairs for a teacher to label, out of a shop's log: BERT2DNN's transfer sets (section IV); or
pairs with click ratios, which DRFC and DRDD learn from without a teacher.

A log has one row per query and product, or several that add up: how often the product was shown
for the query, clicked, ordered, and perhaps skipped (shown above one that was clicked). It may be
larger than memory: rows are laid into files by the hash of their query, and one file is looked at
at a time.
"""

import csv
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from distill.errors import TransferRefused
from distill.transfer_file import Source, TransferPair, check_writable, write_pairs
from distill.transfer_inputs import HeldOut, Products, held_out_by_rule
from distill.transfer_options import LogOptions, OnProgress
from distill.whole_file import scratch_folder
from evaluation.judgments import query_key
from evaluation.tables import ENCODING, Row, rows
from model_store.cwub import token_hash

_MOST_FILES = 256  # open at once; a log of 16 GB or more takes more memory than asked for
_GZIP_RATIO = 8  # of log text, about
_MEMORY_RATIO = 4  # bytes of memory for a byte of the log
_EVERY = 10_000  # rows between two reports of progress


@dataclass(frozen=True)
class LogFile:
    """A CSV, TSV or JSONL file, plain or gzipped; the counts are whole numbers."""

    path: Path
    query: str = "query"
    product_id: str = "product_id"
    shown: str = "shown"
    clicked: str = "clicked"
    ordered: str = "ordered"
    skipped: str = "skipped"  # may be missing, but not for the rule "wide"
    encoding: str = ENCODING


@dataclass
class LogCounts:
    """What a log gave. Rows, not pairs, are what is left out."""

    rows: int = 0
    held_out: int = 0  # of queries of valid or test
    unknown_products: int = 0  # of products without a title
    queries: int = 0
    behaviour: int = 0  # pairs marked as hard positives
    pairs: Counter[str] = field(default_factory=Counter)  # by source


@dataclass(frozen=True)
class LogReport:
    """A transfer set as it was written; `path` and `sha256` are None for a dry run."""

    path: Path | None
    sha256: str | None
    counts: LogCounts
    seconds: float


class _Events(NamedTuple):
    """How often, over all rows of a query and product."""

    shown: int
    clicked: int
    ordered: int
    skipped: int


def filter_log(
    log: LogFile,
    products: Products,
    options: LogOptions,
    out: Path,
    on_progress: OnProgress,
    *,
    is_held_out: HeldOut = held_out_by_rule,
    dry_run: bool = False,
) -> LogReport:
    """Streams the pairs that the rule takes to `out`; a dry run only counts them.

    Beside `out` there has to be room for the log's text, in `<out>.parts`, until the set is
    written.

    Args:
        log: what to read.
        products: where titles are; rows of others are counted and left out.
        options: the rule.
        out: of the set; must not exist.
        on_progress: told of rows and files.
        is_held_out: which queries are left out.
        dry_run: nothing is written.

    Raises:
        InputFileError: the log can't be read; the text names the line.
        DistillError: another command is making `out`.
        TransferRefused: `out` exists or can't be written, a count is not a whole number from 0
            on, or the rule needs a column that the log lacks.
    """
    started = time.monotonic()
    check_writable(out)
    counts = LogCounts()
    try:
        with scratch_folder(out.with_name(f"{out.name}.parts")) as folder:
            parts = _lay_out(log, products, options, is_held_out, folder, counts, on_progress)
            pairs = _taken(parts, products, options, counts, on_progress)
            if dry_run:
                for _ in pairs:
                    pass
                return LogReport(None, None, counts, time.monotonic() - started)
            sha256 = write_pairs(
                out,
                pairs,
                behaviour=options.behaviour != "none",
                targets=options.rule == "clicks",
            )
    except OSError as error:
        raise TransferRefused(f"{out.parent}: {error.strerror or error}") from error
    return LogReport(out, sha256, counts, time.monotonic() - started)


def source_of(events: Sequence[int], options: LogOptions) -> tuple[Source | None, bool]:
    """Why a pair with these events is taken (None: it isn't), and whether somebody wanted it.

    events: how often shown, clicked, ordered, skipped
    """
    shown, clicked, ordered, skipped = events
    if options.rule == "clicks":
        if shown < options.shown_times:
            return None, False
        return "ordered" if ordered else "clicked" if clicked else "shown", False
    wanted = options.behaviour != "none" and ordered > 0
    wanted |= options.behaviour == "clicked" and clicked > 0
    if ordered > 0 and (options.rule == "strict" or wanted):
        return "ordered", wanted
    if (clicked > 0 or ordered > 0) and (options.rule == "wide" or wanted):
        return "clicked", wanted
    if options.rule == "wide":
        return ("skipped" if skipped >= options.skipped_times else None), False
    return ("shown" if shown >= options.shown_times and not clicked else None), False


def _lay_out(
    log: LogFile,
    products: Products,
    options: LogOptions,
    is_held_out: HeldOut,
    folder: Path,
    counts: LogCounts,
    on_progress: OnProgress,
) -> list[Path]:
    """Files of usable rows; all rows of a query lie in one file, the files in order of its hash."""
    number = _files_for(log.path, options.memory_mb)
    paths = [folder / f"{part:03}.csv" for part in range(number)]
    with ExitStack() as stack:
        parts = [
            csv.writer(stack.enter_context(path.open("w", encoding="utf-8", newline="")))
            for path in paths
        ]
        for row in stack.enter_context(closing(rows(log.path, log.encoding))):
            counts.rows += 1
            if counts.rows % _EVERY == 0:
                on_progress("log", counts.rows, None)
            query, events = row.text(log.query), _events(row, log, options)
            position = products.position_of(row.text(log.product_id))
            if is_held_out(query):
                counts.held_out += 1
            elif position is None:
                counts.unknown_products += 1
            else:
                part = token_hash(query_key(query)) * number >> 64
                parts[part].writerow((query, position, *events))
    on_progress("log", counts.rows, counts.rows)
    return paths


def _files_for(log: Path, memory_mb: int) -> int:
    try:
        size = log.stat().st_size
    except OSError:
        return 1  # `rows` says better what is wrong with it
    text = size * _GZIP_RATIO if log.name.lower().endswith(".gz") else size
    return max(1, min(_MOST_FILES, -(-text * _MEMORY_RATIO // (memory_mb << 20))))


def _events(row: Row, log: LogFile, options: LogOptions) -> _Events:
    skipped = 0
    if row.has(log.skipped):
        skipped = _count(row, log.skipped)
    elif options.rule == "wide":
        raise TransferRefused(
            f"{row.place}: no column {log.skipped!r}: the rule wide takes skipped pairs as "
            "negatives; say which column counts them, or use the rule strict"
        )
    return _Events(
        _count(row, log.shown), _count(row, log.clicked), _count(row, log.ordered), skipped
    )


def _count(row: Row, column: str) -> int:
    number = row.number(column)
    if number < 0 or number != int(number):
        raise TransferRefused(
            f"{row.place}: expected a whole number from 0 on in {column!r}, got {number:g}"
        )
    return int(number)


def _taken(
    parts: list[Path],
    products: Products,
    options: LogOptions,
    counts: LogCounts,
    on_progress: OnProgress,
) -> Iterator[TransferPair]:
    """Pairs that the rule takes, those of a query together, queries in the order of their hash."""
    for done, part in enumerate(parts, start=1):
        queries, events = _summed(part)
        for key in sorted(queries, key=token_hash):
            any_taken = False
            for position, happened in events[key].items():
                source, wanted = source_of(happened, options)
                if source is None:
                    continue
                any_taken = True
                counts.pairs[source] += 1
                counts.behaviour += wanted
                title, product_id = products.titles[position], products.ids[position]
                # A product may be clicked twice where it was shown once.
                ratio = min(1.0, happened.clicked / happened.shown) if happened.shown else 0.0
                yield TransferPair(queries[key], title, product_id, source, wanted, ratio)
            counts.queries += any_taken
        part.unlink()
        on_progress("filter", done, len(parts))


def _summed(part: Path) -> tuple[dict[str, str], dict[str, dict[int, _Events]]]:
    """The first spelling of each query by its key, and the events of its products."""
    queries: dict[str, str] = {}
    events: dict[str, dict[int, _Events]] = {}
    with part.open(encoding="utf-8", newline="") as file:
        for query, position, *numbers in csv.reader(file):
            key = query_key(query)
            queries.setdefault(key, query)
            of_query = events.setdefault(key, {})
            before = of_query.get(int(position), _Events(0, 0, 0, 0))
            of_query[int(position)] = _Events(
                *(a + int(b) for a, b in zip(before, numbers, strict=True))
            )
    return queries, events
