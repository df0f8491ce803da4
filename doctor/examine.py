"""All checks of a deployment, in the order in which one would look."""

from doctor import machine
from doctor.bundles import served_students
from doctor.finding import Finding
from doctor.running import running_findings
from doctor.store import live_sets, reached, safety
from model_store.manifest import Manifest
from service.settings import Settings
from vector_store.arena import arena_bytes
from vector_store.header import SetHeader


def examine(settings: Settings, url: str | None, connections: int) -> list[Finding]:
    """Every finding; nothing is changed anywhere.

    Args:
        settings: as `winnow serve` would read them here.
        url: a running service to hold against them, where one is to be asked.
        connections: clients that one worker should be able to hold.
    """
    manifests, findings = served_students(settings)
    store, answer = reached(settings)
    findings.append(answer)
    headers: dict[str, SetHeader] = {}
    if store is not None:
        try:
            headers, of_sets = live_sets(store, manifests)
            findings += [*of_sets, *safety(settings, headers)]
        finally:
            store.close()
    here = machine.this_machine()
    served = [_served(manifest, headers.get(manifest.name), settings) for manifest in manifests]
    findings += [
        machine.threads(settings.workers, settings.ort_threads, here.cpus, ""),
        machine.memory(settings, served, here),
        machine.open_files(here, connections),
        machine.body_limit(settings),
        machine.in_flight(settings),
    ]
    if url is not None:
        findings += running_findings(url, settings.bundles, headers)
    return findings


def _served(manifest: Manifest, header: SetHeader | None, settings: Settings) -> machine.Served:
    """Where the set is not known, its cache counts with the whole budget."""
    budget = settings.row_cache_mb * 2**20
    rows = None if header is None else header.count
    cache = arena_bytes(budget, manifest.d_p, rows) if budget else 0
    return machine.Served(manifest.d_p, sum(file.bytes for file in manifest.files.values()), cache)
