"""When a stage is taken again and when it is not: with stages that copy a file in two steps."""

import fcntl
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from distill.errors import RecipeRefused
from distill.stages.stage import Stage, Taken, Work, path_sha256
from distill.transfer_options import OnProgress


class Stopped(Exception):
    """What stops a stage half way, as a kill would."""


class Copies:
    """Stages in one work folder, what they did, and where the next one is to stop."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.did: list[str] = []
        self.stop_at = ""

    def stage(self, name: str, source: Path, mark: str = "") -> Stage:
        """Copies a file line by line: one step writes half of it, the other the rest."""
        out, half = self.folder / name, self.folder / f"{name}.partial"

        def run(_: OnProgress) -> None:
            if not half.exists():
                half.write_text(mark + source.read_text()[:3])
                self.did.append(f"{name} half")
                if self.stop_at == name:
                    raise Stopped
            out.write_text(half.read_text() + source.read_text()[3:])
            half.unlink()
            self.did.append(name)

        return Stage(
            kind="student",
            name=name,
            options={"mark": mark, "nested": {"deep": len(mark)}},
            inputs={"the source": source},
            outputs=lambda: [out],
            run=run,
            result=lambda: {"length": len(out.read_text())},
            leaves=[out, half],
        )

    def take(self, *stages: Stage) -> list[Taken]:
        """A command: every command reads the folder anew."""
        self.did.clear()
        work = Work(self.folder)
        with work.locked():
            return [work.take(stage, lambda *_: None) for stage in stages]


@pytest.fixture
def copies(tmp_path: Path) -> Copies:
    return Copies(tmp_path / "work")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("abcdef")
    return path


def test_a_stage_is_taken_once(copies: Copies, source: Path) -> None:
    (first,) = copies.take(copies.stage("a", source))
    assert (first.why, first.result) == ("new", {"length": 6})
    (again,) = copies.take(copies.stage("a", source))
    assert (again.why, again.result, copies.did) == (None, {"length": 6}, [])


def test_what_has_changed_is_said(copies: Copies, source: Path) -> None:
    out = copies.folder / "a"
    changes: list[tuple[Callable[[], object], str, str]] = [
        (lambda: source.write_text("abcxyz"), "", "the source changed"),
        (lambda: out.write_text("spoilt"), "", "a is not what it left"),
        (out.unlink, "", "a is gone"),
        (lambda: None, "m", "mark was '', is 'm'"),
    ]
    copies.take(copies.stage("a", source))
    for change, mark, why in changes:
        change()
        (taken,) = copies.take(copies.stage("a", source, mark))
        assert taken.why == why
        assert copies.did == ["a half", "a"]
        assert out.read_text() == mark + source.read_text()


def test_a_change_reaches_the_stages_after_it_as_far_as_it_matters(
    copies: Copies, source: Path
) -> None:
    def chain(mark: str) -> list[Stage]:
        first = copies.stage("a", source, mark)
        return [first, copies.stage("b", copies.folder / "a"), copies.stage("c", source)]

    copies.take(*chain(""))
    source.touch()  # a new time is no change
    assert [each.why for each in copies.take(*chain(""))] == [None, None, None]
    whys = [each.why for each in copies.take(*chain("m"))]
    assert whys == ["mark was '', is 'm'", "the source changed", None]
    (copies.folder / "a").unlink()  # and comes back with the same bytes
    assert [each.why for each in copies.take(*chain("m"))] == ["a is gone", None, None]


def _count(copies: Copies, source: Path, most: int) -> Stage:
    """Copies the first `most` letters, behind those that are there; says which are new."""
    out = copies.folder / "letters"

    def run(_: OnProgress) -> None:
        before = out.read_text() if out.exists() else ""
        copies.did.append(source.read_text()[len(before) : most])
        out.write_text(before + copies.did[-1])
        if copies.stop_at == "letters":
            raise Stopped

    return Stage(
        kind="labels",
        options={"most": most},
        inputs={"the source": source},
        outputs=lambda: [out],
        run=run,
        result=lambda: {"length": min(most, len(out.read_text()))},
        leaves=[out],
        grows_with=frozenset({"most"}),
    )


def test_a_stage_that_grows_adds_to_what_is_there(copies: Copies, source: Path) -> None:
    copies.take(_count(copies, source, 2))
    (more,) = copies.take(_count(copies, source, 4))
    assert (more.why, copies.did) == ("most was 2, is 4", ["cd"])
    (fewer,) = copies.take(_count(copies, source, 3))
    assert (fewer.result, copies.did) == ({"length": 3}, [""])  # and keeps what it has
    copies.stop_at = "letters"
    with pytest.raises(Stopped):
        copies.take(_count(copies, source, 5))
    copies.stop_at = ""
    (after_a_stop,) = copies.take(_count(copies, source, 6))
    assert (after_a_stop.why, copies.did) == ("it was stopped", ["f"])
    (copies.folder / "letters").write_text("spoilt")
    copies.take(_count(copies, source, 3))
    assert copies.did == ["abc"]
    copies.take(_count(copies, source, 3))
    source.write_text("uvwxyz")
    copies.take(_count(copies, source, 4))
    assert copies.did == ["uvwx"]


def test_a_stopped_stage_goes_on_where_it_was(copies: Copies, source: Path) -> None:
    copies.stop_at = "a"
    with pytest.raises(Stopped):
        copies.take(copies.stage("a", source))
    (taken,) = copies.take(copies.stage("a", source))
    assert (taken.why, copies.did) == ("it was stopped", ["a"])
    assert (copies.folder / "a").read_text() == "abcdef"


@pytest.mark.parametrize("mark", ["", "m"])
def test_what_another_stop_has_left_is_removed(copies: Copies, source: Path, mark: str) -> None:
    copies.stop_at = "a"
    with pytest.raises(Stopped):
        copies.take(copies.stage("a", source))
    copies.stop_at = ""
    if not mark:
        source.write_text("uvwxyz")
    (taken,) = copies.take(copies.stage("a", source, mark))
    assert (taken.why, copies.did) == ("new", ["a half", "a"])
    assert (copies.folder / "a").read_text() == mark + source.read_text()


def test_a_stop_between_the_output_and_the_stage_file(copies: Copies, source: Path) -> None:
    copies.stop_at = "a"
    with pytest.raises(Stopped):
        copies.take(copies.stage("a", source))
    copies.stop_at = ""
    copies.take(copies.stage("a", source))
    stage_file = copies.folder / "stages" / "student.a.json"
    begun = stage_file.with_suffix(".begun.json")
    stage_file.rename(begun)  # as if the process had ended one step earlier
    (taken,) = copies.take(copies.stage("a", source))
    assert taken.why == "it was stopped"
    assert not begun.exists()


def test_a_damaged_stage_file_costs_the_stage(copies: Copies, source: Path) -> None:
    copies.take(copies.stage("a", source))
    (copies.folder / "stages" / "student.a.json").write_text("{")
    (taken,) = copies.take(copies.stage("a", source))
    assert taken.why == "new"


def test_an_input_that_is_gone_costs_nothing(copies: Copies, source: Path) -> None:
    """A folder that was moved may come back: what was made of it must still be there then."""
    copies.take(copies.stage("a", source), copies.stage("b", copies.folder / "a"))
    away = source.rename(source.with_name("away"))
    with pytest.raises(RecipeRefused, match=r"student:a: the source: expected .*source, which is"):
        copies.take(copies.stage("a", source), copies.stage("b", copies.folder / "a"))
    assert (copies.folder / "a").exists()
    away.rename(source)
    taken = copies.take(copies.stage("a", source), copies.stage("b", copies.folder / "a"))
    assert [each.why for each in taken] == [None, None]


def test_a_work_folder_may_be_moved(copies: Copies, source: Path) -> None:
    copies.take(copies.stage("a", source), copies.stage("b", copies.folder / "a"))
    shutil.move(copies.folder, copies.folder.with_name("elsewhere"))
    moved = Copies(copies.folder.with_name("elsewhere"))
    taken = moved.take(moved.stage("a", source), moved.stage("b", moved.folder / "a"))
    assert [each.why for each in taken] == [None, None]


def test_one_command_at_a_time(copies: Copies, source: Path) -> None:
    copies.take(copies.stage("a", source))
    with (copies.folder / "stages" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(RecipeRefused, match="another recipe is being made there"):
            copies.take(copies.stage("a", source))
    copies.take(copies.stage("a", source))


def test_a_folder_is_known_by_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> str:
        for path, text in files.items():
            whole = tmp_path / name / path.replace("__", "/")
            whole.parent.mkdir(parents=True, exist_ok=True)
            whole.write_text(text)
        return path_sha256(tmp_path / name)

    same = {folder("one", a="1", sub__b="2"), folder("two", a="1", sub__b="2")}
    others = {
        folder("three", a="1", b="2"),
        folder("four", a="2", sub__b="1"),
        folder("five", a=""),
    }
    assert len(same) == 1
    assert len(same | others) == 4
