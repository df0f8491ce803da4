"""Query files of every format, and the sets of query rows that they become."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing import sets
from indexing.catalogue import Entry, Format, Row, open_catalogue, open_queries
from indexing.errors import BuildConflict, BuildRefused, CatalogueError
from indexing.index import IndexOptions, Report, index, index_rows
from indexing.plan import plan
from indexing.raw import BadLine
from indexing.student import RowEncoder, query_rows
from model_store.manifest import query_fingerprint
from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from tests.indexing.hash_encoder import HashEncoder
from vector_store.keys import query_id
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND, unpack

QUERIES = ["red shoe", 'tv 55" 4k', "连衣裙 größe", "  spaces stay  ", "x" * 2_000]


def _queries(rows: list[Row]) -> list[str]:
    assert all(row.entry_id == query_id(row.text) for row in rows if isinstance(row, Entry))
    return [row.text for row in rows if isinstance(row, Entry)]


def _bad(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.line_number, row.reason) for row in rows if isinstance(row, BadLine)]


def _write(folder: Path, name: str, queries: list[str]) -> Path:
    path = folder / name
    match Path(name.removesuffix(".gz")).suffix:
        case ".txt":
            text = "\n".join(queries) + "\n"
        case ".tsv":
            text = "count\tquery\n" + "".join(f"1\t{query}\n" for query in queries)
        case ".jsonl":
            text = "".join(json.dumps({"query": query}) + "\n" for query in queries)
        case ".parquet":
            pq.write_table(pa.table({"count": [1] * len(queries), "query": queries}), path)
            return path
        case _:
            quoted = (query.replace('"', '""') for query in queries)
            text = "count,query\n" + "".join(f'1,"{query}"\n' for query in quoted)
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return path


@pytest.mark.parametrize(
    "name", ["q.txt", "q.txt.gz", "q.csv", "q.csv.gz", "q.tsv", "q.jsonl", "q.parquet"]
)
def test_formats(tmp_path: Path, name: str) -> None:
    queries = open_queries(_write(tmp_path, name, QUERIES))
    assert _queries(list(queries.rows())) == QUERIES
    assert queries.holds == "queries"


def test_bad_lines_of_a_text_file(tmp_path: Path) -> None:
    path = tmp_path / "q.log"
    path.write_bytes(b"\xef\xbb\xbfred shoe\r\n\n   \nbad \xff byte\nnul\0\nlast")
    with pytest.raises(CatalogueError, match=r"'\.log' names no format"):
        open_queries(path)
    file_format: Format = "txt"
    rows = list(open_queries(path, file_format=file_format).rows())
    assert _queries(rows) == ["red shoe", "last"]
    assert _bad(rows) == [
        (2, "empty query"),
        (3, "empty query"),
        (4, "bytes that are not of the file's encoding"),
        (5, "NUL character in the query"),
    ]


def test_bad_lines_of_a_column(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"q": "ok"}\n{"q": 5}\n{"q": ""}\n{}\n', "utf-8")
    rows = list(open_queries(path, query_column="q").rows())
    assert _queries(rows) == ["ok"]
    assert _bad(rows) == [
        (2, "query of type int, expected a string"),
        (3, "empty query"),
        (4, "missing query"),
    ]


def test_a_column_that_is_not_there(tmp_path: Path) -> None:
    path = _write(tmp_path, "q.csv", QUERIES)
    with pytest.raises(CatalogueError, match=r"one column 'search', found 0; .* 'count', 'query'"):
        open_queries(path, query_column="search")
    with pytest.raises(CatalogueError, match="expected a query file, found none"):
        open_queries(tmp_path / "absent.txt")


@pytest.mark.parametrize("name", ["q.csv", "q.tsv", "q.jsonl", "q.parquet"])
def test_a_query_may_have_a_text_of_its_own(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    pairs = [("red shoe", "red shoe [SEP] runner"), ("tent", "tent")]
    match path.suffix:
        case ".jsonl":
            lines = [json.dumps({"query": query, "text": text}) for query, text in pairs]
            path.write_text("\n".join(lines) + "\n", "utf-8")
        case ".parquet":
            columns = zip(*pairs, strict=True)
            pq.write_table(pa.table(dict(zip(("query", "text"), columns, strict=True))), path)
        case suffix:
            by = "," if suffix == ".csv" else "\t"
            lines = [f"text{by}query", *(f"{text}{by}{query}" for query, text in pairs)]
            path.write_text("\n".join(lines) + "\n", "utf-8")
    rows = [row for row in open_queries(path, text_column="text").rows() if isinstance(row, Entry)]
    assert [(row.entry_id, row.text) for row in rows] == [(query_id(q), t) for q, t in pairs]


def test_bad_texts_and_queries(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text('{"query": "a", "text": ""}\n{"query": " ", "text": "b"}\n{"query": "c"}\n')
    assert _bad(list(open_queries(path, text_column="text").rows())) == [
        (1, "empty text"),
        (2, "empty query"),
        (3, "missing text"),
    ]
    with pytest.raises(CatalogueError, match="expected columns for the query and its text 'text'"):
        open_queries(_write(tmp_path, "q.txt", QUERIES), text_column="text")
    with pytest.raises(CatalogueError, match="one column 'context', found 0"):
        open_queries(_write(tmp_path, "q.csv", QUERIES), text_column="context")


def test_a_row_of_a_query_is_that_of_its_text(
    store: VectorStore, student: OnnxStudent, tmp_path: Path, options: IndexOptions
) -> None:
    path = tmp_path / "q.csv"
    path.write_text("query,text\nred shoe,red shoe [SEP] runner\ntent,tent\n", "utf-8")
    queries = open_queries(path, text_column="text")

    def build(options: IndexOptions) -> Report:
        return index_rows(queries, query_rows(student), store, options, lambda *_: None)

    header = store.header(build(options).set_id)
    stored = unpack(store.get(header, [query_id("red shoe")]), header.width, "float32")
    with_context = student.encode_query("red shoe [SEP] runner")
    np.testing.assert_array_equal(stored.values, with_context)
    assert not np.array_equal(with_context, student.encode_query("red shoe"))

    # A row is copied where its text has stayed, whatever happened to other queries' context.
    path.write_text("query,text\nred shoe,red shoe [SEP] boot\ntent,tent\n", "utf-8")
    report = build(replace(options, only_changed=True))
    assert (report.copied, report.encoded) == (1, 1)


def test_lines_of_text_are_no_catalogue(tmp_path: Path) -> None:
    path = _write(tmp_path, "q.txt", QUERIES)
    with pytest.raises(CatalogueError, match="txt is for queries"):
        open_catalogue(path)


@pytest.fixture(scope="module", params=["float32", "int8"])
def student(request: pytest.FixtureRequest) -> OnnxStudent:
    """A student of the shop whose query graph runs in either precision."""
    return OnnxStudent.load(bundle_folder(DEFAULT_ROOT, "shop-deepdot"), precision=request.param)


def _index(path: Path, encoder: RowEncoder, store: VectorStore, options: IndexOptions) -> Report:
    return index_rows(open_queries(path), encoder, store, options, lambda *_: None)


def test_a_set_of_query_rows(
    store: VectorStore, student: OnnxStudent, tmp_path: Path, options: IndexOptions
) -> None:
    many = [f"query {i % 23}" for i in range(60)]
    path = _write(tmp_path, "q.txt", [*QUERIES, "", *many, "red shoe"])
    report = _index(path, query_rows(student), store, options)
    assert (report.holds, report.inserted, report.rejected, report.duplicates) == (
        *("queries", len(QUERIES) + 23, 1, 38),
    )
    rejects = options.reject_file.read_text("utf-8").splitlines()
    assert [json.loads(line)["reason"] for line in rejects] == ["empty query"]

    header = store.header(report.set_id)
    fingerprint = query_fingerprint(student.manifest, student.run["query"])
    assert store.live(fingerprint) == report.set_id
    assert (header.fingerprint, header.width) == (fingerprint, student.manifest.d_q)
    assert (header.dtype, header.holds) == ("float32", "queries")
    assert header.segments == student.manifest.query_row.segments
    wanted = [*QUERIES, *many[:23]]
    rows = unpack(store.get(header, [query_id(q) for q in wanted]), header.width, "float32")
    assert (rows.status == FOUND).all()
    for query, row in zip(wanted, rows.values, strict=True):
        np.testing.assert_array_equal(row, student.encode_query(query)[0])

    assert [(i.header.holds, i.live) for i in sets.list_sets(store)] == [("queries", True)]
    assert sets.verify(store, report.set_id, lambda *_: None).whole
    copied = _index(path, query_rows(student), store, replace(options, only_changed=True))
    assert (copied.copied, copied.encoded) == (report.inserted, 0)
    assert sets.rollback(store, fingerprint).set_id == report.set_id
    sets.activate(store, copied.set_id)
    assert [gone.set_id for gone in sets.gc(store, keep=1)] == [report.set_id]


def test_a_stopped_build_goes_on(
    memory_store: VectorStore, student: OnnxStudent, tmp_path: Path, options: IndexOptions
) -> None:
    path = _write(tmp_path, "q.txt", [f"query {i}" for i in range(30)])
    asked: list[str] = []

    def encode(texts):  # type: ignore[no-untyped-def]
        asked.extend(texts)
        if len(asked) > 20:
            raise BuildConflict("stopped in the third chunk")
        return query_rows(student).encode(texts)

    stopping = replace(query_rows(student), encode=encode)
    with pytest.raises(BuildConflict, match="third chunk"):
        _index(path, stopping, memory_store, options)
    report = _index(path, query_rows(student), memory_store, options)
    assert (report.how, report.why, report.inserted) == ("resumed", "after row 20", 30)


def test_plan_counts_float32_rows(
    store: VectorStore, store_url: str, student: OnnxStudent, tmp_path: Path
) -> None:
    queries = open_queries(_write(tmp_path, "q.txt", QUERIES))
    planned = plan(
        queries,
        query_rows(student),
        store,
        store_url,
        timeout_ms=10_000,
        on_progress=lambda *_: None,
    )
    assert planned.record_bytes == 4 * student.manifest.d_q + 12
    assert (planned.holds, planned.count.entries) == ("queries", 5)
    assert planned.count.mean_id_bytes == 32


def test_a_file_is_indexed_as_what_it_holds(
    memory_store: VectorStore, student: OnnxStudent, tmp_path: Path, options: IndexOptions
) -> None:
    path = tmp_path / "both.csv"
    path.write_text("product_id,title,query\np1,t,q\n", "utf-8")
    with pytest.raises(BuildRefused, match="expected a file of products, got one of queries"):
        index(open_queries(path), HashEncoder(), memory_store, options, lambda *_: None)
    catalogue = open_catalogue(path)
    with pytest.raises(BuildRefused, match="expected a file of queries, got one of products"):
        index_rows(catalogue, query_rows(student), memory_store, options, lambda *_: None)
    assert memory_store.headers() == []
