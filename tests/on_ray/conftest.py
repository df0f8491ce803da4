"""A Ray cluster of our own on this machine: a head without CPUs, and two workers of one each."""

import os
import signal
from collections.abc import Iterator

import pytest

_NO_RAY = "needs Ray, which has an environment of its own: make test-ray"


@pytest.fixture(scope="session")
def two_workers() -> Iterator[str]:
    """The cluster's address; this process is connected to it while the tests run."""
    ray = pytest.importorskip("ray", reason=_NO_RAY)
    testing = pytest.importorskip("ray.cluster_utils", reason=_NO_RAY)
    cluster = testing.Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(cluster.address, log_to_driver=False)
        yield cluster.address
    finally:
        ray.shutdown()
        cluster.shutdown()


def kill_a_worker() -> int:
    """Kills the process of one of Ray Data's actors, as a machine that fails would; its id."""
    from ray.util.state import list_actors

    actors = list_actors(filters=[("state", "=", "ALIVE")], detail=True)
    pids = [actor.pid for actor in actors if actor.class_name.startswith("MapWorker")]
    assert len(pids) == 2, actors
    os.kill(pids[0], signal.SIGKILL)
    return int(pids[0])


def restarts() -> int:
    """How often Ray has started an actor of Ray Data again."""
    from ray.util.state import list_actors

    return sum(
        int(actor.num_restarts or 0)
        for actor in list_actors(detail=True, limit=1000)
        if actor.class_name.startswith("MapWorker")
    )
