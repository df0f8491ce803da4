"""A recipe: what `winnow distill` makes, from judgements to published students. No work here.

Tables as they stand in the file, in the order in which they are followed:

    name, seed          of the recipe; every table below that has a seed may have its own
    [data]              judged pairs and products
    [[encoder]]         a small BERT with random weights, where no pretrained one is wanted
    [[pretrain]]        continued pre-training of an encoder on the catalogue
    [[shorten]]         the first layers of an encoder, taught what the whole makes of a text
    [[teacher]]         a cross-encoder to fine-tune, a lexical teacher, or one that is there
    [transfer]          the pairs that teachers label
    [wide]              more pairs, which students, or teachers that cost little, label for
                        other students
    [labels]            how teachers label
    [[student]]         one to train, with its fine_tune, context and labels_alone; without any,
                        teachers are compared
    [calibrate] [publish] [report]

data_table.py and recipe_tables.py have the keys of each, recipe_file.py reads the file.
"""

from collections.abc import Sequence
from typing import Annotated, Self

from pydantic import Field, NonNegativeInt, model_validator

from distill.data_table import Data
from distill.recipe_tables import (
    Calibrate,
    Labels,
    LabelScorer,
    NewEncoder,
    PretrainTable,
    Publish,
    Report,
    ShortenTable,
    StudentTable,
    TeacherTable,
    Transfer,
)
from distill.table import Name, Table

# Encoders that a recipe makes itself are named by what makes them: "teacher:NAME".
MADE_ENCODERS = ("new", "pretrained", "shortened", "teacher")


