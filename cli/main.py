"""Entry point: the commands, and how their errors reach a person.

Exit codes: 0 done; 1 refused or failed, with one `error:` line that says why and what to do;
2 wrong usage (Typer's own).
"""

import sys
from typing import NoReturn

import typer

from bench.errors import BenchError
from cli import bench, evaluate, export, index, models, serve, sets, train
from distill.errors import DistillError
from evaluation.errors import EvaluationError
from export.errors import ExportError
from indexing.errors import IndexingError
from model_store.errors import ModelStoreError
from service.settings import SettingsError
from vector_store.errors import StoreError

app = typer.Typer(
    help="Winnow: relevance of products to a query. Ids in, scores out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(train.train)
app.command()(export.export)
app.add_typer(models.app, name="models")
app.command()(index.index)
app.add_typer(sets.app, name="sets")
app.command()(serve.serve)
app.command()(bench.bench)
app.command()(evaluate.evaluate)


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except (
        BenchError,
        DistillError,
        EvaluationError,
        ExportError,
        IndexingError,
        ModelStoreError,
        SettingsError,
        StoreError,
    ) as error:
        _fail(str(error))
    except ModuleNotFoundError as error:
        if error.name not in _TRAINING_ONLY:
            raise
        _fail(f"this command needs {error.name}: pip install 'winnow-relevance[train]'")


# What the extra `train` installs and serving never needs.
_TRAINING_ONLY = ("torch", "onnx", "onnxscript", "safetensors", "transformers")


def _fail(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    sys.exit(1)
