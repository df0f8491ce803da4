"""A running service, asked over HTTP: whether it serves what the registry and the store have."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import httpx

from doctor.finding import Finding, judged
from doctor.machine import threads
from model_store.errors import ModelStoreError
from model_store.registry import find
from vector_store.header import SetHeader

TIMEOUT_S: Final = 10.0
WHOSE: Final = " of the service"


def running_findings(url: str, bundles: Path, live: Mapping[str, SetHeader]) -> list[Finding]:
    """Of the service at `url`; `live`: the live vector set of each student, as far as known."""
    wanted = "a Winnow service"
    try:
        with httpx.Client(base_url=url, timeout=TIMEOUT_S) as client:
            info: dict[str, Any] = client.get("/info").raise_for_status().json()
            models: list[dict[str, Any]] = info["models"]
            workers, per_worker = info["threads"]["workers"], info["threads"]["ort_threads"]
            cpus, served_by = info["threads"]["cpus"], info["version"]
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError) as error:
        found = f"{url}: {error!r}"[:300]
        return [Finding("service", "change", found, wanted, "start it, or correct --url")]
    here = version("winnow-relevance")
    return [
        judged(
            "fine" if served_by == here else "change",
            "service",
            f"{url} runs winnow {served_by}",
            f"winnow {here}, as installed here",
            "roll out one version, or run the doctor of the version that serves",
        ),
        threads(int(workers), int(per_worker), float(cpus), WHOSE),
        *_models(models, bundles, live),
    ]


def _models(
    models: Sequence[Mapping[str, Any]], bundles: Path, live: Mapping[str, SetHeader]
) -> list[Finding]:
    findings = []
    for model in models:
        name = str(model["name"])
        check = f"{name}{WHOSE}"
        try:
            current = find(bundles, name).current
        except ModelStoreError as error:
            to_do = "give the folder that the service reads: --bundles"
            findings.append(Finding(check, "change", str(error), "a published student", to_do))
            continue
        header = live.get(name)
        wanted = f"version {current}, ready, vector set {header.set_id if header else 'unknown'}"
        found = f"version {model['version']}, "
        found += "ready" if model["ready"] else f"not ready: {model['reason']}"
        found += f", vector set {model['vector_set']}"
        same_set = header is None or header.set_id == model["vector_set"]
        refused = model.get("refused")
        if refused:
            found += f"; refused {refused['role']} {refused['version']}: {refused['reason']}"
        agrees = model["ready"] and model["version"] == current and same_set and not refused
        to_do = "its log and docs/operations.md say why it does not follow: WinnowVersionRefused"
        findings.append(judged("fine" if agrees else "change", check, found, wanted, to_do))
    return findings