class Recipe(Table):
    """A whole recipe; the names in it are known to refer to something."""

    name: Name
    seed: NonNegativeInt = 0
    data: Data
    encoder: tuple[NewEncoder, ...] = ()
    pretrain: tuple[PretrainTable, ...] = ()
    shorten: tuple[ShortenTable, ...] = ()
    teacher: Annotated[tuple[TeacherTable, ...], Field(min_length=1)]
    transfer: Transfer = Transfer()
    wide: Transfer | None = None
    labels: Labels = Labels()
    student: tuple[StudentTable, ...] = ()
    calibrate: Calibrate = Calibrate()
    publish: Publish = Publish()
    report: Report = Report()

    @model_validator(mode="after")
    def _names_refer(self) -> Self:
        for what in ("encoder", "pretrain", "shorten", "teacher", "student"):
            names = [each.name for each in getattr(self, what)]
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{what}: expected distinct names, got {twice[0]!r} twice")
        self._check_teachers_differ()
        teachers = [each.name for each in self.teacher]
        above = list(teachers)
        for student in self.student:
            if unknown := [name for name in student.labels if name not in above]:
                raise ValueError(
                    f"student {student.name!r}: labels: expected teachers of this recipe, or "
                    f"students above ({', '.join(above)}), got {unknown[0]!r}"
                )
            self._check_labellers(student)
            if student.wide and self.wide is None:
                raise ValueError(
                    f"student {student.name!r}: wide: expected a table [wide], which says what "
                    f"pairs those are, got none"
                )
            if student.behaviour and not self._marks_behaviour(student):
                raise ValueError(
                    f"student {student.name!r}: behaviour: expected a log that marks what was "
                    'wanted ([transfer.log] with behaviour = "ordered" or "clicked"), or a file '
                    "with that column, got pairs without such marks"
                )
            if student.clicks:
                self._check_clicks(student)
            if student.context is None:  # one in context reads other texts than labels are of
                above.append(student.name)
        self._check_encoders()
        self._check_report(teachers)
        bundles = [self.bundle_of(each) for each in self.student if each.publish]
        if twice := sorted({name for name in bundles if bundles.count(name) > 1}):
            raise ValueError(f"student: bundle: expected distinct names, got {twice[0]!r} twice")
        return self

    def _check_labellers(self, student: StudentTable) -> None:
        for other in self.student:
            if other.name in student.labels and not other.has_probabilities:
                raise ValueError(
                    f"student {student.name!r}: labels: expected what says how probable relevance "
                    f"is, but {other.name!r} learns an order of products alone (objective "
                    f"{other.objective}): give it a second stage, [student.fine_tune]"
                )
        for teacher in self.teacher:
            if teacher.name in self.labels_of(student):
                _check_labelled(student, teacher)

    def _check_teachers_differ(self) -> None:
        """Two that differ by name alone are one teacher, counted twice in every stack."""
        seen: dict[str, str] = {}
        for teacher in self.teacher:
            made = teacher.model_copy(
                update={
                    "name": "",
                    "scorer": None,
                    "label_pairs": None,
                    "seed": self.seed_of(teacher),
                }
            )
            other = seen.setdefault(made.model_dump_json(), teacher.name)
            if other != teacher.name:
                raise ValueError(
                    f"teacher {teacher.name!r}: expected another one than {other!r}, got the same "
                    f"under two names: give it a seed, an encoder or options of its own"
                )

    def _marks_behaviour(self, student: StudentTable) -> bool:
        transfer = self._transfer_of(student)
        if transfer.log is not None:
            return transfer.log.options.behaviour != "none"
        return transfer.file is not None  # whose columns are not known here

    def _check_clicks(self, student: StudentTable) -> None:
        """Click ratios are targets of their own: no teacher's label is looked at."""
        transfer = self._transfer_of(student)
        from_log = transfer.log is not None and transfer.log.options.rule == "clicks"
        if not from_log and transfer.file is None:
            raise ValueError(
                f"student {student.name!r}: clicks: expected a log ([transfer.log] with rule = "
                '"clicks"), or a file with targets, got pairs that nobody has seen'
            )
        if student.labels or student.temperature != 1.0 or student.behaviour:
            raise ValueError(
                f"student {student.name!r}: clicks: expected neither labels nor temperature nor "
                "behaviour, which are of teachers' labels: leave them out"
            )
        if student.fine_tune is not None and "hard_weight" in student.fine_tune.model_fields_set:
            raise ValueError(
                f"student {student.name!r}: fine_tune: hard_weight: expected none, since beside "
                "clicks there are no soft labels to weigh judgements against: leave it out"
            )
        if student.objective != "pairwise":
            raise ValueError(
                f"student {student.name!r}: clicks: expected the objective pairwise, which asks "
                f"which of two products was clicked oftener, got {student.objective}, which takes "
                "ratios for probabilities of relevance, and hardly any reaches 0.5: write "
                'objective = "pairwise"'
            )

    def _transfer_of(self, student: StudentTable) -> Transfer:
        wide = self.wide if self.wide is not None and self.learns_widely(student) else None
        return wide or self.transfer

    def _check_encoders(self) -> None:
        """An encoder that a recipe makes is made before it is used."""
        new = [f"new:{each.name}" for each in self.encoder]
        made: list[str] = list(new)
        for pretrain in self.pretrain:
            _check_made(f"pretrain {pretrain.name!r}", pretrain.encoder, made)
            made.append(f"pretrained:{pretrain.name}")
        for shorten in self.shorten:
            _check_made(f"shorten {shorten.name!r}", shorten.encoder, made)
        made += [f"shortened:{each.name}" for each in self.shorten]
        for teacher in self.teacher:  # one may begin with the layers of one above
            _check_made(f"teacher {teacher.name!r}", teacher.encoder, made)
            if not teacher.is_lexical:
                made.append(f"teacher:{teacher.name}")
        for student in self.student:
            _check_made(f"student {student.name!r}", student.encoder, made)

    def _check_report(self, teachers: list[str]) -> None:
        """Whatever the report has a line for has a name of its own."""
        for stack, members in self.report.stacks.items():
            if unknown := [name for name in members if name not in teachers]:
                raise ValueError(
                    f"report: stacks: {stack}: expected teachers of this recipe "
                    f"({', '.join(teachers)}), got {unknown[0]!r}"
                )
        judges = [*self.stacks, *teachers]
        if self.report.against is not None and self.report.against not in judges:
            raise ValueError(
                f"report: against: expected a stack or teacher ({', '.join(judges)}), got "
                f"{self.report.against!r}"
            )
        names = [*judges, *self.report.baselines, *(each.name for each in self.student)]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"expected distinct names of stacks, teachers, baselines and students, got "
                f"{twice[0]!r} twice"
            )

    @property
    def stacks(self) -> dict[str, tuple[str, ...]]:
        """Teachers that the report stacks, by the stack's name."""
        if self.report.stacks or len(self.teacher) == 1:
            return dict(self.report.stacks)
        return {"teachers": tuple(each.name for each in self.teacher)}

    @property
    def against(self) -> str:
        """The stack or teacher that the report holds students against."""
        return self.report.against or next(iter(self.stacks), self.teacher[0].name)

    def bundle_of(self, student: StudentTable) -> str:
        """What a student is called in the registry."""
        return student.bundle or f"{self.name}-{student.name}"

    def labels_of(self, student: StudentTable) -> tuple[str, ...]:
        """The teachers, and students before it, that it learns from; none of one of clicks."""
        if student.clicks:
            return ()
        return student.labels or tuple(each.name for each in self.teacher)

    def scorer_of(self, teacher: TeacherTable) -> LabelScorer:
        """What labels for a teacher; a lexical one labels as it is."""
        return "pytorch" if teacher.is_lexical else teacher.scorer or self.labels.scorer

    def learns_widely(self, student: StudentTable) -> bool:
        """Whether it learns the pairs of [wide]: it says so, or another student labels for it."""
        if self.wide is None:
            return False
        teachers = [each.name for each in self.teacher]
        return student.wide or any(name not in teachers for name in student.labels)

    def seed_of(
        self,
        table: NewEncoder | PretrainTable | ShortenTable | TeacherTable | Transfer | StudentTable,
    ) -> int:
        """A table's own seed, else the recipe's."""
        return self.seed if table.seed is None else table.seed


def _check_labelled(student: StudentTable, teacher: TeacherTable) -> None:
    if teacher.label_pairs is None:
        return
    if student.max_pairs is None or student.max_pairs > teacher.label_pairs:
        raise ValueError(
            f"student {student.name!r}: max_pairs: expected at most {teacher.label_pairs}, the "
            f"label_pairs of teacher {teacher.name!r}, got {student.max_pairs or 'none'}"
        )


def _check_made(place: str, encoder: str | None, made: Sequence[str]) -> None:
    if encoder is not None and encoder.partition(":")[0] in MADE_ENCODERS and encoder not in made:
        raise ValueError(
            f"{place}: encoder: expected one that the recipe makes before "
            f"({', '.join(made) or 'there is none'}), got {encoder!r}"
        )
