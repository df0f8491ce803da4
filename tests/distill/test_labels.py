"""Soft targets against figures by hand, and labels joined to their pairs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distill.errors import LabelsRefused
from distill.labelling import label, score_here
from distill.labels import PairsFile, read_labels, read_soft_pairs
from distill.stack import stacked_probability
from distill.transfer_file import TransferPair, write_pairs
from evaluation.errors import InputFileError
from tests.distill.overlap import OverlapScorer

# BERT2DNN's own example (README of its code): probability .024137, at T = 2 .135898; the logits of
# its two classes are -1.288 and 2.411.
EXAMPLE = np.array([np.log(0.024137 / (1 - 0.024137))], dtype=np.float32)


@pytest.mark.parametrize(("temperature", "probability"), [(1.0, 0.024137), (2.0, 0.135898)])
def test_the_papers_example(temperature: float, probability: float) -> None:
    assert stacked_probability([EXAMPLE], temperature)[0] == pytest.approx(probability, abs=2e-6)
    assert EXAMPLE[0] == pytest.approx(-1.288 - 2.411, abs=1e-3)


def test_teachers_are_averaged_as_probabilities_not_as_logits() -> None:
    first = np.array([0.0, 4.0], dtype=np.float32)
    second = np.array([np.log(3), -4.0], dtype=np.float32)  # 3 to 1: 0.75
    found = stacked_probability([first, second], 1.0)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [(0.5 + 0.75) / 2, 0.5], rtol=1e-6)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=20), st.floats(0.001, 1000.0))
def test_targets_are_softmaxes_of_two_logits_over_t(
    logits: list[float], temperature: float
) -> None:
    found = stacked_probability([np.array(logits, dtype=np.float32)], temperature)
    two = np.array([[0.0, logit] for logit in logits]) / temperature
    powers = np.exp(two - two.max(axis=1, keepdims=True))
    np.testing.assert_allclose(found, powers[:, 1] / powers.sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(LabelsRefused, match="expected a temperature above 0"):
        stacked_probability([EXAMPLE], temperature)


def test_no_teacher_and_teachers_of_different_pairs_are_refused() -> None:
    with pytest.raises(LabelsRefused, match=r"got \[\]"):
        stacked_probability([], 1.0)
    with pytest.raises(LabelsRefused, match=r"got \[\[1\], \[2\]\]"):
        stacked_probability([EXAMPLE, np.zeros(2, np.float32)], 1.0)


@pytest.fixture
def pairs(tmp_path: Path) -> PairsFile:
    """Five thousand pairs, two shards; somebody ordered each tenth product."""
    path = tmp_path / "transfer.csv.gz"
    rows = [
        TransferPair(f"red lamp {n % 50}", f"lamp {n % 7} {n % 50}", "", "ordered", n % 10 == 0)
        for n in range(5000)
    ]
    write_pairs(path, rows, behaviour=True)
    return PairsFile(path)


def labelled(pairs: PairsFile, out: Path, slope: float = 6.0) -> Path:
    scorer = OverlapScorer(slope)
    label(pairs, out.name, scorer.sha256, score_here(scorer), out, lambda *_: None)
    return out


def test_labels_come_back_in_the_order_of_the_pairs(pairs: PairsFile, tmp_path: Path) -> None:
    folder = labelled(pairs, tmp_path / "overlap")
    texts = list(pairs.texts())
    expected = OverlapScorer().logits([query for query, _ in texts], [title for _, title in texts])
    np.testing.assert_array_equal(read_labels(folder), expected)
    np.testing.assert_array_equal(read_labels(folder, 4100), expected[:4100])
    assert sorted(path.name for path in folder.iterdir()) == [
        *("000000.npy", "000001.npy", "labels.json"),
    ]
    assert json.loads((folder / "labels.json").read_text())["rows"] == 5000


def test_pairs_with_targets_of_two_teachers(pairs: PairsFile, tmp_path: Path) -> None:
    folders = [labelled(pairs, tmp_path / "a", 6.0), labelled(pairs, tmp_path / "b", 2.0)]
    found = read_soft_pairs(pairs, folders, temperature=2.0)
    texts = list(pairs.texts())
    assert list(zip(found.queries, found.titles, strict=True)) == texts
    expected = stacked_probability([read_labels(folder) for folder in folders], 2.0)
    np.testing.assert_array_equal(found.targets, expected)
    other = read_soft_pairs(pairs, folders, temperature=3.0)
    assert found.sha256 != other.sha256
    assert found.sha256 == read_soft_pairs(pairs, folders, temperature=2.0).sha256


def test_a_teacher_counts_once(pairs: PairsFile, tmp_path: Path) -> None:
    folder = labelled(pairs, tmp_path / "a")
    again = shutil.copytree(folder, tmp_path / "copy")
    with pytest.raises(LabelsRefused, match=r"copy: expected labels of another teacher than .*a,"):
        read_soft_pairs(pairs, [folder, again])


def test_wanted_pairs_have_the_target_1_where_asked(pairs: PairsFile, tmp_path: Path) -> None:
    folder = labelled(pairs, tmp_path / "a")
    soft = read_soft_pairs(pairs, [folder]).targets
    hard = read_soft_pairs(pairs, [folder], behaviour=True).targets
    wanted = np.arange(5000) % 10 == 0
    assert (hard[wanted] == 1.0).all()
    assert (soft[wanted] < 0.99).any()
    np.testing.assert_array_equal(hard[~wanted], soft[~wanted])


def test_the_start_of_a_set_needs_only_its_labels(pairs: PairsFile, tmp_path: Path) -> None:
    folder = labelled(pairs, tmp_path / "a")
    whole = read_soft_pairs(pairs, [folder])
    (folder / "000001.npy").unlink()
    start = read_soft_pairs(pairs, [folder], most=3000)
    assert start.queries == whole.queries[:3000]
    np.testing.assert_array_equal(start.targets, whole.targets[:3000])
    with pytest.raises(LabelsRefused, match=r"000001.npy: missing: the labelling was stopped"):
        read_soft_pairs(pairs, [folder])


def test_labels_of_other_pairs_are_refused(pairs: PairsFile, tmp_path: Path) -> None:
    folder = labelled(pairs, tmp_path / "a")
    other = tmp_path / "other.csv"
    write_pairs(other, [TransferPair("q", "t", "", "bm25")], behaviour=False)
    with pytest.raises(LabelsRefused, match=r"expected labels of other.csv .* label this file"):
        read_soft_pairs(PairsFile(other), [folder])
    with pytest.raises(LabelsRefused, match="label this file"):
        read_soft_pairs(PairsFile(pairs.path, query="title"), [folder])
    with pytest.raises(LabelsRefused, match=r"none\.csv: can't be read"):
        read_soft_pairs(PairsFile(tmp_path / "none.csv"), [folder])


def test_behaviour_asked_of_pairs_that_have_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    write_pairs(path, [TransferPair("q", "t", "", "bm25")], behaviour=False)
    folder = labelled(PairsFile(path), tmp_path / "a")
    with pytest.raises(LabelsRefused, match="no column 'behaviour'"):
        read_soft_pairs(PairsFile(path), [folder], behaviour=True)
    path = tmp_path / "odd.csv"
    path.write_text("query,title,behaviour\nq,t,yes\n")
    folder = labelled(PairsFile(path), tmp_path / "b")
    with pytest.raises(LabelsRefused, match=r"line 2: expected 1 or nothing .* got 'yes'"):
        read_soft_pairs(PairsFile(path), [folder], behaviour=True)


def test_pairs_of_any_table_can_be_labelled(tmp_path: Path) -> None:
    path = tmp_path / "judged.tsv"
    path.write_bytes("search\tname\tgrade\ncafé lamp\tlamp\t3\n".encode("latin-1"))
    file = PairsFile(path, "search", "name", "latin-1")
    folder = labelled(file, tmp_path / "a")
    assert read_soft_pairs(file, [folder]).queries == ["café lamp"]
    with pytest.raises(InputFileError, match="no column 'query'"):
        labelled(PairsFile(path, encoding="latin-1"), tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_folder_that_holds_no_labels_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelsRefused, match="give a folder that `winnow label` wrote"):
        read_labels(tmp_path)
    (tmp_path / "labels.json").write_text('{"format_version": 2}')
    with pytest.raises(LabelsRefused, match="not labels of this version"):
        read_labels(tmp_path)
