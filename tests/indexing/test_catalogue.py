"""Catalogue files of every format, whole and broken."""

import codecs
import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from indexing.catalogue import Catalogue, Entry, Format, Row, open_catalogue
from indexing.errors import CatalogueDamaged, CatalogueError
from indexing.raw import BadLine
from indexing.text_files import MAX_LINE_CHARS

PRODUCTS = [("p1", "Red shoe"), ("2", 'TV 55" 4K'), ("p3", "连衣裙 größe"), ("p4", "emoji 👟")]


def _csv(products: list[tuple[str, str]]) -> bytes:
    lines = [f'{i},"{title.replace(chr(34), chr(34) * 2)}",9.99\r\n' for i, title in products]
    return ("product_id,title,price\r\n" + "".join(lines)).encode()


def _tsv(products: list[tuple[str, str]]) -> bytes:
    return ("title\tproduct_id\n" + "".join(f"{t}\t{i}\n" for i, t in products)).encode()


def _jsonl(products: list[tuple[str, str]]) -> bytes:
    return "".join(json.dumps({"product_id": i, "title": t}) + "\n" for i, t in products).encode()


def _rows(path: Path, encoding: str = "utf-8") -> list[Row]:
    return list(open_catalogue(path, encoding=encoding).rows())


def _write(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


def _products(rows: list[Row]) -> list[tuple[str, str]]:
    return [(row.entry_id, row.text) for row in rows if isinstance(row, Entry)]


def _bad(rows: list[Row]) -> list[tuple[int, str]]:
    return [(row.line_number, row.reason) for row in rows if isinstance(row, BadLine)]


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("suffix", "write", "first_line"),
    [("csv", _csv, 2), ("TSV", _tsv, 2), ("jsonl", _jsonl, 1), ("ndjson", _jsonl, 1)],
)
def test_text_formats(
    tmp_path: Path,
    suffix: str,
    write: Callable[[list[tuple[str, str]]], bytes],
    first_line: int,
    zipped: bool,
) -> None:
    content = write(PRODUCTS)
    name = f"shop.{suffix}.gz" if zipped else f"shop.{suffix}"
    rows = _rows(_write(tmp_path, name, gzip.compress(content) if zipped else content))
    assert _products(rows) == PRODUCTS
    assert [row.line_number for row in rows] == list(range(first_line, first_line + 4))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_parquet(tmp_path: Path, kind: "pa.DataType") -> None:
    path = tmp_path / "shop.parquet"
    ids = pa.array([i for i, _ in PRODUCTS], kind)
    titles = pa.array([t for _, t in PRODUCTS], kind).dictionary_encode()
    table = pa.table({"price": [1.0] * 4, "title": titles, "product_id": ids})
    pq.write_table(table, path, row_group_size=2)
    assert _products(_rows(path)) == PRODUCTS


def test_parquet_bad_rows(tmp_path: Path) -> None:
    path = tmp_path / "shop.parquet"
    # Parquet does not check text: the view claims to be UTF-8 and is not.
    titles = pa.Array.from_buffers(
        pa.string(),
        4,
        [None, *pa.array([b"ok", b"\xff\xfe", b"", b"last"], pa.binary()).buffers()[1:]],
    )
    pq.write_table(pa.table({"product_id": [7, 8, 9, None], "title": titles}), path)
    rows = _rows(path)
    assert _products(rows) == [("7", "ok")]
    assert _bad(rows) == [
        (2, "bytes that are not UTF-8"),
        (3, "empty title"),
        (4, "missing id"),
    ]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sku": ["1"], "title": ["t"]}, "'product_id', found 0; the columns are 'sku', 'title'"),
        ({"product_id": [1.5], "title": ["t"]}, "strings or integers in 'product_id', found dou"),
        ({"product_id": [1], "title": [2]}, "strings in 'title', found int64"),
    ],
)
def test_parquet_columns(tmp_path: Path, columns: dict[str, list[object]], message: str) -> None:
    path = tmp_path / "shop.parquet"
    pq.write_table(pa.table(columns), path)
    with pytest.raises(CatalogueError, match=message):
        open_catalogue(path)


