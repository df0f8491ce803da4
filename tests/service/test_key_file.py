"""The file of API keys: what is a line of it, and what `winnow keys` prints and writes."""

import re
import subprocess
from datetime import UTC, datetime
from math import inf
from pathlib import Path

import pytest

from service.key_file import (
    MOST_KEYS,
    KeyFileDamaged,
    add_key,
    digest_of,
    parse_expiry,
    parse_keys,
    read_keys,
)
from tests.service.conftest import WINNOW, environment

HASH = digest_of(b"a key").hex()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where keys are to be."""
    return tmp_path / "api-keys"


def winnow_keys(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """What `winnow keys` says."""
    return subprocess.run(
        [*WINNOW, "keys", *arguments],
        env=environment({}),
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_key_has_256_random_bits_and_only_its_hash_is_written(file: Path) -> None:
    keys = {add_key(file, f"user-{i}") for i in range(20)}
    assert len(keys) == 20
    assert all(re.fullmatch(r"winnow_[A-Za-z0-9_-]{43}", key) for key in keys)
    text = file.read_text()
    assert not any(key.removeprefix("winnow_") in text for key in keys)
    assert {key.digest for key in read_keys(file)} == {digest_of(key.encode()) for key in keys}
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_file_without_a_last_line_end_gets_it(file: Path) -> None:
    file.write_text(f"first {HASH} never")
    add_key(file, "second")
    assert [key.name for key in read_keys(file)] == ["first", "second"]


def test_a_date_is_the_last_day_in_utc(file: Path) -> None:
    expected = datetime(2028, 1, 1, tzinfo=UTC).timestamp()
    assert parse_expiry("2027-12-31") == expected
    assert parse_expiry("2028-01-01T01:00:00+01:00") == expected
    assert parse_expiry("never") == inf


@pytest.mark.parametrize("text", ["", "soon", "2027-13-01", "2027-12-31T12:00:00"])
def test_what_is_no_expiry_is_refused(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        parse_expiry(text)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "none"),
        (b"# only a comment\n", "none"),
        (b"ranker\n", "line 1: expected NAME SHA256 EXPIRY, got 1 fields"),
        (f"a {HASH} never\nb {HASH[:-1]} never".encode(), "line 2: expected a SHA-256"),
        (f"a {HASH.upper()} never".encode(), "line 1: expected a SHA-256"),
        (f"a/b {HASH} never".encode(), "line 1: expected a name"),
        (f"a {HASH} tomorrow".encode(), "line 1: expected never, a date"),
        (f"a {HASH} 9999-12-31".encode(), "line 1: expected never, a date"),
        (f"a {HASH} never\nb {HASH} never".encode(), "each key once"),
        (f"a {HASH} never\na {'0' * 64} never".encode(), "each name once"),
        (b"\xff\xfe", "ASCII"),
        (b"#" * 200_000, "at most 131072 bytes"),
        (b"\n".join(b"a%d %064x never" % (i, i) for i in range(MOST_KEYS + 1)), "at most 256"),
    ],
)
def test_a_damaged_file_is_refused_whole(content: bytes, reason: str) -> None:
    with pytest.raises(KeyFileDamaged, match=re.escape(reason)):
        parse_keys(content)


def test_the_reason_never_has_what_is_in_the_line() -> None:
    """Somebody may have pasted a key where its hash belongs."""
    for line in (b"winnow_pasted", b"a winnow_pasted never", f"a {HASH} winnow_pasted".encode()):
        with pytest.raises(KeyFileDamaged) as raised:
            parse_keys(line)
        assert "pasted" not in str(raised.value)


def test_the_command_prints_the_key_once(file: Path) -> None:
    done = winnow_keys("new", "ranker", "--expires", "2099-12-31", "--file", str(file))
    assert done.returncode == 0, done.stderr
    key = done.stdout.strip()
    assert key not in file.read_text() + done.stderr
    assert [each.digest for each in read_keys(file)] == [digest_of(key.encode())]
    listed = winnow_keys("list", "--file", str(file))
    assert "ranker" in listed.stderr
    assert "2100-01-01 00:00" in listed.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("new", "ranker"),  # no file
        ("new", "two words", "--file", "FILE"),
        ("new", "ranker", "--expires", "2001-01-01", "--file", "FILE"),
        ("new", "ranker", "--expires", "soon", "--file", "FILE"),
        ("new", "ranker", "--file", "/nowhere/keys"),
    ],
)
def test_the_command_refuses_what_is_no_good(file: Path, arguments: tuple[str, ...]) -> None:
    done = winnow_keys(*(str(file) if each == "FILE" else each for each in arguments))
    assert done.returncode in {1, 2}
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert not file.exists()


def test_the_command_refuses_a_name_twice_and_a_damaged_file(file: Path) -> None:
    add_key(file, "ranker")
    before = file.read_bytes()
    assert "each name once" in winnow_keys("new", "ranker", "--file", str(file)).stderr
    assert file.read_bytes() == before
    file.write_bytes(before + b"half a li")
    assert "line 3" in winnow_keys("new", "other", "--file", str(file)).stderr
    assert file.read_bytes() == before + b"half a li"
