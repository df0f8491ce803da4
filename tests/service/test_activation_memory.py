"""What many changes of version leave behind in a worker."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import perf_counter

from loadtest.commands import memory_mb
from model_store.rollout import Rollout
from service.deadline import Deadline
from service.plan import Plan
from service.scoring import score
from service.serving import Serving, active_plan
from service.settings import Settings
from tests.service.rollouts import MODEL, three_versions
from vector_store.ids import ProductIds
from vector_store.open import open_store

SETTLED, CHANGES = 10, 50
MOST_GROWTH = 1.05


def test_memory_does_not_grow_with_every_change(cheap_store: str, tmp_path: Path) -> None:
    """Versions 1 and 2 hand their query rows on; no row may keep the session that encoded it."""
    settings = Settings(store=cheap_store, models=(MODEL,), bundles=three_versions(tmp_path))
    store = open_store(cheap_store, read_only=True, timeout_ms=20_000)
    ids = ProductIds.from_strings(["p0001"])
    memory = []
    with ThreadPoolExecutor(1) as fetcher:
        serving = Serving(settings, store, fetcher)
        serving.load(active_plan(settings, 1))
        for change in range(CHANGES):
            version = "2" if change % 2 == 0 else "1"
            plan = Plan(number=change + 2, models={MODEL: Rollout(version=version)})
            serving.commit(serving.prepare(plan))
            serving.refresh()
            scorer = serving.model(None).slot.ready_scorer()
            for place in range(5):
                score(scorer, f"lamp {change} {place}", ids, Deadline(perf_counter(), 20_000))
            memory.append(memory_mb(os.getpid())["anonymous"])
        serving.close()
    store.close()
    assert memory[-1] < MOST_GROWTH * memory[SETTLED]
