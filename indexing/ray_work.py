"""Work on a Ray cluster: a model's folder goes to every worker, rows go out and come back in order.

Needs the extra `ray`. A worker that dies is replaced and its rows are done again: Ray Data's
default for actors. Nothing is read or written on the workers' disks but the model's copy, so the
machines need no shared folder, only this project in the same version.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from indexing.errors import RayFailed, RayUnavailable

RayRow = Mapping[str, Any]  # a row of Ray Data: values that Arrow can hold, by name
Work = Callable[[RayRow], RayRow]
OpenWork = Callable[[Path], Work]  # the model's folder -> what is done with a row


@dataclass(frozen=True)
class RayCluster:
    """A cluster this process is connected to; made by `ray_cluster`.

    workers: processes that work is spread over
    cpus, gpus: of each worker
    """

    workers: int
    cpus: int
    gpus: int

    def map(
        self, rows: Iterator[RayRow], folder: Path, open_work: OpenWork, rows_per_worker: int
    ) -> Iterator[RayRow]:
        """What the work makes of each row, in the order of the rows.

        Args:
            rows: taken `rows_per_worker` for each worker at a time, which bounds the memory here.
            folder: the model's; every worker gets a copy.
            open_work: loads the model, once per worker and turn; goes to the workers by its name.
            rows_per_worker: of one turn. Workers start anew with each: take minutes of work.

        Raises:
            RayFailed: the work raised an error; the text has it.
        """
        import ray  # noqa: PLC0415 (the extra `ray` is optional)
        import ray.data  # noqa: PLC0415

        files = ray.put(
            {
                str(path.relative_to(folder)): path.read_bytes()
                for path in sorted(folder.rglob("*"))
                if path.is_file()
            }
        )
        while turn := list(islice(rows, rows_per_worker * self.workers)):
            # One row per block: a row is what a worker takes, and what is done again if it dies.
            done = ray.data.from_items(turn, override_num_blocks=len(turn)).map(
                _Worker,
                fn_constructor_args=((files,), open_work),
                compute=ray.data.ActorPoolStrategy(size=min(self.workers, len(turn))),
                num_cpus=self.cpus,
                num_gpus=self.gpus or None,
            )
            try:
                yield from done.iter_rows()
            except ray.exceptions.RayError as error:
                raise RayFailed(f"the work on Ray failed: {_reason(error)}") from error


@contextmanager
def ray_cluster(
    address: str, workers: int | None = None, cpus: int = 1, gpus: int = 0
) -> Iterator[RayCluster]:
    """Connects to a cluster, or to nothing new where this process is connected already.

    Args:
        address: of the cluster's head ("host:6379"), "auto" for the one this machine is part of,
            or "local" for one that is started here and ends with the work.
        workers: processes; None for as many as there is room for.
        cpus: of each worker.
        gpus: of each worker.

    Raises:
        RayUnavailable: Ray is not installed, there is no such cluster, or it is too small.
    """
    if cpus < 1 or (workers is not None and workers < 1):
        raise RayUnavailable(f"expected at least one worker of one CPU, got {workers} of {cpus}")
    try:
        import ray  # noqa: PLC0415
        import ray.data  # noqa: PLC0415
    except ImportError as error:
        raise RayUnavailable(
            f"--ray needs Ray ({error}): pip install 'winnow-relevance[ray]'"
        ) from error
    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(address, log_to_driver=False, logging_level=logging.WARNING)
        except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
            raise RayUnavailable(f"no Ray cluster at {address!r}: {error}") from error
    try:
        _set_up()
        yield RayCluster(workers or _room(cpus, gpus), cpus, gpus)
    finally:
        if ours:
            ray.shutdown()


def _set_up() -> None:
    """Quiet work, whose results come in order."""
    import ray.data  # noqa: PLC0415

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.execution_options.preserve_order = True
    context.raise_original_map_exception = True  # so that `_reason` finds it
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # errors are raised and told


def _room(cpus: int, gpus: int) -> int:
    """How many workers fit."""
    import ray  # noqa: PLC0415

    has = ray.cluster_resources()
    found = {"CPU": int(has.get("CPU", 0)), "GPU": int(has.get("GPU", 0))}
    workers = min(found[name] // each for name, each in (("CPU", cpus), ("GPU", gpus)) if each)
    if not workers:
        raise RayUnavailable(
            f"expected room for a worker of {cpus} CPUs and {gpus} GPUs, but the cluster has "
            f"{found['CPU']} and {found['GPU']} in all"
        )
    return workers


class _Worker:
    """Lives in a worker's process: the model, loaded from its copy of the folder."""

    def __init__(self, files: tuple[Any], open_work: OpenWork) -> None:
        # In a tuple, the files come as a reference: as an argument of their own they would have to
        # be there still whenever Ray starts the worker again.
        self._files = files
        self._open_work = open_work
        self._folder = TemporaryDirectory(prefix="winnow-")
        self._work: Work | None = None

    def __call__(self, row: RayRow) -> RayRow:
        if self._work is None:  # not in __init__, whose errors Ray tells as a trace of its own
            self._work = self._open()
        return self._work(row)

    def _open(self) -> Work:
        import ray  # noqa: PLC0415

        for name, content in ray.get(self._files[0]).items():
            path = Path(self._folder.name) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return self._open_work(Path(self._folder.name))


def _reason(error: BaseException) -> str:
    """The error that the work itself raised, without Ray's account of how it travelled."""
    while (inner := getattr(error, "cause", None) or error.__cause__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"
