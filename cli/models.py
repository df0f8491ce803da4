"""`winnow models`: what is published, whether it is whole, and which version is active."""

import typer

from cli import rollout
from cli.console import answer, say, show
from cli.options import Bundles, Json, Student, VersionOption
from model_store.registry import DEFAULT_ROOT

app = typer.Typer(
    help="Published students: list, show, verify, activate, roll back, try beside the active one.",
    no_args_is_help=True,
)


@app.command("list")
def list_models(bundles: Bundles = DEFAULT_ROOT, as_json: Json = False) -> None:
    """Every published version, the active one marked."""
    from model_store.bundle import MANIFEST_FILE
    from model_store.manifest import parse_manifest
    from model_store.registry import published

    entries = []
    for student in published(bundles):
        for version in student.versions:
            path = bundles / student.name / version / MANIFEST_FILE
            manifest = parse_manifest(path.read_bytes(), f"{student.name}/{version}")
            auc = manifest.metrics[0].roc_auc if manifest.metrics else None
            entries.append(
                {
                    "name": student.name,
                    "version": version,
                    "active": version == student.current,
                    "student": manifest.student,
                    "created": manifest.created,
                    "roc_auc": auc,
                    "bytes": sum(entry.bytes for entry in manifest.files.values()),
                    "vector_fingerprint": manifest.vector_fingerprint,
                }
            )
    if as_json:
        answer(entries)
        return
    show(
        f"Students in {bundles}",
        ("name", "version", "active", "kind", "ROC-AUC", "MB", "vectors", "created"),
        [
            (
                entry["name"],
                entry["version"],
                "yes" if entry["active"] else "",
                entry["student"],
                "" if entry["roc_auc"] is None else f"{entry['roc_auc']:.4f}",
                round(float(str(entry["bytes"])) / 1e6, 1),
                str(entry["vector_fingerprint"])[:8],
                entry["created"],
            )
            for entry in entries
        ],
    )


@app.command("show")
def show_model(
    name: Student, version: VersionOption = None, bundles: Bundles = DEFAULT_ROOT
) -> None:
    """The manifest of a version (the active one by default), as JSON."""
    from model_store.bundle import open_bundle
    from model_store.registry import bundle_folder

    manifest = open_bundle(bundle_folder(bundles, name, version)).manifest
    typer.echo(manifest.model_dump_json(indent=2))


@app.command("verify")
def verify_model(
    name: Student, version: VersionOption = None, bundles: Bundles = DEFAULT_ROOT
) -> None:
    """Check a version: checksums, fingerprints, golden rows through every graph and precision."""
    from model_store.bundle import open_bundle
    from model_store.registry import bundle_folder
    from model_store.student import OnnxStudent

    folder = bundle_folder(bundles, name, version)
    manifest = open_bundle(folder).manifest
    precisions = {name for graph in manifest.graphs.values() for name in graph.files}
    for precision in sorted(precisions):
        student = OnnxStudent.load(folder, precision=precision)
        runs = ", ".join(f"{graph} {ran}" for graph, ran in student.run.items())
        say(f"golden rows agree: {runs}")
    say(f"{manifest.name} {manifest.version}: whole, {manifest.bundle_fingerprint[:8]}")


app.command("activate")(rollout.activate)
app.command("rollback")(rollout.rollback)
app.command("canary")(rollout.canary)
app.command("shadow")(rollout.shadow)
