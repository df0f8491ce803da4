"""What two students of a recipe differ in, and which of them stand on one curve."""

import pytest

from distill.options import TrainOptions
from distill.recipe_tables import StudentTable
from distill.stages.variants import differences


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"temperature": 2.0}, "temperature 1.0 -> 2.0"),
        ({"encoder": "new:characters"}, "encoder package:minilm -> new:characters"),
        ({"options": TrainOptions(epochs=2)}, "epochs 5 -> 2"),
        ({"name": "other", "publish": False}, ""),
    ],
)
def test_what_is_said_to_differ(changed: dict[str, object], said: str) -> None:
    first = {"name": "first", "kind": "bert2dnn", "encoder": "package:minilm"}
    one, other = (StudentTable.model_validate(table) for table in (first, first | changed))
    assert differences(one, other) == said
