"""compose.yaml: Docker Compose accepts it, its files are there, and each part is locked down."""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from service.settings import PREFIX, Settings
from tests.deploy.conftest import DEPLOY, ROOT, tool
from tests.service.conftest import free_port

COMPOSE = DEPLOY / "compose.yaml"
REDIS_CONF = DEPLOY / "kubernetes" / "redis" / "redis.conf"


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """The services as written."""
    parts: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return parts


def test_docker_compose_accepts_it() -> None:
    compose = tool("docker-compose", "extra `deploy`")
    command = [compose, "-f", str(COMPOSE), "config", "--format", "json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["services"]) == {
        *("redis", "index", "winnow", "prometheus", "grafana")
    }


def test_every_service_is_locked_down_and_limited(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert {"cpus", "memory"} == set(service["deploy"]["resources"]["limits"]), name
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), f"{name} is open to the network"


def test_files_and_settings_exist(services: dict[str, dict[str, Any]]) -> None:
    settings = {PREFIX + name.upper() for name in Settings.model_fields}
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (DEPLOY / source).exists(), f"{name}: {source}"
        if service["image"].startswith("winnow"):
            assert set(service["environment"]) <= settings
            assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
    assert (DEPLOY / services["index"]["build"]["context"]).resolve() == ROOT
    assert (ROOT / services["index"]["build"]["dockerfile"]).is_file()


def test_api_keys_come_from_a_secret() -> None:
    added = yaml.safe_load((DEPLOY / "compose.keys.yaml").read_text())
    (secret,) = added["secrets"]
    assert added["services"]["winnow"]["secrets"] == [secret]
    assert added["services"]["winnow"]["environment"] == {
        f"{PREFIX}API_KEYS_FILE": f"/run/secrets/{secret}"
    }
    assert "api_keys_file" in Settings.model_fields


def test_whoever_waits_for_health_waits_for_a_healthcheck(
    services: dict[str, dict[str, Any]],
) -> None:
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            if how["condition"] == "service_healthy":
                assert "test" in services[other]["healthcheck"], other


def test_prometheus_and_grafana_look_where_the_files_are(
    services: dict[str, dict[str, Any]],
) -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (target,) = config["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.partition(":")[0] in services
    mounted = {volume.split(":")[1] for volume in services["prometheus"]["volumes"]}
    for name in config["rule_files"]:
        assert f"/etc/prometheus/{name}" in mounted
    provisioning = DEPLOY / "grafana" / "provisioning"
    source = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    boards = yaml.safe_load((provisioning / "dashboards" / "winnow.yml").read_text())
    folder = boards["providers"][0]["options"]["path"]
    assert f"./grafana/dashboards:{folder}:ro" in services["grafana"]["volumes"]


def test_a_real_redis_takes_its_configuration(tmp_path: Path) -> None:
    server = tool("redis-server", "`make system`")
    port = free_port()
    command = [server, str(REDIS_CONF), "--dir", str(tmp_path), "--port", str(port)]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--bind", "127.0.0.1"], stdout=log, stderr=log)
    try:
        client = redis.Redis(port=port)
        assert _answers(client), (tmp_path / "log").read_text()
        client.set("row", b"1")
        for name, value in (
            ("maxmemory-policy", "noeviction"),
            ("appendonly", "yes"),
            ("maxmemory", str(2 * 2**30)),
        ):
            assert client.config_get(name) == {name: value}
        client.close()
    finally:
        process.kill()
        process.wait()
    assert any(tmp_path.rglob("*.aof"))


def _answers(client: redis.Redis) -> bool:
    give_up = time.monotonic() + 20
    while time.monotonic() < give_up:
        try:
            return bool(client.ping())
        except redis.RedisError:
            time.sleep(0.02)
    return False
