"""No telemetry: a service that answers from LMDB talks to nobody but those who asked it."""

import psutil

from tests.service.conftest import Service, StartService


def others(service: Service) -> set[str]:
    """Connections of all its processes that are not to its own port."""
    process = psutil.Process(service.process.pid)
    found = [
        connection
        for each in (process, *process.children(recursive=True))
        for connection in each.net_connections(kind="inet")
    ]
    assert any(each.status == psutil.CONN_LISTEN for each in found)  # they can be seen
    return {
        f"{each.laddr} {each.raddr}"
        for each in found
        if each.laddr and each.laddr.port != service.port
    }


def test_it_opens_no_connection(
    lmdb_store: str, start_service: StartService, ids: list[str]
) -> None:
    service = start_service(lmdb_store, {"models": "shop-deepdot"})
    service.wait_for("/readyz")
    assert others(service) == set()  # nothing from starting
    assert service.score("silk scarf", ids[:50]).status_code == 200
    assert service.client.get("/metrics").status_code == 200
    assert others(service) == set()
