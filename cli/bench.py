"""`winnow bench`: a request beside its bare parts on this machine, and settings tuned to it."""

import os
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bench.errors import BenchError
from cli.completion import student_names
from cli.console import answer, say, show
from cli.options import Json
from cli.progress import progress_bar

if TYPE_CHECKING:
    from bench.bare_store import BareStore
    from bench.host import Facts
    from bench.rounds import Plan
    from bench.subject import Subject
    from bench.tune import Tuned


def bench(
    queries: Annotated[Path, typer.Option(help="queries, one per line, or a CSV file's `query`")],
    store: Annotated[
        str | None, typer.Option(help="lmdb:PATH, redis://HOST:PORT/DB, rediss://..., unix://...")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="student to measure", autocompletion=student_names)
    ] = None,
    bundles: Annotated[Path | None, typer.Option(help="folder of published bundles")] = None,
    candidates: Annotated[int, typer.Option(min=1, help="candidates of a request")] = 1000,
    requests: Annotated[int, typer.Option(min=1, help="of each kind, per round")] = 500,
    warmup: Annotated[int, typer.Option(min=1, help="requests before the first round")] = 50,
    rounds: Annotated[int, typer.Option(min=1, help="figures are medians over them")] = 3,
    seed: Annotated[int, typer.Option(help="of everything that is drawn")] = 7,
    url: Annotated[
        str | None,
        typer.Option(
            help="service on this machine to measure as it runs; one of one worker is started "
            "otherwise, and one with caches off in any case"
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="PNG of the stages; needs matplotlib")] = None,
    tune: Annotated[bool, typer.Option("--tune", help="try settings instead")] = False,
    as_json: Json = False,
) -> None:
    """Measure whole requests beside their bare parts: query encode, one blocking read, head.

    Takes about two minutes. WINNOW_* variables hold for the services that are started, so that
    settings can be compared. An answer that is not fully scored ends the run without figures.
    """
    from bench.bare_store import open_bare_store
    from bench.subject import open_subject
    from service.settings import read_settings

    if plot is not None:
        _check_plot(plot)
    given = {"STORE": store, "MODELS": model, "BUNDLES": bundles}
    os.environ.update({f"WINNOW_{name}": str(value) for name, value in given.items() if value})
    subject = open_subject(read_settings(), queries, candidates)
    plan = _plan(subject, candidates, requests, warmup, rounds, seed)
    bare = open_bare_store(subject.settings.store, subject.header)
    try:
        if tune:
            _tune(subject, bare, plan, as_json)
        else:
            _measure(subject, bare, plan, url, plot, as_json)
    finally:
        bare.close()


def _check_plot(path: Path) -> None:
    """Before minutes of measuring, not after."""
    if find_spec("matplotlib") is None:
        raise BenchError("--plot needs matplotlib: pip install 'winnow-relevance[plot]'")
    if not path.resolve().parent.is_dir():
        raise BenchError(f"--plot {path}: expected a file in a folder that is there")


def _plan(
    subject: "Subject", candidates: int, requests: int, warmup: int, rounds: int, seed: int
) -> "Plan":
    from bench.rounds import LONG, Plan

    most = min(len(subject.ids), subject.settings.max_candidates)
    long = candidates * LONG <= most
    if not long:
        say(f"no lists of {candidates * LONG:,} candidates: {most:,} are possible here")
    return Plan(candidates, requests, warmup, rounds, seed, long)


def _measure(
    subject: "Subject",
    bare: "BareStore",
    plan: "Plan",
    url: str | None,
    plot: Path | None,
    as_json: bool,
) -> None:
    from bench.floor import Floor
    from bench.host import host_facts, service_facts
    from bench.report import SHOWN, bars, document, ratio_rows, stage_rows
    from bench.rounds import measure
    from bench.whole import services

    floor = Floor(subject, bare)
    say("starting the services ...")
    with services(subject, url) as (warm, cold), progress_bar() as report:
        rounds = measure(subject, floor, warm, cold, plan, report)
    host, service = host_facts(bare), service_facts(warm)
    _say_facts(subject, plan, host)
    say(f"service: {_listed(service)}; beside it: head {floor.head_precision} on ONNX Runtime")
    show("ms, p50 / p99: medians of the rounds (least-greatest)", ("", *SHOWN), stage_rows(rounds))
    show("ratios, of p50 unless said", ("", "ratio"), ratio_rows(rounds, plan))
    if plot is not None:
        from loadtest.plots import stacked_bars  # matplotlib is optional

        stacked_bars(plot, bars(rounds), "mean of each stage, ms")
        say(f"plot: {plot}")
    if as_json:
        facts = {"host": host, "service": service, "bare_head": floor.head_precision}
        answer({**_what(subject, plan), **facts, **document(rounds, plan)})


def _tune(subject: "Subject", bare: "BareStore", plan: "Plan", as_json: bool) -> None:
    from bench.floor import Floor
    from bench.host import host_facts
    from bench.report import spread
    from bench.tune import tune

    with progress_bar() as report:
        tables = tune(subject, Floor(subject, bare), plan, report)
    host = host_facts(bare)
    _say_facts(subject, plan, host)
    for table in tables:
        show(f"{table.setting}: {table.what}", ("value", "ms", "/ now", ""), _tune_rows(table))
    settings = {table.setting: table for table in tables if table.allowed}
    if not as_json:
        for name, table in settings.items():
            kept = table.best == table.now
            typer.echo(f"# keep {name}={table.now}" if kept else f"{name}={table.best}")
        return
    answer(
        {
            **_what(subject, plan),
            "host": host,
            "settings": {
                name: {"now": table.now, "use": table.best} for name, table in settings.items()
            },
            "tables": [
                {
                    "setting": table.setting,
                    "what": table.what,
                    "ms": {str(value): spread(ms) for value, ms in table.ms.items()},
                }
                for table in tables
            ],
        }
    )


def _say_facts(subject: "Subject", plan: "Plan", host: "Facts") -> None:
    say(
        f"{subject.name} {subject.student.manifest.version}: {plan.candidates:,} candidates of "
        f"{len(subject.ids):,} products, {plan.rounds} rounds of {plan.requests:,} requests"
    )
    say(_listed(host))


def _listed(facts: "Facts") -> str:
    return ", ".join(
        f"{name} {f'{value:g}' if isinstance(value, float) else value}"
        for name, value in facts.items()
        if value is not None
    )


def _tune_rows(table: "Tuned") -> Sequence[Sequence[object]]:
    from loadtest.figures import median_spread

    def remark(value: int) -> str:
        if value == table.now:
            return "now"
        if value == table.best:
            return "use"
        return "" if value in table.allowed or not table.allowed else "with fewer workers"

    return [
        (value, median_spread(ms), median_spread(table.against_now(value)), remark(value))
        for value, ms in table.ms.items()
    ]


def _what(subject: "Subject", plan: "Plan") -> dict[str, object]:
    return {
        "model": subject.name,
        "version": subject.student.manifest.version,
        "vector_set": subject.header.set_id,
        "products": len(subject.ids),
        "candidates": plan.candidates,
        "requests": plan.requests,
        "rounds": plan.rounds,
        "seed": plan.seed,
    }
