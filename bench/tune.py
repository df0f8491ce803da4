"""Settings measured on this machine: rows per head tile, ONNX Runtime threads.

Every value is tried in turn in every pass, on the rows of one list of candidates, in this process.
A change is recommended where it is more than 5 % faster in every round.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

from bench.floor import Floor
from bench.rounds import Plan, Report
from bench.subject import Subject
from model_store.manifest import Precision
from model_store.student import OnnxStudent
from service.cpus import available_cpus

_TILES = (64, 128, 256, 512, 1024, 2048, 4096)
_THREADS = (1, 2, 4, 8, 16, 32, 64)
GAIN = 0.05  # less is lost in the next run's noise
PASSES_SHARE = 5  # a pass tries every value: a fifth of the requests is enough

# Milliseconds of what one value takes in one pass, by what was timed.
Trial = Callable[[int], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Tuned:
    """One table: milliseconds per round of every value of one setting.

    setting: the WINNOW_* variable; what: what was timed; now: the value in force; allowed: the
    values that may be recommended, none where the table is there to compare with.
    """

    setting: str
    what: str
    now: int
    allowed: Sequence[int]
    ms: Mapping[int, list[float]]

    def against_now(self, value: int) -> list[float]:
        """Time with this value over that with the one in force, in each round."""
        pairs = zip(self.ms[value], self.ms[self.now], strict=True)
        return [ms / now_ms for ms, now_ms in pairs]

    @property
    def best(self) -> int:
        """The value to use: the one in force unless another is clearly faster."""
        gains = {
            value: median(self.against_now(value))
            for value in self.allowed
            if max(self.against_now(value)) < 1 - GAIN
        }
        return min(gains, key=gains.__getitem__, default=self.now)


def tune(subject: Subject, floor: Floor, plan: Plan, report: Report) -> list[Tuned]:
    """Tables; where a setting has several, only the first of them recommends.

    Raises:
        ModelStoreError: a graph of the bundle does not run.
    """
    q, P = floor.encode(subject.queries[0]), floor.rows(subject.ids[: plan.candidates])
    load = _Loader(subject, floor.head_precision)

    def tile_trial(tile: int) -> Trial:
        students = load.heads(threads=1, tile=tile)
        return lambda _: {
            what: _ms(partial(student.score, q, P)) for what, student in students.items()
        }

    def threads_trial(threads: int) -> Trial:
        heads = load.heads(threads=threads, tile=subject.settings.head_tile)
        served = next(iter(heads.values()))

        def trial(turn: int) -> dict[str, float]:
            text = subject.queries[turn % len(subject.queries)]
            query = _ms(partial(served.encode_query, text))
            alone = {what: _ms(partial(head.score, q, P)) for what, head in heads.items()}
            return {
                "query row + head": query + next(iter(alone.values())),
                "query row": query,
                **alone,
            }

        return trial

    tile, threads = subject.settings.head_tile, subject.settings.ort_threads
    cpus, workers = available_cpus(), subject.settings.workers
    return [
        *_tables("WINNOW_HEAD_TILE", tile, _TILES, _TILES, tile_trial, plan, report),
        *_tables(
            "WINNOW_ORT_THREADS",
            threads,
            [count for count in _THREADS if count <= cpus],
            [count for count in _THREADS if count * workers <= cpus],
            threads_trial,
            plan,
            report,
        ),
    ]


class _Loader:
    """Opens the student again with other settings: its own head first, then ONNX Runtime's."""

    def __init__(self, subject: Subject, reference: Precision) -> None:
        self._folder, self._precision = subject.folder, subject.settings.precision
        self._own = subject.student.run["head"]
        self._reference = reference

    def heads(self, threads: int, tile: int) -> dict[str, OnnxStudent]:
        own = OnnxStudent.load(self._folder, threads=threads, tile=tile, precision=self._precision)
        if self._own != "native":
            return {f"{self._own} head": own}
        reference = OnnxStudent.load(
            self._folder, threads=threads, tile=tile, precision=self._reference
        )
        return {"native head": own, f"{self._reference} head": reference}


def _tables(
    setting: str,
    now: int,
    values: Sequence[int],
    allowed: Sequence[int],
    trial: Callable[[int], Trial],
    plan: Plan,
    report: Report,
) -> list[Tuned]:
    trials = {value: trial(value) for value in sorted({now, *values})}
    p50s: dict[str, dict[int, list[float]]] = {}
    passes = max(5, plan.requests // PASSES_SHARE)
    for round_ in range(plan.rounds):
        timed: dict[tuple[str, int], list[float]] = {}
        for turn in range(passes):
            for value, try_value in trials.items():
                for what, ms in try_value(turn).items():
                    timed.setdefault((what, value), []).append(ms)
            report(setting, round_ * passes + turn + 1, plan.rounds * passes)
        for (what, value), samples in timed.items():
            p50s.setdefault(what, {}).setdefault(value, []).append(median(samples))
    return [
        Tuned(setting, what, now, allowed if position == 0 else (), ms)
        for position, (what, ms) in enumerate(p50s.items())
    ]


def _ms(work: Callable[[], object]) -> float:
    started = perf_counter()
    work()
    return (perf_counter() - started) * 1e3
