"""Students of one recipe that differ in an option or two: what differs, and curves over it."""

from collections.abc import Mapping
from dataclasses import asdict

from distill.recipe import Recipe
from distill.recipe_tables import StudentTable
from evaluation.curves import Curve, CurvePlot, CurvePoint
from evaluation.resampling import Sampled
from export.checkpoint import Facts

# What a student is not trained differently by.
_NAMES = {"name", "like", "bundle", "publish", "int8_product", "labels_alone"}

# Options of which a student has what there was, if that is less: the fact that says how much.
_MOST = {"max_pairs": "pairs", "maximum_vocabulary": "vocabulary"}

# Options over which a curve is drawn: their axis, and whether it is logarithmic.
_AXES = {
    "temperature": ("temperature of the labels", False),
    "max_pairs": ("pairs of the transfer set", True),
    "layers": ("layers", False),
    "maximum_vocabulary": ("words of the vocabulary", True),
    "codes": ("codes", True),
    "neighbours": ("neighbours", False),
    "list_size": ("products of a list", True),
}


def differences(before: StudentTable, after: StudentTable) -> str:
    """The options in which two students differ: "temperature 1.0 -> 2.0".

    Of two objectives their names: what only one of them has can't be compared.
    """
    was, now = _options(before), _options(after)
    own = asdict(before.descends_on).keys() ^ asdict(after.descends_on).keys()
    names = sorted((was.keys() | now.keys()) - own)
    changed = (name for name in names if was.get(name) != now.get(name))
    return ", ".join(f"{name} {_said(was.get(name))} -> {_said(now.get(name))}" for name in changed)


def curves(
    recipe: Recipe, facts: Mapping[str, Facts], roc_auc: Mapping[str, Sampled], teacher: str
) -> list[CurvePlot]:
    """ROC-AUC over every option in which alone two students or more differ.

    Args:
        recipe: the students.
        facts: of their checkpoints: how many pairs each has learned from.
        roc_auc: of each student and of the teacher, by name.
        teacher: its name, for a level.
    """
    plots = []
    for option, (label, log_x) in _AXES.items():
        lines = []
        for group in _groups(recipe, option):
            # Of those in one place, the one that has learned longest.
            longest = sorted(group, key=lambda table: table.options.epochs)
            placed = {_place(table, option, facts[table.name]): table.name for table in longest}
            points = sorted((x, name) for x, name in placed.items() if x is not None)
            intervals = [(x, roc_auc[name].interval()) for x, name in points]
            known = tuple(CurvePoint(x, y) for x, y in intervals if y is not None)
            if len(known) > 1:
                lines.append(Curve(group[0].name, known))
        if lines:
            plots.append(
                CurvePlot(
                    name=f"by_{option}",
                    title=f"ROC-AUC by {label}",
                    x_label=label,
                    y_label="ROC-AUC, test split",
                    curves=tuple(lines),
                    levels=((teacher, roc_auc[teacher].value),),
                    log_x=log_x,
                )
            )
    return plots


def _groups(recipe: Recipe, option: str) -> list[list[StudentTable]]:
    """Students that differ in nothing but this option; of another number of pairs, in epochs too:
    a small set is gone through more often until it has taught what it can.
    """
    apart = {option, "epochs"} if option == "max_pairs" else {option}
    groups: dict[str, list[StudentTable]] = {}
    for table in recipe.student:
        options = _options(table)
        if option in options and (options[option] is not None or option in _MOST):
            rest = repr(sorted((name, each) for name, each in options.items() if name not in apart))
            groups.setdefault(rest, []).append(table)
    return [group for group in groups.values() if len(group) > 1]


def _place(table: StudentTable, option: str, facts: Facts) -> float | None:
    """Where a student stands on the axis; of pairs and words, as many as there were."""
    value = _options(table)[option]
    if option in _MOST:
        fact = _MOST[option]
        value = facts.get(f"start.{fact}", facts.get(fact))
    return float(value) if isinstance(value, int | float) else None


def _options(table: StudentTable) -> dict[str, object]:
    """All that it is trained by, flat: options under their own names."""
    flat: dict[str, object] = {}
    for name, value in table.model_dump(mode="json", exclude=_NAMES).items():
        if name == "fine_tune":
            flat[name] = value
        elif name in ("pointwise", "pairwise", "listwise"):
            flat |= value if name == table.objective else {}
        elif isinstance(value, dict):
            options = value.pop("options", {}) if name == "context" else {}
            # What the table itself says stays: its options know no encoder by name.
            flat = value | options | flat
        else:
            flat[name] = value
    return flat


def _said(value: object) -> str:
    if isinstance(value, dict):  # of a table, what it says
        return ", ".join(f"{name} {each}" for name, each in value.items() if each is not None)
    return "none" if value is None else str(value)
