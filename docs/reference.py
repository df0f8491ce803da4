"""docs/reference/: written from the code, committed; `make reference` writes it anew.

python -m docs.reference [FOLDER]
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.metrics import MetricWrapperBase

from docs.recipe_keys import recipe_page
from docs.tables import Schema, fields, kind, part, shown, table
from model_store.bundle import MANIFEST_FILE
from model_store.manifest import Manifest, parse_manifest
from model_store.registry import DEFAULT_ROOT, bundle_folder
from service import metrics
from service.app import create_app
from service.settings import PREFIX, Settings

ROOT = Path(__file__).parents[1]
REFERENCE = ROOT / "docs" / "reference"
EXAMPLE = "shop-reprbert"  # the bundle whose files are listed
WRITTEN_BY = "<!-- Written by docs/reference.py: change the code, then `make reference`. -->\n\n"
# Defaults that are worked out where the service starts.
WORKED_OUT = {
    "store": "required",
    "workers": "CPUs of the container's quota",
    "bundles": "`model_store/bundles`",
    "models": "the only active student",
}


def main() -> None:
    """Writes every page."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else REFERENCE
    folder.mkdir(parents=True, exist_ok=True)
    for name, write in PAGES.items():
        (folder / name).write_text(WRITTEN_BY + write(), encoding="utf-8")


def cli_page() -> str:
    """Every command, as Typer describes it."""
    command = [sys.executable, "-m", "typer", "cli.main", "utils", "docs", "--name", "winnow"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    text = told.replace("# `winnow`\n", "# Commands\n", 1).replace(f"{ROOT}/", "")
    return text.replace("&#x27;", "'").replace("&quot;", '"').strip() + "\n"


def settings_page() -> str:
    """Every WINNOW_* variable."""
    rows = []
    properties = Settings.model_json_schema()["properties"]
    for name, field in properties.items():
        default = WORKED_OUT.get(name) or shown(field.get("default"))
        rows.append((f"`{PREFIX}{name.upper()}`", default, kind(field), field["description"]))
    return (
        "# Settings\n\n"
        "`WINNOW_*` variables, read once when the service starts. An unknown one is refused, and "
        "so is a value of the wrong kind. `GET /info` shows what is in force.\n\n"
    ) + table(("variable", "default", "kind", ""), rows)


def metrics_page() -> str:
    """Every metric with its labels and buckets."""
    found = [each for each in vars(metrics).values() if isinstance(each, MetricWrapperBase)]
    rows = []
    for metric in sorted(found, key=lambda each: each._name):
        total = "_total" if metric._type == "counter" else ""
        labels = ", ".join(f"`{label}`" for label in metric._labelnames)
        buckets = " ".join(f"{bound:g}" for bound in metric._kwargs.get("buckets", ()))
        name = f"`{metric._name}{total}`"
        rows.append((name, str(metric._type), labels, metric._documentation, buckets))
    return (
        "# Metrics\n\n"
        "What `GET /metrics` shows, summed over the workers of a container. How to read them, and "
        "what to do when an alert stands on one: [Operating Winnow](../operations.md#metrics).\n\n"
    ) + table(("metric", "kind", "labels", "says", "buckets"), rows)


def api_page() -> str:
    """Every call, its body and its answers, from the document at /openapi.json."""
    document = asyncio.run(openapi())
    parts: dict[str, Schema] = dict(document["components"]["schemas"])
    text = (
        "# HTTP API\n\n"
        "From the OpenAPI document that the service itself gives at `/openapi.json`; `/docs` lets "
        "you try it. Errors are problem documents (RFC 9457).\n\n"
    )
    for path, calls in document["paths"].items():
        for method, call in calls.items():
            text += _call(method, path, call)
            for body in _bodies(call).values():
                parts.update(body.get("$defs", {}))
    text += "## Parts\n\n"
    for name, schema in sorted(parts.items()):
        text += part(name, schema)
    return text.rstrip() + "\n"


def _call(method: str, path: str, call: Schema) -> str:
    text = f"## {method.upper()} {path}\n\n{call['summary']}.\n\n"
    if "description" in call:
        text += call["description"].strip() + "\n\n"
    for media, schema in _bodies(call).items():
        for shape in schema.get("oneOf", [schema]):  # such as the two that /rerank takes
            said = f", `{shape['title']}`" if shape is not schema else ""
            content = fields(shape) if "properties" in shape else f"{kind(shape)}\n"
            text += f"Body, `{media}`{said}:\n\n{content}\n"
    errors = []
    for status, answer in call["responses"].items():
        contents = answer.get("content", {})
        if "application/problem+json" in contents:
            errors.append(status)
            continue
        shapes = [f"`{media}` {kind(body.get('schema', {}))}" for media, body in contents.items()]
        text += f"Answer {status}: {'; '.join(shapes) or 'no body'}\n\n"
    return text + (f"Errors: {', '.join(errors)}\n\n" if errors else "")


def _bodies(call: Schema) -> dict[str, Schema]:
    """Schema of the request's body, by media type."""
    contents = call.get("requestBody", {}).get("content", {})
    return {media: content.get("schema", {}) for media, content in contents.items()}


async def openapi() -> dict[str, Any]:
    """The document of an application that serves nobody: its store is never asked."""
    settings = Settings(store="redis://127.0.0.1:1/0", models=(EXAMPLE,), workers=1)
    transport = httpx.ASGITransport(create_app(settings))
    async with httpx.AsyncClient(transport=transport, base_url="http://winnow") as client:
        document: dict[str, Any] = (await client.get("/openapi.json")).json()
        return document


def bundle_page() -> str:
    """What a bundle's folder holds, and the fields of its manifest."""
    folder = bundle_folder(DEFAULT_ROOT, EXAMPLE)
    manifest = parse_manifest((folder / MANIFEST_FILE).read_bytes(), EXAMPLE)
    rows = [(f"`{name}`", _role(manifest, name)) for name in sorted(manifest.files)]
    schema = Manifest.model_json_schema(mode="serialization")
    text = (
        "# The bundle\n\n"
        "`NAME/VERSION/` in the folder `WINNOW_BUNDLES`; a version never changes once it is there. "
        "`NAME/current` names the active version, `NAME/rollout.json` canary and shadow.\n\n"
        f"## Files\n\nThose of `{EXAMPLE}` {manifest.version}, beside `{MANIFEST_FILE}`:\n\n"
    ) + table(("file", ""), rows)
    text += f"\n## {MANIFEST_FILE}\n\nUnknown fields are refused.\n\n{fields(schema)}\n"
    for name, inner in sorted(schema["$defs"].items()):
        text += part(name, inner)
    return text.rstrip() + "\n"


def _role(manifest: Manifest, file: str) -> str:
    for graph, files in manifest.graphs.items():
        for precision, name in files.files.items():
            if name == file:
                run = ", run" if precision == files.run else ""
                return f"{graph} graph, {precision}{run}"
    if file in manifest.tokenizer.files:
        return f"tokenizer, {manifest.tokenizer.kind}"
    roles = {
        "golden.npz": "rows and scores that every graph has to give when it is loaded",
        "vectors.weights": "tensors of the product graph, memory-mapped",
    }
    return roles[file]


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "settings.md": settings_page,
    "metrics.md": metrics_page,
    "api.md": api_page,
    "bundle.md": bundle_page,
    "recipe.md": recipe_page,
}

if __name__ == "__main__":
    main()
