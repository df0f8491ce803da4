"""The import: the tables of a layout in, Winnow's tables out, whole or not at all.

    catalogue.csv.gz  product_id, title, and what else the layout knows of a product
    judgments.csv     query, product_id, relevance, split
    judgments.train.csv, judgments.valid.csv, judgments.test.csv
                      the same, in parts
    pairs.csv         query, title, target: 1 where the relevance is relevant_from or more, else 0;
                      of the train part
    validation.csv    the same of the valid part
    queries.csv       query: each once
    rejects.jsonl     what was not taken, and why
    import.json       sources with their sha256, grades, counts

`split` is that of `evaluation.judgments`, which all commands go by. Where a split was published,
its test part stays as it is, and of its train part those queries are valid that are so by the rule.
"""

import json
import math
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from importing.errors import ImportRefused
from importing.layout import Layout
from importing.lookup import Lookup
from importing.reading import SPLITS, Judgment, OnProgress, Reading
from importing.tables_out import Rejects, WriteRow, csv_out
from indexing.raw import BadLine
from indexing.rejects import first_rejects
from model_store.digest import file_sha256

SHOWN_REJECTS: Final = 5


@dataclass(frozen=True)
class Imported:
    """What was written: counts by name, judgements by relevance and by split."""

    folder: Path
    layout: Layout
    counts: Mapping[str, int]
    relevance: Mapping[float, int]
    splits: Mapping[str, int]
    first_rejects: list[BadLine]

    def facts(self) -> dict[str, object]:
        """What import.json has."""
        layout = self.layout
        return {
            "layout": layout.name,
            "sources": [
                {
                    "file": table.path.name,
                    "bytes": table.path.stat().st_size,
                    "sha256": file_sha256(table.path),
                }
                for table in layout.tables
            ],
            "grades": layout.grades,
            "relevant_from": layout.relevant_from,
            "split": "published" if layout.judgments.split else "by query",
            "counts": dict(self.counts),
            "relevance": {f"{grade:g}": n for grade, n in sorted(self.relevance.items())},
            "splits": dict(sorted(self.splits.items())),
        }


def import_dataset(layout: Layout, out: Path, on_progress: OnProgress) -> Imported:
    """Reads a data set and writes the folder `out`, which must not exist.

    Raises:
        ImportRefused: a table can't be read to its end, nothing was judged, or `out` is there.
        BuildRefused: the rejects can't be written.
    """
    if out.exists():
        raise ImportRefused(f"{out}: exists already: name another folder")
    if not math.isfinite(layout.relevant_from):
        raise ImportRefused(f"expected a finite relevant_from, got {layout.relevant_from}")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as temporary:
        staging = Path(temporary) / "out"
        staging.mkdir()
        with ExitStack() as opened:
            lookup = Lookup(Path(temporary) / "lookup.sqlite")
            opened.callback(lookup.close)
            rejects = Rejects(staging / "rejects.jsonl")
            opened.callback(rejects.close)
            reading = Reading(layout, lookup, rejects, on_progress)
            products = _write_products(layout, reading, staging)
            writing = _Judgments(layout, lookup)
            writing.write(reading, staging)
        if not writing.counts["judgments"]:
            raise ImportRefused(
                f"{layout.judgments.table.path.name}: expected judgements of products, found none: "
                f"{rejects.count} refused, at last {rejects.last_reason or 'none'}"
            )
        counts = {"products": products, **writing.counts, **reading.counts}
        imported = Imported(
            folder=out,
            layout=layout,
            counts={**counts, "rejected": rejects.count},
            relevance=writing.relevance,
            splits=writing.splits,
            first_rejects=first_rejects(staging / "rejects.jsonl", SHOWN_REJECTS),
        )
        text = json.dumps(imported.facts(), indent=2, ensure_ascii=False) + "\n"
        (staging / "import.json").write_text(text, encoding="utf-8")
        staging.rename(out)
    return imported


def _write_products(layout: Layout, reading: Reading, folder: Path) -> int:
    columns = ("product_id", "title", *layout.other_columns)
    count = 0
    with csv_out(folder / "catalogue.csv.gz", columns) as write:
        for count, product in enumerate(reading.products(), start=1):  # noqa: B007 - the last one
            write((product.product_id, product.title, *product.others))
    return count


class _Judgments:
    """The tables of judgements, and what there is in them."""

    def __init__(self, layout: Layout, lookup: Lookup) -> None:
        self._relevant_from = layout.relevant_from
        self._lookup = lookup
        self.counts: Counter[str] = Counter(judgments=0, queries=0, pairs=0, relevant=0)
        self.relevance: Counter[float] = Counter()
        self.splits: Counter[str] = Counter()

    def write(self, reading: Reading, folder: Path) -> None:
        columns = ("query", "product_id", "relevance", "split")
        with ExitStack() as files:

            def opened(name: str, wanted: tuple[str, ...]) -> WriteRow:
                return files.enter_context(csv_out(folder / name, wanted))

            every = opened("judgments.csv", columns)
            parts = {split: opened(f"judgments.{split}.csv", columns) for split in SPLITS}
            pairs = {
                split: opened(name, ("query", "title", "target", "relevance"))
                for split, name in (("train", "pairs.csv"), ("valid", "validation.csv"))
            }
            queries = opened("queries.csv", ("query",))
            for judged in reading.judgments():
                row = (judged.query, judged.product_id, f"{judged.relevance:g}", judged.split)
                every(row)
                parts[judged.split](row)
                if judged.split in pairs:
                    target = int(self._relevant(judged))
                    pairs[judged.split]((judged.query, judged.title, target, row[2]))
                    self.counts["pairs"] += 1
                if self._lookup.add_query(judged.query):
                    queries((judged.query,))
                    self.counts["queries"] += 1
                self._count(judged)

    def _relevant(self, judged: Judgment) -> bool:
        return judged.relevance >= self._relevant_from

    def _count(self, judged: Judgment) -> None:
        self.counts["judgments"] += 1
        self.counts["relevant"] += self._relevant(judged)
        self.relevance[judged.relevance] += 1
        self.splits[judged.split] += 1
