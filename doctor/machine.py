"""What this container or machine gives, against what the settings ask for: CPUs, memory, files."""

import resource
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from doctor.finding import Finding, Verdict, judged, megabytes
from service.cpus import CGROUP, available_cpus
from service.settings import Settings

# Resident memory of a process without students, caches and rows of requests: measured on
# `winnow serve` with one of the shop's students (123 MB) and with all three (136 MB).
PROCESS_BYTES: Final = 120_000_000
# Of a candidate in flight beside its row: id, offset, scores, codes, its part of body and answer.
CANDIDATE_BYTES: Final = 100
# Of a worker that nobody is connected to: graphs, store, metrics, standard streams.
OWN_FILES: Final = 64
# A typical product id, with quotes and comma, and the rest of a body beside ids and query.
ID_BYTES: Final = 16 + 3
BODY_REST_BYTES: Final = 200
UTF8_BYTES: Final = 4


@dataclass(frozen=True, slots=True)
class Machine:
    """CPUs of the quota, bytes of the memory limit, open files of a process."""

    cpus: float
    memory_bytes: int
    open_files: int


@dataclass(frozen=True, slots=True)
class Served:
    """A served student as far as memory goes.

    width: d_p, floats per row
    bundle_bytes: size of its files, about what a worker has of them in memory
    cache_bytes: of the row cache of its live set, when it is full
    """

    width: int
    bundle_bytes: int
    cache_bytes: int


def this_machine(cgroup: Path = CGROUP, meminfo: Path = Path("/proc/meminfo")) -> Machine:
    """What the process that asks may use."""
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return Machine(available_cpus(cgroup), _memory_bytes(cgroup, meminfo), files)


def threads(workers: int, ort_threads: int, cpus: float, whose: str) -> Finding:
    """Whether more threads compute than there are CPUs; `whose` says of which service."""
    wanted = workers * ort_threads
    whole = max(1, int(cpus))
    verdict: Verdict = "fine"
    to_do = ""
    if wanted > max(1.0, cpus):
        verdict = "change"
        to_do = (
            f"set WINNOW_WORKERS={max(1, whole // ort_threads)} and "
            f"WINNOW_ORT_THREADS={min(ort_threads, whole)}, or raise the quota: more threads "
            "than CPUs are throttled in the middle of requests"
        )
    elif wanted < whole:
        verdict, to_do = "note", f"WINNOW_WORKERS={whole // ort_threads} would use all CPUs"
    return Finding(
        f"threads{whose}",
        verdict,
        f"{workers} workers x {ort_threads} ONNX Runtime threads on {cpus:g} CPUs",
        "workers x threads = CPUs of the quota",
        to_do,
    )


def memory(settings: Settings, served: Sequence[Served], machine: Machine) -> Finding:
    """Whether all workers with full caches fit, and a new version's cache beside them."""
    caches = sum(each.cache_bytes for each in served)
    widest = max((each.width for each in served), default=0)
    in_flight = settings.max_inflight_candidates * (2 * widest + CANDIDATE_BYTES)
    bundles = sum(each.bundle_bytes for each in served)
    per_worker = PROCESS_BYTES + bundles + caches + in_flight
    parent = PROCESS_BYTES if settings.workers > 1 else 0
    needed = parent + settings.workers * per_worker
    verdict: Verdict = "fine"
    to_do = ""
    activation = settings.workers * max((each.cache_bytes for each in served), default=0)
    if needed > machine.memory_bytes:
        verdict, to_do = "change", "lower WINNOW_ROW_CACHE_MB or WINNOW_WORKERS, or raise the limit"
    elif needed + activation > machine.memory_bytes:
        verdict = "note"
        to_do = (
            f"activating a version with rows of its own takes {megabytes(activation)} more for "
            "a while: lower WINNOW_ROW_CACHE_MB, or raise the limit before that"
        )
    return Finding(
        "memory",
        verdict,
        f"some {megabytes(needed)} with full caches ({settings.workers} workers x "
        f"{megabytes(per_worker)}), limit {megabytes(machine.memory_bytes)}",
        "workers with full row caches below the memory limit",
        to_do,
    )


def open_files(machine: Machine, connections: int) -> Finding:
    """Whether a worker may hold so many client connections at the same time."""
    room = machine.open_files - OWN_FILES
    unlimited = machine.open_files == resource.RLIM_INFINITY
    return judged(
        "fine" if unlimited or room >= connections else "change",
        "open files",
        "no limit" if unlimited else f"ulimit -n {machine.open_files}: {max(0, room)} connections",
        f"{connections} client connections per worker (--connections)",
        f"raise it to {connections + OWN_FILES} or more (ulimit -n, LimitNOFILE=, --ulimit nofile)",
    )


def body_limit(settings: Settings) -> Finding:
    """Whether the largest request that may come fits into the largest body that may come."""
    needed = (
        settings.max_candidates * ID_BYTES + settings.max_query_chars * UTF8_BYTES + BODY_REST_BYTES
    )
    return judged(
        "fine" if settings.max_body_bytes >= needed else "change",
        "body limit",
        f"WINNOW_MAX_BODY_BYTES={settings.max_body_bytes}",
        f"{needed} or more for {settings.max_candidates} candidates with ids of 16 bytes",
        "raise it, or lower WINNOW_MAX_CANDIDATES: such requests are answered 413",
    )


def in_flight(settings: Settings) -> Finding:
    """Whether each request thread of a worker can have a largest request."""
    at_once = max(1, settings.request_threads) * settings.max_candidates
    return judged(
        "fine" if settings.max_inflight_candidates >= at_once else "note",
        "candidates in flight",
        f"WINNOW_MAX_INFLIGHT_CANDIDATES={settings.max_inflight_candidates} per worker",
        f"{at_once} or more: WINNOW_REQUEST_THREADS requests of WINNOW_MAX_CANDIDATES",
        "raise it: one largest request has others shed while a thread is idle",
    )


def _memory_bytes(cgroup: Path, meminfo: Path) -> int:
    limits = []
    for path in (cgroup / "memory.max", cgroup / "memory" / "memory.limit_in_bytes"):
        # v2, then v1, whose number for no limit is larger than any machine; "max" is no number.
        with suppress(OSError, ValueError):
            limits.append(int(path.read_text()))
    total_kb = next(
        line.split()[1] for line in meminfo.read_text().splitlines() if line.startswith("MemTotal:")
    )
    return min([1024 * int(total_kb), *limits])
