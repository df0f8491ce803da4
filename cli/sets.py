"""`winnow sets`: the vector sets of a store, and which of them is live."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.completion import student_lists
from cli.console import answer, say, show
from cli.options import Bundles, Json
from cli.progress import progress_bar
from model_store.registry import DEFAULT_ROOT

if TYPE_CHECKING:
    from vector_store.protocol import VectorStore

app = typer.Typer(
    help="Vector sets of a store: list, verify, activate, roll back, collect.",
    no_args_is_help=True,
)

Store = Annotated[
    str, typer.Option(envvar="WINNOW_STORE", help="lmdb:PATH, redis://..., redis+cluster://...")
]
SetId = Annotated[str, typer.Argument(help="id of a set, as `winnow sets list` shows it")]

_TIMEOUT_MS = 10_000


@app.command("list")
def list_command(store: Store, as_json: Json = False) -> None:
    """Every set: its student, what it holds, and whether it is sealed and live."""
    from indexing.sets import list_sets

    infos = list_sets(_open(store, read_only=True))
    if as_json:
        answer(
            [
                {**info.header.model_dump(), "holds": info.header.holds, "live": info.live}
                for info in infos
            ]
        )
        return
    show(
        f"Vector sets in {store.partition('@')[2] or store}",
        ("set", "student", "holds", "rows", "floats", "sealed", "live"),
        [
            (
                info.header.set_id,
                info.header.model,
                info.header.holds,
                f"{info.header.count:,}"
                if info.header.sealed or info.progress is None
                else f"{info.progress.inserted:,} so far",
                f"{info.header.width} {info.header.dtype}",
                info.header.sealed or "unfinished",
                "yes" if info.live else "",
            )
            for info in infos
        ],
    )


@app.command("verify")
def verify_command(set_id: SetId, store: Store) -> None:
    """Read every row of a set back: count, length, finite values."""
    from indexing.sets import verify

    with progress_bar() as on_progress:
        found = verify(_open(store, read_only=True), set_id, on_progress)
    if found.whole:
        say(f"{set_id}: {found.rows:,} rows, all whole")
        return
    say(
        f"error: {set_id}: expected {found.header.count:,} whole rows, read {found.rows:,}, of "
        f"which {found.corrupt:,} corrupt ({', '.join(found.first_corrupt) or 'none'}): index again"
    )
    raise typer.Exit(1)


@app.command("activate")
def activate_command(set_id: SetId, store: Store) -> None:
    """Make a sealed set the live one of its fingerprint; running services follow by themselves."""
    from indexing.sets import activate

    header = activate(_open(store), set_id)
    say(f"{set_id} is live: {header.count:,} {header.holds} of {header.model}")


@app.command("rollback")
def rollback_command(
    fingerprint: Annotated[str, typer.Argument(help="fingerprint of a set, or its first 8 digits")],
    store: Store,
) -> None:
    """Go back to the newest sealed set before the live one."""
    from indexing.sets import rollback

    opened = _open(store)
    whole = {h.fingerprint for h in opened.headers() if h.fingerprint.startswith(fingerprint)}
    if len(whole) != 1:
        raise typer.BadParameter(f"{fingerprint!r} names {len(whole)} fingerprints of this store")
    header = rollback(opened, whole.pop())
    say(f"{header.set_id} is live again: {header.count:,} {header.holds} of {header.model}")


@app.command("wait")
def wait_command(
    store: Store,
    models: Annotated[
        str,
        typer.Option(
            envvar="WINNOW_MODELS",
            help="students, comma separated; else the only active one",
            autocompletion=student_lists,
        ),
    ] = "",
    bundles: Bundles = DEFAULT_ROOT,
    timeout_s: Annotated[float, typer.Option(help="give up after so many seconds")] = 600.0,
) -> None:
    """Return once every student's vector set is live: an init container's work.

    A store that does not answer is waited for too. Exit code 1 when the time is up.
    """
    from indexing.wait import Awaited, wait_until_live
    from model_store.bundle import open_bundle
    from model_store.registry import bundle_folder, served_names

    asked = tuple(name.strip() for name in models.split(",") if name.strip())
    awaited = []
    for name in served_names(bundles, asked):
        manifest = open_bundle(bundle_folder(bundles, name)).manifest
        awaited.append(Awaited(name, manifest.vector_fingerprint, manifest.d_p))
    for header in wait_until_live(_open(store, read_only=True), awaited, timeout_s, say):
        say(f"{header.set_id} is live: {header.count:,} {header.holds} of {header.model}")


@app.command("gc")
def gc_command(
    store: Store,
    keep: Annotated[int, typer.Option(help="sealed sets to keep per fingerprint")] = 2,
    unsealed_older_than_hours: Annotated[
        float | None, typer.Option(help="also drop builds that stopped so long ago")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
) -> None:
    """Drop old sets; never the live one."""
    from indexing.sets import gc

    age = None if unsealed_older_than_hours is None else unsealed_older_than_hours * 3600
    opened = _open(store, read_only=dry_run)
    dropped = gc(opened, keep=keep, unsealed_older_than_s=age, dry_run=dry_run)
    for header in dropped:
        say(f"{'would drop' if dry_run else 'dropped'} {header.set_id} ({header.model})")
    say(f"{len(dropped)} sets {'to drop' if dry_run else 'dropped'}")


def _open(store: str, *, read_only: bool = False) -> "VectorStore":
    from vector_store.open import open_store

    return open_store(store, read_only=read_only, timeout_ms=_TIMEOUT_MS)
