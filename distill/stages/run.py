"""Where the parts of a recipe lie while it is followed: everything below one work folder.

judged/{train,valid,test}.csv   query, title, target, label; test is read by judge, publish, report
encoders/ pretrained/ teachers/ converted/      by name
transfer.csv.gz wide.csv.gz
labels/<teacher>/ labels-wide/<teacher or student>/    of transfer.csv.gz, of wide.csv.gz
labels-judged/<teacher or student>/     of the judged training pairs
students/<name>/ fine-tuned/<name>/ labels-alone/<name>/        checkpoints
exported/ calibrated/           registries of bundles that nobody serves yet
published/<student>.json        which version of the real registry came of a student
context/<student>/{catalogue,queries}.csv       what is indexed for a student in context
test/<teacher>.npy              logits of the test pairs
report-<recipe>/
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TypeVar

import torch

from distill.errors import RecipeRefused
from distill.pretrained import encoder_folder
from distill.recipe import MADE_ENCODERS, Recipe
from distill.recipe_data import RecipeData
from distill.recipe_file import RecipeFile
from distill.recipe_tables import StudentTable, TeacherTable, Transfer
from distill.stages.stage import Kind, path_sha256
from distill.teacher_file import relevant_probability
from evaluation.judgments import Split
from evaluation.report_folder import Provenance

_Named = TypeVar("_Named", TeacherTable, StudentTable)


class RecipeRun:
    """A recipe, and where it is followed."""

    def __init__(
        self,
        file: RecipeFile,
        work: Path,
        bundles: Path,
        *,
        data: Path | None = None,
        device: str | None = None,
        command: str | None = None,
    ) -> None:
        """Looks for all that the recipe names and doesn't make.

        Args:
            file: the recipe.
            work: its work folder.
            bundles: the registry that students are published to.
            data: what paths of [data] and [transfer] are relative to; None: the recipe's folder.
            device: for torch, as `teacher.choose_device`.
            command: what reports say they were made by; None: the recipe alone.

        Raises:
            RecipeRefused: a file or folder is missing.
            EncoderRefused: no such package.
        """
        self.file = file
        self.work = work
        self.bundles = bundles
        self.device = device
        self.command = command or f"winnow distill {file.path}"
        self.threads = torch.get_num_threads()
        self.data = RecipeData(file.recipe.data, data or file.folder)
        self._encoders: dict[str, Path] = {}
        self._check_given()

    def _check_given(self) -> None:
        """Before hours of work that would end at what is missing; a hub is asked when it's due."""
        recipe, data = self.recipe, self.data.folder
        given: dict[str, Path] = {}
        for name, transfer in (("transfer", recipe.transfer), ("wide", recipe.wide)):
            if transfer is None:
                continue
            files = {
                "file": transfer.file,
                "queries": transfer.queries,
                "log": None if transfer.log is None else transfer.log.path,
            }
            given |= {f"{name}: {key}": data / path for key, path in files.items() if path}
        for what in ("pretrain", "shorten", "teacher", "student"):
            for table in getattr(recipe, what):
                encoder = table.encoder or ""
                if encoder.startswith((".", "/", "package:")):
                    given[f"{what} {table.name!r}: encoder"] = self.encoder(encoder)
        for teacher in recipe.teacher:
            if teacher.folder is not None:
                given[f"teacher {teacher.name!r}: folder"] = self.teacher(teacher.name)
        for place, path in given.items():
            if not path.exists():
                raise RecipeRefused(f"{place}: expected {path}, which is not there: correct it")

    @property
    def recipe(self) -> Recipe:
        """What the file says."""
        return self.file.recipe

    def at(self, *parts: str) -> Path:
        """A place in the work folder."""
        return self.work.joinpath(*parts)

    def judged(self, split: Split) -> Path:
        """The judged pairs of a split, as `RecipeData.write_pairs` writes them."""
        return self.at("judged", f"{split}.csv")

    @property
    def dataset(self) -> str:
        """What manifests and reports call the judgements."""
        return self.recipe.publish.dataset or self.recipe.name

    def provenance(self, title: str, split: Split, seed: int) -> Provenance:
        """Of figures on the judged pairs of a split."""
        relevant_from = self.data.splits[split].relevant_from
        return Provenance(
            title=title,
            data=f"{self.dataset}, split {split}, relevant from {relevant_from:g}",
            data_sha256=path_sha256(self.judged(split)),
            command=self.command,
            seed=seed,
        )

    @property
    def transfer(self) -> Path:
        """The pairs that teachers label."""
        given = self.recipe.transfer.file
        return self.data.folder / given if given else self.at("transfer.csv.gz")

    @property
    def wide(self) -> Path:
        """More pairs, labelled by whoever costs little."""
        given = self.recipe.wide and self.recipe.wide.file
        return self.data.folder / given if given else self.at("wide.csv.gz")

    def pairs_of(self, student: StudentTable) -> Path:
        """The pairs that a student learns from."""
        return self.wide if self.recipe.learns_widely(student) else self.transfer

    @property
    def transfer_sets(self) -> list[tuple[Kind, Transfer, Path]]:
        """Those that a student learns from: no other is made."""
        known: list[tuple[Kind, Transfer | None, Path]] = [
            ("transfer", self.recipe.transfer, self.transfer),
            ("wide", self.recipe.wide, self.wide),
        ]
        learned = {self.pairs_of(student) for student in self.recipe.student}
        return [(kind, table, path) for kind, table, path in known if table and path in learned]

    def teacher(self, name: str) -> Path:
        """The folder of a teacher as it was trained."""
        given = _named(self.recipe.teacher, name).folder
        return self.file.folder / given if given else self.at("teachers", name)

    def scorer(self, name: str) -> Path:
        """The folder of what labels for a teacher; for a student, its checkpoint."""
        students = {each.name: each for each in self.recipe.student}
        if name in students:
            return self.checkpoint(students[name])
        scorer = self.recipe.scorer_of(_named(self.recipe.teacher, name))
        if scorer == "pytorch":
            return self.teacher(name)
        return self.at("converted", f"{name}.{scorer}")

    def relevant_probability(self, name: str) -> float:
        """From which a teacher, a stack of them, or a student of them calls a pair relevant."""
        students = {each.name: each for each in self.recipe.student}
        if name in students:
            members = self.recipe.labels_of(students[name])
        elif name in self.recipe.stacks:
            members = self.recipe.stacks[name]
        else:
            return relevant_probability(self.teacher(name))
        if not members:  # a student that learned clicks, then judgements
            return self.data.relevant_target()
        return fmean(self.relevant_probability(member) for member in members)

    def checkpoint(self, student: StudentTable) -> Path:
        """What is exported of a student: the last of its stages."""
        return self.at("students" if student.fine_tune is None else "fine-tuned", student.name)

    def encoder(self, name: str) -> Path:
        """The folder of an encoder, however it is named; from a hub, a copy on this machine.

        Raises:
            EncoderRefused: no such folder or package, or the hub doesn't give it.
        """
        if name not in self._encoders:
            self._encoders[name] = self._found(name)
        return self._encoders[name]

    def _found(self, name: str) -> Path:
        maker, _, rest = name.partition(":")
        if maker in MADE_ENCODERS:
            if maker == "teacher":
                return self.teacher(rest)
            return self.at("encoders" if maker == "new" else maker, rest)
        if name.startswith((".", "/")):
            return self.file.folder / name
        return encoder_folder(name)


def _named(tables: Sequence[_Named], name: str) -> _Named:
    return next(each for each in tables if each.name == name)