@pytest.mark.parametrize("keep", [0, 3, 100, 400])
def test_damaged_parquet(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "shop.parquet"
    pq.write_table(pa.table({"product_id": ["a"] * 500, "title": ["t"] * 500}), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CatalogueError, match=r"shop\.parquet"):
        open_catalogue(path)


def test_parquet_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _write(tmp_path, "shop.parquet", b"PAR1")
    monkeypatch.setitem(sys.modules, "indexing.parquet", None)
    with pytest.raises(CatalogueError, match=r"pip install 'winnow-relevance\[parquet\]'"):
        open_catalogue(path)


def test_csv_bad_lines(tmp_path: Path) -> None:
    content = (
        b"product_id,title\n"
        b"p1,good\n"
        b"p2\n"
        b"p3,too,many\n"
        b",no id\n"
        b"p5,\n"
        b"   ,blank id\n"
        b"p7,   \n"
        b"\n"
        + b"i" * 257
        + b",long id\n"
        + "ü".encode() * 128
        + b",id of 256 bytes\n"
        + b"p11,bad \xff byte\n"
        + b"p12,nul\0byte\n"
        + b"p13,last"
    )
    rows = _rows(_write(tmp_path, "shop.csv", content))
    assert _products(rows) == [
        ("p1", "good"),
        ("ü" * 128, "id of 256 bytes"),
        ("p13", "last"),
    ]
    assert _bad(rows) == [
        (3, "expected 2 fields, got 1"),
        (4, "expected 2 fields, got 3"),
        (5, "empty id"),
        (6, "empty title"),
        (7, "empty id"),
        (8, "empty title"),
        (10, "id longer than 256 bytes of UTF-8"),
        (12, "bytes that are not of the file's encoding"),
        (13, "NUL character in the title"),
    ]


def test_csv_quoting(tmp_path: Path) -> None:
    content = (
        b"product_id,title\n"
        b'p1,"two\nlines, one ""title"""\n'
        b'p2,24" screen\n'
        b'p3,"24" screen"\n'
        b"p4,after\n"
    )
    rows = _rows(_write(tmp_path, "shop.csv", content))
    assert rows == [
        Entry(2, "p1", 'two\nlines, one "title"'),
        Entry(4, "p2", '24" screen'),
        BadLine(5, "',' expected after '\"'", 'p3,"24" screen"'),
        Entry(6, "p4", "after"),
    ]


@pytest.mark.parametrize("lines_after", [3, 20_000])
def test_unclosed_quote_costs_one_line(tmp_path: Path, lines_after: int) -> None:
    after = "".join(f"q{i},title {i}\n" for i in range(lines_after))
    content = f'product_id,title\np1,"never closed\n{after}'.encode()
    rows = _rows(_write(tmp_path, "shop.csv", content))
    assert isinstance(rows[0], BadLine)
    assert rows[0].text == 'p1,"never closed'
    assert rows[1:] == [Entry(3 + i, f"q{i}", f"title {i}") for i in range(lines_after)]


def test_field_over_the_limit_of_the_csv_module(tmp_path: Path) -> None:
    content = b"product_id,title\np1," + b"x" * 200_000 + b"\np2,ok\n"
    rows = _rows(_write(tmp_path, "shop.csv", content))
    assert _products(rows) == [("p2", "ok")]
    assert _bad(rows) == [(2, "field larger than field limit (131072)")]


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_line_without_end(tmp_path: Path, suffix: str) -> None:
    good = {"csv": b"p2,ok\n", "tsv": b"p2\tok\n", "jsonl": b'{"product_id":"p2","title":"ok"}\n'}
    header = {"csv": b"product_id,title\n", "tsv": b"product_id\ttitle\n", "jsonl": b"\n"}
    content = header[suffix] + b"x" * (3 * MAX_LINE_CHARS) + b"\n" + good[suffix]
    rows = _rows(_write(tmp_path, f"shop.{suffix}", content))
    assert _bad(rows) == [(2, f"line longer than {MAX_LINE_CHARS} characters")]
    assert rows[1] == Entry(3, "p2", "ok")


def test_tsv_takes_quotes_as_they_are(tmp_path: Path) -> None:
    content = b'product_id\ttitle\np1\t"Best" cable\np2\t"open\np3\tthree\textra\np4\tb\xff\n'
    rows = _rows(_write(tmp_path, "shop.tsv", content))
    assert _products(rows) == [("p1", '"Best" cable'), ("p2", '"open')]
    assert _bad(rows) == [
        (4, "expected 2 fields, got 3"),
        (5, "bytes that are not of the file's encoding"),
    ]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"product_id": "p", "title": "t"', "invalid JSON"),
        (b"[1, 2]", "expected a JSON object, got list"),
        (b"[" * 100_000, "invalid JSON"),
        (b'{"product_id": 1.5, "title": "t"}', "id of type float, expected a string or an integer"),
        (b'{"product_id": true, "title": "t"}', "id of type bool, expected a string or an integer"),
        (b'{"product_id": null, "title": "t"}', "missing id"),
        (b'{"product_id": ["p"], "title": "t"}', "id of type list"),
        (b'{"title": "t"}', "missing id"),
        (b'{"product_id": "p"}', "missing title"),
        (b'{"product_id": "p", "title": 5}', "title of type int, expected a string"),
        (b'{"product_id": "p", "title": "\\ud800"}', "lone surrogate in the title"),
        (b'{"product_id": "p\\u0000", "title": "t"}', "NUL character in the id"),
        (b'{"product_id": "p", "title": "\xe9"}', "bytes that are not of the file's encoding"),
        (b'{"product_id": ' + b"9" * 5_000 + b', "title": "t"}', "invalid JSON"),
    ],
)
def test_jsonl_bad_lines(tmp_path: Path, line: bytes, reason: str) -> None:
    good = b'{"product_id": 123456789012345678901, "title": "ok", "price": NaN}\n'
    rows = _rows(_write(tmp_path, "shop.jsonl", good + line + b"\n" + good))
    assert [row[0] for row in rows] == [1, 2, 3]
    assert _products(rows) == [("123456789012345678901", "ok")] * 2
    assert isinstance(rows[1], BadLine)
    assert rows[1].reason.startswith(reason)
    assert rows[1].text.encode("utf-8", "surrogateescape") == line


