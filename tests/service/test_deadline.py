"""One deadline per request: it strikes by the clock or when nobody waits any more."""

from time import perf_counter

import numpy as np
import pytest

from model_store.student import OnnxStudent
from service.deadline import Deadline


def test_it_strikes_once_its_time_is_over() -> None:
    assert Deadline(perf_counter() - 1.0, deadline_ms=900).expired()
    assert not Deadline(perf_counter(), deadline_ms=60_000).expired()
    assert Deadline(perf_counter() - 1.0, deadline_ms=900).remaining_s() == 0.0


def test_a_client_that_has_gone_ends_it_at_once() -> None:
    deadline = Deadline(perf_counter(), deadline_ms=60_000)
    assert 0.0 < deadline.remaining_s() <= 60.0
    deadline.cancel()
    assert deadline.expired()
    assert deadline.remaining_s() == 0.0


@pytest.mark.parametrize("tiles_in_time", [0, 1, 2])
def test_the_head_stops_between_tiles(students: dict[str, OnnxStudent], tiles_in_time: int) -> None:
    student = students["shop-bert2dnn"]
    q, P = student.encode_query("tent"), np.zeros((3 * 512, student.manifest.d_p), np.float16)
    asked = iter([False] * tiles_in_time + [True] * 3)
    scores = student.score(q, P, lambda: next(asked))
    assert np.isnan(scores).tolist() == [False] * 512 * tiles_in_time + [True] * 512 * (
        3 - tiles_in_time
    )
