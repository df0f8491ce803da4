"""The reject file: what it holds, where it is cut, what it never overwrites."""

import json
from pathlib import Path

import pytest

from indexing.errors import BuildRefused
from indexing.raw import BadLine
from indexing.rejects import MAX_TEXT_CHARS, RejectFile, check_reject_path, first_rejects

BAD = [
    BadLine(3, "empty title", "p3,"),
    BadLine(9, "bytes that are not of the file's encoding", "p9,caf\udce9 连衣裙"),
    BadLine(12, "line longer than 5 characters", "x" * 5_000),
]


def test_written_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    rejects = RejectFile(path, 0)
    assert rejects.write([]) == 0
    assert rejects.write(BAD) == path.stat().st_size
    rejects.close()
    assert [json.loads(line) for line in path.read_text("utf-8").splitlines()] == [
        {"line": 3, "reason": "empty title", "text": "p3,"},
        {"line": 9, "reason": BAD[1].reason, "text": "p9,caf\\xe9 连衣裙"},
        {"line": 12, "reason": BAD[2].reason, "text": "x" * MAX_TEXT_CHARS},
    ]
    assert [bad.line_number for bad in first_rejects(path, 2)] == [3, 9]
    check_reject_path(path)


def test_tail_behind_the_committed_length_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    first = RejectFile(path, 0)
    committed = first.write(BAD[:1])
    first.write(BAD[1:])
    first.close()
    second = RejectFile(path, committed)
    second.write(BAD[2:])
    second.close()
    assert [bad.line_number for bad in first_rejects(path, 9)] == [3, 12]


def test_shorter_than_committed(tmp_path: Path) -> None:
    path = tmp_path / "rejects.jsonl"
    path.write_bytes(b"{}\n")
    with pytest.raises(BuildRefused, match="at least 4 bytes, found 3: put it back"):
        RejectFile(path, 4)
    with pytest.raises(BuildRefused, match="found 0"):
        RejectFile(tmp_path / "gone.jsonl", 4)


@pytest.mark.parametrize(
    "content", [b"product_id,title\n1,t\n", b'{"product_id": 1, "title": 2}\n', b"\xff\n", b"[]"]
)
def test_another_file_is_not_overwritten(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "catalogue.csv"
    path.write_bytes(content)
    with pytest.raises(BuildRefused, match="no reject file of an earlier build"):
        check_reject_path(path)
    assert path.read_bytes() == content


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(BuildRefused, match="exists and is no reject file"):
        check_reject_path(tmp_path)
    with pytest.raises(BuildRefused, match="expected a folder"):
        check_reject_path(tmp_path / "none" / "rejects.jsonl")
    with pytest.raises(BuildRefused, match="can't write the reject file: Is a directory"):
        RejectFile(tmp_path, 0)
