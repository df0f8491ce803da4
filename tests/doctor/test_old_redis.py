"""The oldest Redis that is supported, and one whose owner has taken commands away."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import redis

from doctor.redis_server import Expected, server_findings
from tests.conftest import RedisServer

EXPECTED = Expected("here", room_bytes=1_000_000, row_cache=True)


def test_the_doctor_on_redis_six(redis_six: RedisServer) -> None:
    with redis.Redis(port=redis_six.port, decode_responses=True) as client:
        findings = {f.check: f for f in server_findings(client, EXPECTED)}
    assert {f.verdict for f in findings.values()} == {"fine"}, findings
    assert findings["version of here"].found.startswith("Redis 6.2")


@pytest.mark.parametrize("command", ["CONFIG", "INFO", "TIME"])
def test_a_command_that_does_not_exist(command: str) -> None:
    """As with managed Redis: what can't be asked is a note, and everything else is looked at."""
    with TemporaryDirectory(prefix="winnow-redis-") as folder:
        server = RedisServer(Path(folder))
        server.start("--rename-command", command, "")
        try:
            with redis.Redis(port=server.port, decode_responses=True) as client:
                findings = server_findings(client, EXPECTED)
        finally:
            server.stop()
    unknown = [f for f in findings if f.found.startswith("unknown: ")]
    assert unknown
    assert {f.verdict for f in unknown} == {"note"}
    assert all(command in f.found for f in unknown)
    assert len(findings) == 7
