"""Which versions of a student are served: the pointers of the registry, and rollout.json."""

import shutil
from pathlib import Path

import pytest

from model_store.bundle import revise
from model_store.errors import BundleDamaged, BundleNotFound
from model_store.registry import DEFAULT_ROOT, bundle_folder, find
from model_store.rollout import ROLLOUT_FILE, Share, make_active, read_rollout, set_beside

NAME = "shop-deepdot"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A registry with versions 1 and 2, the first one active."""
    shutil.copytree(DEFAULT_ROOT / NAME, tmp_path / NAME)
    revise(bundle_folder(tmp_path, NAME), tmp_path, {"version": "2"})
    return tmp_path


def test_what_is_set_is_read(root: Path) -> None:
    assert read_rollout(root, NAME).model_dump() == {
        "version": "1", "canary": None, "shadow": None,
    }  # fmt: skip
    set_beside(root, NAME, "canary", Share(version="2", share=0.1))
    set_beside(root, NAME, "shadow", Share(version="2"))
    rollout = read_rollout(root, NAME)
    assert rollout.canary == Share(version="2", share=0.1)
    assert rollout.shadow == Share(version="2", share=1.0)
    set_beside(root, NAME, "canary", None)
    assert read_rollout(root, NAME).canary is None
    assert read_rollout(root, NAME).shadow is not None


def test_a_version_that_becomes_active_is_no_longer_beside(root: Path) -> None:
    set_beside(root, NAME, "canary", Share(version="2", share=0.1))
    make_active(root, NAME, "2")
    assert read_rollout(root, NAME).canary is None
    make_active(root, NAME, "1")  # and does not come back when it is rolled back
    assert read_rollout(root, NAME).canary is None
    assert find(root, NAME).previous == "2"


def test_a_version_that_is_not_there_is_refused(root: Path) -> None:
    with pytest.raises(BundleNotFound, match="no version '9'"):
        set_beside(root, NAME, "shadow", Share(version="9"))
    with pytest.raises(BundleNotFound, match="no version '9'"):
        make_active(root, NAME, "9")
    assert read_rollout(root, NAME).version == "1"


@pytest.mark.parametrize("text", ["{", '{"canary": 3}', '{"other": null}'])
def test_a_file_that_is_no_rollout_is_refused(root: Path, text: str) -> None:
    (root / NAME / ROLLOUT_FILE).write_text(text)
    with pytest.raises(BundleDamaged, match=ROLLOUT_FILE):
        read_rollout(root, NAME)
