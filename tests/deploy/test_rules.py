"""Prometheus's files by promtool: syntax, and unit tests of every alert."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase

from service import metrics
from tests.deploy.conftest import DEPLOY, ROOT, tool

PROMETHEUS = DEPLOY / "prometheus"
UNIT_TESTS = Path(__file__).with_name("alerts_test.yml")
WHERE = "Debian package prometheus: `make system`"


def promtool(*arguments: str) -> None:
    """Runs promtool, which has to be content."""
    command = [tool("promtool", WHERE), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def alerts() -> list[dict[str, str]]:
    """Every alert as written."""
    (group,) = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    rules: list[dict[str, str]] = group["rules"]
    return rules


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", str(PROMETHEUS / "rules.yml"), str(PROMETHEUS / "alerts.yml"))


def test_the_configuration_is_one() -> None:
    promtool("check", "config", str(PROMETHEUS / "prometheus.yml"))


def test_the_kubernetes_scrape_is_one_but_for_its_discovery(tmp_path: Path) -> None:
    """Debian builds Prometheus without the discovery of Kubernetes, so that part is left out."""
    config = yaml.safe_load((PROMETHEUS / "kubernetes.yml").read_text())
    (scrape,) = config["scrape_configs"]
    assert scrape.pop("kubernetes_sd_configs")[0]["role"] == "pod"
    config["rule_files"] = [str(PROMETHEUS / name) for name in config["rule_files"]]
    path = tmp_path / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    promtool("check", "config", str(path))


def test_alerts_fire_when_they_must_and_not_otherwise() -> None:
    promtool("test", "rules", str(UNIT_TESTS))


def test_every_alert_has_a_test_of_both_kinds() -> None:
    fires: set[str] = set()
    keeps_quiet: set[str] = set()
    for case in yaml.safe_load(UNIT_TESTS.read_text())["tests"]:
        for expected in case["alert_rule_test"]:
            kind = fires if expected.get("exp_alerts") else keeps_quiet
            kind.add(expected["alertname"])
    names = {alert["alert"] for alert in alerts()}
    assert fires == names
    assert keeps_quiet == names


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
def test_every_alert_leads_to_its_section_of_the_runbook(alert: dict[str, dict[str, str]]) -> None:
    page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
    path = ROOT / page.rpartition("/blob/main/")[2]
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings}
    assert alert["labels"]["severity"] in ("page", "ticket")


def test_the_metric_reference_names_every_metric_and_no_other() -> None:
    exported = {
        metric._name + ("_total" if metric._type == "counter" else "")
        for metric in vars(metrics).values()
        if isinstance(metric, MetricWrapperBase)
    }
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(winnow_\w+)`", text, re.MULTILINE)) == exported
