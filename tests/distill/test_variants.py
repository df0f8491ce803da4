"""What two students of a recipe differ in, and which of them stand on one curve."""

from pathlib import Path

import numpy as np
import pytest

from distill.data_table import Data
from distill.options import TrainOptions
from distill.recipe import Recipe
from distill.recipe_tables import StudentTable, TeacherTable
from distill.stages.variants import curves, differences
from evaluation.resampling import Resampling, Sampled
from export.checkpoint import Facts


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 2.0}, "temperature 1.0 -> 2.0"),
        ({"encoder": "new:characters"}, "encoder package:minilm -> new:characters"),
        ({"options": TrainOptions(epochs=2)}, "epochs 5 -> 2"),
        (
            {"fine_tune": {"epochs": 4, "hard_weight": 1.0}},
            "fine_tune none -> epochs 4, hard_weight 1.0",
        ),
        ({"name": "other", "publish": False}, ""),
    ],
)
def test_what_is_said_to_differ(changed: dict[str, object], said: str) -> None:
    first = {"name": "first", "kind": "bert2dnn", "encoder": "package:minilm"}
    one, other = (StudentTable.model_validate(table) for table in (first, first | changed))
    assert differences(one, other) == said


def test_a_curve_stands_where_the_pairs_and_words_were_not_where_they_were_asked_for() -> None:
    """Of 9,000 pairs, a student that may have 30,000 has 9,000; one that may have all, too."""
    first: dict[str, object] = {"kind": "bert2dnn"}
    few_words = TrainOptions(maximum_vocabulary=50)
    longer, longest = TrainOptions(epochs=7), TrainOptions(epochs=9)
    tables: tuple[dict[str, object], ...] = (
        {**first, "name": "all"},
        {**first, "name": "few", "like": "all", "max_pairs": 1_000, "options": longer},
        {**first, "name": "as-few", "like": "all", "max_pairs": 1_000},
        {**first, "name": "fewest", "like": "all", "max_pairs": 500, "options": longest},
        {**first, "name": "many", "like": "all", "max_pairs": 30_000},
        {**first, "name": "words", "like": "all", "options": few_words},
        {**first, "name": "others-words", "like": "all", "encoder": "package:other"},
    )
    recipe = Recipe.model_validate(
        {
            "name": "r",
            "data": Data(judgments=Path("j.csv"), relevant_from=1.0),
            "teacher": (TeacherTable(name="t", encoder="x/y"),),
            "student": tuple(map(StudentTable.model_validate, tables)),
        }
    )
    facts: dict[str, Facts] = {
        "all": {"pairs": 9_000, "vocabulary": 400},
        "few": {"pairs": 1_000, "vocabulary": 90},
        "as-few": {"pairs": 1_000, "vocabulary": 90},
        "fewest": {"pairs": 500, "vocabulary": 60},
        "many": {"pairs": 9_000, "vocabulary": 400},
        # After a second stage the facts of the first one are told as those of its start.
        "words": {"start.pairs": 9_000, "pairs": 70, "start.vocabulary": 50, "vocabulary": 7},
        "others-words": {"pairs": 9_000, "vocabulary": 300},  # differs in its encoder alone
    }
    drawn_by = Resampling(["one query", "another"], resamples=100)
    values = dict.fromkeys((*facts, "t"), 0.7) | {"as-few": 0.6}
    auc = {name: Sampled(a, np.full(100, a), drawn_by) for name, a in values.items()}
    by_name = {plot.name: plot for plot in curves(recipe, facts, auc, "t")}
    assert by_name.keys() == {"by_max_pairs", "by_maximum_vocabulary"}
    [pairs] = by_name["by_max_pairs"].curves
    [words] = by_name["by_maximum_vocabulary"].curves
    assert pairs.name == "all"
    assert [point.x for point in pairs.points] == [500, 1_000, 9_000]
    assert pairs.points[1].y.value == 0.7  # few's, which has learned longer
    assert [point.x for point in words.points] == [50, 400]
