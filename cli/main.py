"""Entry point: the commands, and how their errors reach a person.

Exit codes: 0 done; 1 refused or failed, with one `error:` line that says why and what to do;
2 wrong usage (Typer's own); 130 stopped by Ctrl-C. docs/cli.md has them for people.

Help and completion run at every press of TAB: nothing that takes long is imported up here.
"""

import sys
from typing import NoReturn

import typer

from cli import (
    bench,
    calibrate,
    context,
    distill,
    doctor,
    evaluate,
    export,
    import_,
    index,
    keys,
    label,
    models,
    pretrain,
    serve,
    sets,
    shorten,
    teach,
    teacher,
    train,
    transfer,
)

app = typer.Typer(
    help="Winnow: relevance of products to a query. Ids in, scores out.",
    epilog=(
        "Exit codes: 0 done, 1 refused or failed (the line `error:` says what to do), 2 wrong "
        "usage, 130 stopped by Ctrl-C. Tables go to standard error; with --json, JSON goes to "
        "standard output. Completion by TAB: winnow --install-completion."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(pretrain.pretrain)
app.command()(shorten.shorten)
app.command()(teach.teach)
app.add_typer(teacher.app, name="teacher")
app.command()(transfer.transfer)
app.command()(label.label)
app.command()(context.context)
app.command()(train.train)
app.command()(export.export)
app.add_typer(models.app, name="models")
app.add_typer(import_.app, name="import")
app.command()(index.index)
app.add_typer(sets.app, name="sets")
app.command()(serve.serve)
app.add_typer(keys.app, name="keys")
app.command()(doctor.doctor)
app.command()(bench.bench)
app.command()(evaluate.evaluate)
app.command()(calibrate.calibrate)
app.command()(distill.distill)


def main() -> None:
    """Runs the command line."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name not in _TRAINING_ONLY:
            raise
        _fail(f"this command needs {error.name}: pip install 'winnow-relevance[train]'")
    except OSError as error:  # a path of the caller's: what else opens files says so itself
        if error.filename is None:
            raise
        _fail(f"{error.filename}: {error.strerror}: correct the path, or your rights to it")
    except Exception as error:
        if not isinstance(error, _refusals()):
            raise
        _fail(str(error))


def _refusals() -> tuple[type[Exception], ...]:
    """Errors whose text is for the person who called."""
    from bench.errors import BenchError
    from cli.rollout import ServiceRefused
    from distill.errors import DistillError
    from evaluation.errors import EvaluationError
    from export.errors import ExportError
    from importing.errors import ImportRefused
    from indexing.errors import IndexingError
    from model_store.errors import ModelStoreError
    from service.settings import SettingsError
    from vector_store.errors import StoreError

    return (
        BenchError,
        DistillError,
        EvaluationError,
        ExportError,
        ImportRefused,
        IndexingError,
        ModelStoreError,
        ServiceRefused,
        SettingsError,
        StoreError,
    )


# What the extra `train` installs and serving never needs.
_TRAINING_ONLY = (
    "bm25s",
    "huggingface_hub",
    "lightgbm",
    "ml_dtypes",
    "onnx",
    "onnxscript",
    "rapidfuzz",
    "safetensors",
    "scipy",
    "sklearn",
    "torch",
    "transformers",
)


def _fail(reason: str) -> NoReturn:
    typer.echo(f"error: {reason}", err=True)
    sys.exit(1)