@pytest.mark.parametrize("lines", [3, 200])
def test_jsonl_without_a_column(tmp_path: Path, lines: int) -> None:
    path = _write(tmp_path, "shop.jsonl", b'{"sku": "1", "title": "t"}\n' * lines)
    catalogue = open_catalogue(path)
    with pytest.raises(CatalogueError, match="'product_id', found 0; the columns are 'sku', 'tit"):
        list(catalogue.rows())


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"", "expected a header line"),
        (b"sku{}title\n1{}t\n", "expected one column 'product_id', found 0; the columns are 'sku'"),
        (b"product_id{}product_id{}title\n", "expected one column 'product_id', found 2"),
    ],
)
def test_header(tmp_path: Path, suffix: str, header: bytes, message: str) -> None:
    content = header.replace(b"{}", b"," if suffix == "csv" else b"\t")
    with pytest.raises(CatalogueError, match=message):
        open_catalogue(_write(tmp_path, f"shop.{suffix}", content))


def test_columns_can_be_named(tmp_path: Path) -> None:
    path = _write(tmp_path, "shop.csv", b"sku,name\n1,t\n")
    catalogue = open_catalogue(path, id_column="sku", title_column="name")
    assert _products(list(catalogue.rows())) == [("1", "t")]


@pytest.mark.parametrize(
    ("encoding", "codec", "mark"),
    [
        ("utf-8", "utf-8", codecs.BOM_UTF8),
        ("utf-8-sig", "utf-8", codecs.BOM_UTF8),
        ("UTF8", "utf-8", b""),
        ("latin-1", "latin-1", b""),
        ("utf-16", "utf-16-le", codecs.BOM_UTF16_LE),
        ("cp1252", "cp1252", b""),
    ],
)
def test_encodings(tmp_path: Path, encoding: str, codec: str, mark: bytes) -> None:
    content = mark + "product_id,title\np1,Größe £5\n".encode(codec)
    assert _products(_rows(_write(tmp_path, "shop.csv", content), encoding)) == [("p1", "Größe £5")]


