"""The page of /metrics: what all workers of a service have counted, summed.

With several workers, `winnow serve` points PROMETHEUS_MULTIPROC_DIR at a fresh folder before any of
them starts; each scrape then adds up all workers' files.
"""

import os
from collections.abc import Iterable
from contextlib import suppress
from math import isnan
from pathlib import Path

from prometheus_client import REGISTRY as PROCESS_REGISTRY
from prometheus_client import Metric, generate_latest, multiprocess
from prometheus_client.registry import Collector

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class _Shown:
    """What another collector has, without the gauges that have ended.

    The files of several processes know no removal of a series, so nan stands for one.
    """

    def __init__(self, source: Collector) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        for family in self._source.collect():
            if family.type == "gauge":
                family.samples = [each for each in family.samples if not isnan(each.value)]
            yield family


def exposition() -> bytes:
    """The Prometheus text format, over all live workers and the counters of dead ones."""
    folder = os.environ.get(MULTIPROCESS_VARIABLE)
    if folder is None:
        return generate_latest(_Shown(PROCESS_REGISTRY))
    _forget_dead_workers(Path(folder))
    return generate_latest(_Shown(multiprocess.MultiProcessCollector(None)))  # type: ignore[no-untyped-call]


def _forget_dead_workers(folder: Path) -> None:
    """Drops the live gauges of workers that are gone; counters stay, for they must not fall."""
    for path in folder.glob("gauge_live*_*.db"):
        pid = int(path.stem.rsplit("_", 1)[1])
        if _is_gone(pid):
            with suppress(FileNotFoundError):  # another worker, at the same scrape, was faster
                multiprocess.mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_gone(pid: int) -> bool:
    """Whether a process has ended, be it that its parent hasn't heard of it yet (a zombie)."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return False  # no such files on this system, which knows the process
    return stat.rpartition(b")")[2].split()[0] in (b"Z", b"X")
