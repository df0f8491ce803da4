"""The options by which commands are told where judged pairs are, and reading them."""

import math
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from model_store.digest import file_sha256

if TYPE_CHECKING:
    from evaluation.judgments import JudgmentColumns, Judgments, ProductFile

Split = Literal["train", "valid", "test"]
SplitOrAll = Literal["train", "valid", "test", "all"]


def finite(value: float | None) -> float | None:
    """Refuses nan and inf, which Python reads as numbers.

    Raises:
        typer.BadParameter: one of these.
    """
    if value is not None and not math.isfinite(value):
        raise typer.BadParameter(f"expected a finite number, got {value}")
    return value


JudgmentsPath = Annotated[Path, typer.Option(help="judged pairs: CSV, TSV or JSONL, also .gz")]
ProductsPath = Annotated[
    Path | None, typer.Option(help="file with the titles; without it they stand in judgments")
]
RelevantFrom = Annotated[
    float, typer.Option(callback=finite, help="lowest grade that counts as relevant")
]
Encoding = Annotated[str, typer.Option(help="of the judgement and product files")]
QueryColumn = Annotated[str, typer.Option(help="in judgments")]
IdColumn = Annotated[str, typer.Option(help="in judgments and products")]
TitleColumn = Annotated[str, typer.Option(help="in products, else in judgments")]
RelevanceColumn = Annotated[str, typer.Option(help="in judgments")]


@dataclass(frozen=True)
class JudgedFile:
    """What those options say."""

    path: Path
    products: Path | None
    relevant_from: float
    encoding: str
    columns: "JudgmentColumns"

    @property
    def product_file(self) -> "ProductFile | None":
        """The file that the titles are read from; None: they stand beside the judgements."""
        from evaluation.judgments import ProductFile

        if self.products is None:
            return None
        return ProductFile(
            self.products, self.columns.product_id, self.columns.title, self.encoding
        )

    def read(self) -> "Judgments":
        """All judged pairs of the file.

        Raises:
            InputFileError: as read_judgments.
        """
        from evaluation.judgments import read_judgments

        return read_judgments(
            self.path,
            relevant_from=self.relevant_from,
            products=self.product_file,
            columns=self.columns,
            encoding=self.encoding,
        )

    def of_split(self, judged: "Judgments", split: SplitOrAll | None) -> "Judgments":
        """Those of one split; None and all: every pair.

        Raises:
            EvaluationError: no pair is of it.
        """
        from evaluation.errors import EvaluationError

        if split is None or split == "all":
            return judged
        found = judged.of_split(split)
        if not len(found):
            raise EvaluationError(
                f"{self.path.name}: no query of split {split}: with a split of your own take all "
                "queries (calibrate: --split all; elsewhere without --split)"
            )
        return found

    def sha256(self) -> str:
        """Of the judgement file's bytes."""
        return file_sha256(self.path)


def command_line() -> str:
    """The command that is running, as one would type it."""
    return f"winnow {shlex.join(sys.argv[1:])}"