def test_gbk_with_a_broken_character_costs_its_line(tmp_path: Path) -> None:
    content = "product_id,title\np1,连衣裙\n".encode("gbk") + b"p2,\x81\np3,ok\n"
    rows = _rows(_write(tmp_path, "shop.csv", content), "gbk")
    assert _products(rows) == [("p1", "连衣裙"), ("p3", "ok")]
    assert len(_bad(rows)) == 1


def test_latin_1_file_read_as_utf_8_rejects_line_by_line(tmp_path: Path) -> None:
    content = "product_id,title\np1,Größe\np2,plain\n".encode("latin-1")
    rows = _rows(_write(tmp_path, "shop.csv", content))
    assert _products(rows) == [("p2", "plain")]
    assert len(_bad(rows)) == 1


@pytest.mark.parametrize("encoding", ["no-such-codec", "base64", "rot13"])
def test_unknown_encoding(tmp_path: Path, encoding: str) -> None:
    path = _write(tmp_path, "shop.csv", b"product_id,title\n")
    with pytest.raises(CatalogueError, match="not a text encoding"):
        open_catalogue(path, encoding=encoding)


def test_bytes_that_end_a_wide_encoding(tmp_path: Path) -> None:
    path = _write(
        tmp_path, "shop.csv", "product_id,title\np1,a\n".encode("utf-16") + b"\x00\xd8a\0"
    )
    with pytest.raises(CatalogueDamaged, match="not utf-16"):
        _rows(path, "utf-16")


def test_format_can_be_named(tmp_path: Path) -> None:
    path = _write(tmp_path, "export.dat", gzip.compress(_csv(PRODUCTS)))
    with pytest.raises(CatalogueError, match=r"'\.dat' names no format: expected one of \.csv"):
        open_catalogue(path)
    file_format: Format = "csv"
    assert len(list(open_catalogue(path, file_format=file_format).rows())) == 4


@pytest.mark.parametrize("name", ["missing.csv", "."])
def test_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(CatalogueError, match="expected a catalogue file"):
        open_catalogue(tmp_path / name)


@pytest.mark.parametrize("suffix", ["csv", "tsv", "jsonl"])
def test_truncated_gzip_keeps_the_rows_before(tmp_path: Path, suffix: str) -> None:
    write = {"csv": _csv, "tsv": _tsv, "jsonl": _jsonl}[suffix]
    products = [(f"p{i}", f"title {i * 7919 % 10007}") for i in range(20_000)]
    packed = gzip.compress(write(products))
    path = _write(tmp_path, f"shop.{suffix}.gz", packed[: len(packed) // 2])
    read, message = _until_damage(open_catalogue(path))
    assert 1_000 < len(read) < 20_000
    assert f"after {len(read)} rows" in message
    assert _products(read) == products[: len(read)]


def test_gzip_with_a_wrong_checksum(tmp_path: Path) -> None:
    packed = bytearray(gzip.compress(_csv(PRODUCTS)))
    packed[-6] ^= 0xFF
    with pytest.raises(CatalogueDamaged, match="after 4 rows"):
        _rows(_write(tmp_path, "shop.csv.gz", bytes(packed)))


def _until_damage(catalogue: Catalogue) -> tuple[list[Row], str]:
    read: list[Row] = []
    with pytest.raises(CatalogueDamaged) as caught:
        read.extend(catalogue.rows())
    return read, str(caught.value)
