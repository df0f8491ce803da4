"""Bytes that somebody might send: good ones, damaged in the ways that parsers stumble over."""

import json
import random
from collections.abc import Callable, Sequence

_TOKENS = (
    *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-0.0", b"9" * 400, b"18446744073709551616"),
    *(b"null", b"true", b"[]", b"{}", b'""', b"[" * 5_000, b'{"a":' * 2_000, b"]" * 50),
    *(b'"\\ud800"', b'"\\u0000"', b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b'"product_ids":', b'"query":', b'"sort_values":[', b'"model":"shop-bert2dnn",', b'\\"'),
    *(b"\r\n", b"\r\n\r\n", b"\n", b"\t", b" " * 300, b"%00", b"../../", b"'", b"A" * 70_000),
)


def mutated(good: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`good` after one to four changes.

    Args:
        good: what to damage.
        others: more of its kind, for splices.
        chance: decides everything: the same state gives the same bytes.
    """
    changed = bytearray(good)
    for _ in range(chance.choice((1, 1, 1, 2, 2, 3, 4))):
        chance.choice(_CHANGES)(changed, others, chance)
    return bytes(changed)


_VALUES: tuple[object, ...] = (
    *(None, True, 0, -1, 1, 2**63, 2**70, 0.5, -0.0, 1e308, 5e-324, "", "price", "\x00", "é" * 999),
    *([], [[]], {}, {"a": 1}, ["p0001"] * 50, ["p0001", None], ["p0001", 7], [""], ["x" * 600]),
    *([1.0] * 8, [None] * 8, [True] * 8, "asc", "drop", "shop-bert2dnn", 9_999_999_999),
)


def reshaped(good: bytes, chance: random.Random) -> bytes:
    """JSON still: one to three fields of an object hold something else; a few go, or come.

    Mostly something of the same type, so that many are accepted and reach what lies behind.
    """
    document: dict[str, object] = json.loads(good)
    for _ in range(chance.choice((1, 1, 2, 3))):
        name = chance.choice(sorted(document) or ["query"])
        if chance.random() < 0.8:
            document[name] = _alike(document.get(name), chance)
        else:
            value = document.pop(name, None)
            other = chance.choice((name, "sort", "order", "raw", "deadline_ms", "x"))
            document[other] = chance.choice((value, *_VALUES))
    return json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")


def _alike(value: object, chance: random.Random) -> object:
    """Another value of the same JSON type."""
    if isinstance(value, bool) or value is None:
        return chance.choice((True, False, None))
    if isinstance(value, str):
        letters = [
            chr(chance.choice((32, 48, 97, 233, 0x4E2D, 0x1F600, 0x7F, 1))) for _ in range(9)
        ]
        return chance.choice((value * 3, value.upper(), "".join(letters), "", value[:-1]))
    if isinstance(value, int | float):
        return chance.choice((0, 1, 2, 7, 60_000, 0.5, 1e-9, -1, 10**12))
    if isinstance(value, list):
        some = chance.choices(value, k=chance.randrange(3 * len(value))) if value else []
        return chance.choice((some, value[::-1], value * 2, value))
    return value


Change = Callable[[bytearray, Sequence[bytes], random.Random], None]


def _flip(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    if changed:
        changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)


def _overwrite(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    if changed:
        changed[chance.randrange(len(changed))] = chance.choice(b'\x00\xff"\\{}[],:0-. \r\n')


def _delete(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start, end = _stretch(changed, chance)
    del changed[start:end]


def _repeat(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    start, end = _stretch(changed, chance)
    changed[start:start] = changed[start:end] * chance.choice((1, 2, 30))


def _truncate(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    del changed[chance.randrange(len(changed) + 1) :]


def _insert(changed: bytearray, _: Sequence[bytes], chance: random.Random) -> None:
    place = chance.randrange(len(changed) + 1)
    noise = chance.randbytes(chance.choice((1, 4, 60)))
    changed[place:place] = chance.choice((*_TOKENS, noise))


def _replace(changed: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    start, end = _stretch(changed, chance)
    changed[start:end] = chance.choice(_TOKENS)


def _splice(changed: bytearray, others: Sequence[bytes], chance: random.Random) -> None:
    other = chance.choice(others)
    changed[chance.randrange(len(changed) + 1) :] = other[chance.randrange(len(other) + 1) :]


def _stretch(changed: bytearray, chance: random.Random) -> tuple[int, int]:
    start = chance.randrange(len(changed) + 1)
    return start, min(len(changed), start + chance.choice((1, 2, 5, 20, 200)))


_CHANGES: tuple[Change, ...] = (
    *(_flip, _overwrite, _delete, _repeat, _truncate, _insert, _replace, _splice),
)
