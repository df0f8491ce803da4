"""The master behind Sentinel: found, lost, and found again where it has gone."""

from collections.abc import Callable
from functools import partial

import pytest
import redis

from tests.sentinel import Sentinels, wait_for
from tests.vector_store.test_redis_tracking import Recorder
from vector_store.errors import StoreUnavailable
from vector_store.header import SetHeader
from vector_store.ids import ProductIds
from vector_store.open import open_store
from vector_store.protocol import VectorStore
from vector_store.rows import FOUND

HeaderOf = Callable[..., SetHeader]
RecordsOf = Callable[..., list[bytes]]
TIMEOUT_MS = 5000
IDS = [f"p{i}" for i in range(100)]


def test_rows_are_there_after_a_failover_and_new_ones_can_be_written(
    sentinels: Sentinels, header_of: HeaderOf, records_of: RecordsOf
) -> None:
    store = open_store(sentinels.url, timeout_ms=TIMEOUT_MS)
    store.put_header(header_of())
    store.insert(header_of(), IDS, records_of(100), b"100")
    recorder = Recorder()
    watch = store.watch(header_of(), recorder)
    recorder.wait_for("ready")
    wait_for(partial(_replicated, sentinels))
    lost = sentinels.master
    lost.stop()
    with pytest.raises(StoreUnavailable, match=r"cannot be reached|has no master that"):
        store.fetch(header_of(), ProductIds.from_strings(IDS))
    recorder.wait_for("lost")
    wait_for(lambda: _answers(store, header_of()))
    assert sentinels.master is not lost
    rows = store.fetch(header_of(), ProductIds.from_strings(IDS))
    assert (rows.status == FOUND).all()
    assert rows.values[:, 0].tolist() == list(range(100))
    assert store.insert(header_of(), ["new"], records_of(1), b"101") == [True]
    wait_for(lambda: recorder.told.count("ready") >= 2)  # watched at the new master
    lost.start()  # it comes back as a replica, and nobody writes to it
    assert store.get(header_of(), ["new"]) == records_of(1)
    watch.close()
    store.close()


def test_sentinels_that_are_wrong_or_lost(sentinels: Sentinels) -> None:
    store = open_store(sentinels.url.replace("/shop/", "/shoop/"), timeout_ms=TIMEOUT_MS)
    with pytest.raises(StoreUnavailable, match=r"compare the service .*'shoop'\)$"):
        store.ping()
    store.close()
    one_is_down = sentinels.url.replace("redis+sentinel://", "redis+sentinel://127.0.0.1:1,")
    store = open_store(one_is_down, timeout_ms=TIMEOUT_MS)
    store.ping()
    sentinels.stop_sentinels()
    store.ping()  # the connection that stands needs none
    store.close()
    with pytest.raises(StoreUnavailable, match="has no master that a Sentinel knows"):
        store.ping()


def _replicated(sentinels: Sentinels) -> bool:
    """Whether the replica has all that was written; what it has not, a failover loses."""
    with redis.Redis(port=sentinels.master.port) as client:
        state = client.info("replication")
    return bool(state["slave0"]["offset"] == state["master_repl_offset"])


def _answers(store: VectorStore, header: SetHeader) -> bool:
    try:
        store.fetch(header, ProductIds.from_strings(IDS[:1]))
    except StoreUnavailable:
        return False
    return True
