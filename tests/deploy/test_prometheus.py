"""A real Prometheus on a real service: what dashboards, rules and alerts ask has an answer."""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import yaml

from model_store.rollout import Share, set_beside
from service.key_file import add_key
from tests.deploy.conftest import DEPLOY, tool
from tests.deploy.test_rules import PROMETHEUS, WHERE, alerts
from tests.service.conftest import SHOP, Service, free_port, index_shop, start
from tests.service.rollouts import MODEL, three_versions

HAS_DATA_WITHIN_S = 60
DASHBOARDS = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))

# Expressions of alerts end in one comparison, with its threshold or with a budget.
_COMPARISON = re.compile(r"^(.*?)\s(?:>|<|==)\s(?:on \(\) group_left \(\) )?\S+$", re.DOTALL)


@dataclass(frozen=True)
class Prometheus:
    """A running Prometheus."""

    client: httpx.Client

    def ask(self, query: str) -> list[dict[str, Any]]:
        """The series of an instant query, which has to be one."""
        answer = self.client.get("/api/v1/query", params={"query": query})
        assert answer.status_code == 200, f"{query}: {answer.text}"
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result


def _configuration(service: Service) -> dict[str, Any]:
    """The one that is deployed, with this service as the target, and every second."""
    config: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    # As the discovery of Kubernetes labels a pod.
    labels = {"namespace": "winnow", "pod": "winnow-0"}
    targets = {"targets": [f"127.0.0.1:{service.port}"], "labels": labels}
    config["scrape_configs"][0]["static_configs"] = [targets]
    return config


def _load(service: Service, ids: list[str]) -> None:
    """A few requests of every kind; the canary has some of the queries."""
    for number in range(8):
        query = f"red lamp {number}"
        assert service.score(query, [*ids[:50], "nobody"]).status_code == 200
        for sort in ("default", "price", "sale"):
            assert service.filter(query, ids[:50], {"sort": sort}).status_code == 200
    assert service.score("lamp", ids[:1], {"model": "nobody"}).status_code == 404


@pytest.fixture(scope="module")
def prometheus(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Prometheus]:
    """Scrapes a service with two workers, API keys, a canary and a shadow, under a little load."""
    program = tool("prometheus", WHERE)
    folder = tmp_path_factory.mktemp("prometheus")
    index_shop(f"lmdb:{folder / 'rows'}", (MODEL,), folder)
    ids = [line.split(",")[0] for line in (SHOP / "products.csv").read_text().splitlines()[1:]]
    with ExitStack() as stack:
        bundles = three_versions(folder)
        set_beside(bundles, MODEL, "canary", Share(version="2", share=0.5))
        set_beside(bundles, MODEL, "shadow", Share(version="2"))
        key = add_key(folder / "api-keys", "prometheus-test", "2099-12-31")
        settings = {"models": MODEL, "workers": "2", "bundles": str(bundles)}
        settings["api_keys_file"] = str(folder / "api-keys")
        service = start(stack, folder, f"lmdb:{folder / 'rows'}", settings)
        service.client.headers["Authorization"] = f"Bearer {key}"
        service.wait_for("/readyz")
        config = folder / "prometheus.yml"
        config.write_text(yaml.safe_dump(_configuration(service)))
        port = free_port()
        command = [program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log
            )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)
        running = Prometheus(stack.enter_context(client))
        give_up = time.monotonic() + HAS_DATA_WITHIN_S
        while not _has_data(running):
            assert process.poll() is None, (folder / "log").read_text()
            assert time.monotonic() < give_up, "Prometheus has recorded nothing"
            _load(service, ids)
            time.sleep(0.5)
        yield running


def _has_data(prometheus: Prometheus) -> bool:
    """Whether two scrapes with failures in them are there, and every rule was recorded since."""
    failures = 'winnow:degraded_responses:ratio_rate5m{reason="missing_product"} > 0'
    try:
        if prometheus.client.get("/-/ready").status_code != 200:
            return False
    except httpx.TransportError:
        return False  # not listening yet
    return all(prometheus.ask(query) for query in (failures, *dict(recorded())))


def recorded() -> list[tuple[str, str]]:
    """Name and expression of every recording rule."""
    groups = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())["groups"]
    return [(rule["record"], rule["expr"]) for group in groups for rule in group["rules"]]


def asked() -> list[tuple[str, str]]:
    """Panel and query of every dashboard."""
    panels = [
        (f"{path.stem}: {panel['title']}", target["expr"])
        for path in DASHBOARDS
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]
        for target in panel.get("targets", [])
    ]
    assert len(panels) > 30
    return panels


@pytest.mark.parametrize(("name", "expr"), recorded(), ids=lambda text: text[:60])
def test_every_recording_rule_has_data(prometheus: Prometheus, name: str, expr: str) -> None:
    assert prometheus.ask(expr), expr
    assert prometheus.ask(name), name


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_compares_something(prometheus: Prometheus, alert: dict[str, str]) -> None:
    compared = _COMPARISON.match(alert["expr"])
    assert compared is not None, alert["expr"]
    assert prometheus.ask(compared[1]), compared[1]
    # Missing products are what the load has; a machine at its limit may be slow.
    if alert["alert"] not in ("WinnowMissingProducts", "WinnowSlow"):
        assert not prometheus.ask(alert["expr"]), alert["expr"]


@pytest.mark.parametrize(("panel", "query"), asked(), ids=lambda text: text[:60])
def test_every_panel_has_data(prometheus: Prometheus, panel: str, query: str) -> None:
    assert prometheus.ask(query.replace("$__rate_interval", "1m").replace("$instance", ".*")), query


def test_the_variable_of_the_dashboards_has_values(prometheus: Prometheus) -> None:
    answer = prometheus.client.get(
        "/api/v1/label/instance/values", params={"match[]": "winnow_build_info"}
    )
    assert len(answer.json()["data"]) == 1


def test_the_rule_of_the_adapter_has_data(prometheus: Prometheus) -> None:
    """Its templates filled in as prometheus-adapter does for one pod."""
    (rule,) = yaml.safe_load((PROMETHEUS / "adapter.yml").read_text())["rules"]
    query: str = rule["metricsQuery"]
    for template, filled in (
        ("<<.Series>>", rule["name"]["as"]),
        ("<<.LabelMatchers>>", 'namespace="winnow",pod="winnow-0"'),
        ("<<.GroupBy>>", "pod"),
    ):
        assert template in query
        query = query.replace(template, filled)
    assert prometheus.ask(rule["seriesQuery"])
    (series,) = prometheus.ask(query)
    assert series["metric"] == {"pod": "winnow-0"}


def test_no_rule_fails(prometheus: Prometheus) -> None:
    groups = prometheus.client.get("/api/v1/rules").json()["data"]["groups"]
    assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}


def test_dashboards_are_as_their_script_has_them() -> None:
    script = DEPLOY / "grafana" / "dashboards.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_dashboards_read_the_provisioned_source_and_no_panel_overlaps() -> None:
    folder = DEPLOY / "grafana" / "provisioning" / "datasources"
    (source,) = yaml.safe_load((folder / "prometheus.yml").read_text())["datasources"]
    for path in DASHBOARDS:
        board = json.loads(path.read_text(encoding="utf-8"))
        taken: set[tuple[int, int]] = set()
        for panel in board["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24
            taken |= cells
            for target in panel.get("targets", []):
                assert target["datasource"]["uid"] == source["uid"]
        assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
