"""What the tests of the pages stand on: blocks, one shell, and a comparison that can fail."""

from pathlib import Path

import pytest

from tests.docs.blocks import Block, blocks, differs, run_in_order


def test_fenced_and_indented_blocks_in_order(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n    one\n    two\n\n- b\n\n```sh\nthree\n\n    four\n```\n\n    five\n")
    assert blocks(page) == [
        Block("", "one\ntwo\n", 3),
        Block("sh", "three\n\n    four\n", 9),
        Block("", "five\n", 14),
    ]


def test_one_shell_runs_all(tmp_path: Path) -> None:
    printed = run_in_order(["word=hello", "echo $word; echo oops >&2"], tmp_path, {})
    assert printed == ["", "hello\noops\n"]


def test_a_command_that_fails_ends_it(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"ended with 3:\nbefore\n"):
        run_in_order(["echo before", "(exit 3)", "echo after"], tmp_path, {})


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ('{"scores":[0.15,0.87],\n"n":2}', '{"scores":[0.1512,0.8699],"n":2}', True),
        ('{"scores":[0.15]}', '{"scores":[0.25]}', False),
        ("3,055 products", "3,056 products", False),
        ("a\n...\nz in 1.5 s", "a\nb\nc\nz in 1.51 s", True),
        ("a\n...\nz", "a\nb", False),
        ("p2800", "p2801", False),
        ("all workers", "all workers serve it", False),
    ],
)
def test_what_is_shown_is_what_was_printed(shown: str, printed: str, *, same: bool) -> None:
    assert (differs(shown, printed) == "") is same
