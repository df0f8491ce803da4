"""A product row depends on its title alone, to the last bit."""

import csv
import random
from pathlib import Path

import numpy as np
import pytest

from model_store.registry import DEFAULT_ROOT, bundle_folder
from model_store.student import OnnxStudent
from model_store.title_runs import runs, widened

SHOP = Path(__file__).parents[2] / "examples" / "shop"


@pytest.mark.parametrize("model", ["shop-reprbert", "shop-bert2dnn", "shop-deepdot"])
def test_a_row_depends_on_its_title_alone(model: str) -> None:
    with (SHOP / "products.csv").open(encoding="utf-8", newline="") as file:
        titles = [row["title"] for row in csv.DictReader(file)]
    titles = [*random.Random(6).sample(titles, 300), "", " ", "😀", "one", "word " * 300]
    student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, model))
    together = student.encode_products(titles)
    assert np.isfinite(together).all()
    for company in (1, 2, 5, 33):
        order = random.Random(company).sample(range(len(titles)), len(titles))
        groups = [order[at : at + company] for at in range(0, len(order), company)]
        for group in groups:
            rows = student.encode_products([titles[place] for place in group])
            np.testing.assert_array_equal(rows.view(np.uint16), together[group].view(np.uint16))


def test_runs_hold_titles_of_one_width_and_never_one_alone() -> None:
    mask = np.zeros((4, 12), np.int64)
    for title, length in enumerate((3, 8, 0, 9)):
        mask[title, :length] = 1
    (short, run_of_short, eight), (long, run_of_long, sixteen) = runs(mask, alone=False)
    assert (short.tolist(), run_of_short.tolist(), eight) == ([0, 1, 2], [0, 1, 2], 8)
    assert (long.tolist(), run_of_long.tolist(), sixteen) == ([3], [3, 3], 16)
    assert widened(mask, 8).shape == (4, 8)
    assert widened(mask, 16)[3].sum() == 9


def test_an_int8_graph_runs_every_title_by_itself_at_its_own_width() -> None:
    mask = np.array([[1, 1, 0], [0, 0, 0], [1, 1, 1]])
    assert [(at.tolist(), width) for at, _, width in runs(mask, alone=True)] == [
        ([0], 2), ([1], 1), ([2], 3),
    ]  # fmt: skip


def test_no_titles_are_no_rows() -> None:
    student = OnnxStudent.load(bundle_folder(DEFAULT_ROOT, "shop-deepdot"))
    assert student.encode_products([]).shape == (0, student.manifest.d_p)
