"""Kubernetes: what kustomize builds is valid, locked down, and its parts find each other."""

import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import DEPLOY, tool

OVERLAYS = ("small", "production")
KUBERNETES = DEPLOY / "kubernetes"
Resource = dict[str, Any]


@cache
def _built(overlay: str) -> str:
    folder = str(KUBERNETES / "overlays" / overlay)
    kubectl = tool("kubectl", "its `kubectl kustomize` builds the overlays")
    done = subprocess.run(
        [kubectl, "kustomize", folder], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(overlay: str, kind: str | None = None) -> list[Resource]:
    """What an overlay builds, of one kind."""
    every = [entry for entry in yaml.safe_load_all(_built(overlay)) if entry]
    return [entry for entry in every if kind in (None, entry["kind"])]


def winnow(overlay: str, kind: str) -> Resource:
    """The resource of a kind that is named `winnow`."""
    (found,) = [r for r in resources(overlay, kind) if r["metadata"]["name"] == "winnow"]
    return found


def pod_specs(overlay: str) -> list[Resource]:
    """Specs of all pods that an overlay starts."""
    specs = [r["spec"]["template"] for r in resources(overlay) if "template" in r.get("spec", {})]
    jobs = [r["spec"]["jobTemplate"]["spec"]["template"] for r in resources(overlay, "CronJob")]
    return [template["spec"] for template in specs + jobs]


def _mentioned(folder: Path) -> list[Path]:
    """Files and folders that a kustomization names."""
    told = yaml.safe_load((folder / "kustomization.yaml").read_text())
    names = [*told.get("resources", []), *told.get("components", [])]
    names += [patch["path"] for patch in told.get("patches", [])]
    names += [name for made in told.get("configMapGenerator", []) for name in made.get("files", [])]
    return [folder / name for name in names]


def test_every_file_is_named_by_a_kustomization_and_is_there() -> None:
    """Holds on machines without kustomize too."""
    folders = [path.parent for path in KUBERNETES.rglob("kustomization.yaml")]
    assert len(folders) == 4
    named = {path.resolve() for folder in folders for path in _mentioned(folder)}
    for path in named:
        assert path.exists(), path
    files = {path.resolve() for path in KUBERNETES.rglob("*") if path.is_file()}
    kustomizations = {path for path in files if path.name == "kustomization.yaml"}
    assert files - kustomizations <= named


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_it_is_valid_kubernetes(overlay: str, tmp_path: Path) -> None:
    path = tmp_path / "built.yaml"
    path.write_text(_built(overlay))
    validate = tool("kubernetes-validate", "extra `deploy`")
    done = subprocess.run(
        [validate, "--strict", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_locked_down(overlay: str) -> None:
    for spec in pod_specs(overlay):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        # A service `winnow` would put WINNOW_PORT=tcp://... among the settings.
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"] + spec.get("initContainers", []):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["allowPrivilegeEscalation"] is False
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= set(container["resources"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_of_the_deployment_and_no_others(overlay: str) -> None:
    labels = winnow(overlay, "Deployment")["spec"]["template"]["metadata"]["labels"]
    mine = {"app.kubernetes.io/name": "winnow"}
    assert mine.items() <= labels.items()
    assert winnow(overlay, "Deployment")["spec"]["selector"]["matchLabels"] == mine
    assert winnow(overlay, "Service")["spec"]["selector"] == mine
    assert winnow(overlay, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == mine
    network = winnow(overlay, "NetworkPolicy")["spec"]
    assert network["podSelector"]["matchLabels"] == mine
    (clients, _) = network["ingress"][0]["from"]
    assert clients["podSelector"]["matchLabels"] == {"winnow/client": "true"}
    target = winnow(overlay, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", "winnow")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_pod_waits_for_its_rows_with_the_settings_it_serves_with(overlay: str) -> None:
    spec = winnow(overlay, "Deployment")["spec"]["template"]["spec"]
    (waits,), (serves,) = spec["initContainers"], spec["containers"]
    assert waits["args"][:2] == ["sets", "wait"]
    assert waits["envFrom"] == serves["envFrom"]
    assert waits["image"] == serves["image"]
    (config, secret) = serves["envFrom"]
    made = {r["metadata"]["name"] for r in resources(overlay, "ConfigMap")}
    assert config["configMapRef"]["name"] in made
    secrets = {r["metadata"]["name"] for r in resources(overlay, "Secret")}
    # Production's secret is no file: it is made by hand.
    assert secret["secretRef"]["name"] in (secrets or {"winnow-store"})


def test_production_takes_its_api_keys_from_a_secret_that_it_follows() -> None:
    spec = winnow("production", "Deployment")["spec"]["template"]["spec"]
    (mount,) = [m for m in spec["containers"][0]["volumeMounts"] if m["name"] == "api-keys"]
    assert mount["readOnly"] is True
    assert "subPath" not in mount  # such a file would never change
    (volume,) = [v for v in spec["volumes"] if v["name"] == "api-keys"]
    assert volume["secret"] == {"secretName": "winnow-api-keys"}
    (config,) = [r["data"] for r in resources("production", "ConfigMap") if "winnow" in str(r)]
    assert config["WINNOW_API_KEYS_FILE"] == f"{mount['mountPath']}/api-keys"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_allow_for_loading_and_ask_the_right_questions(overlay: str) -> None:
    (serves,) = winnow(overlay, "Deployment")["spec"]["template"]["spec"]["containers"]
    asked = {name: serves[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness")}
    assert asked == {"startup": "/healthz", "liveness": "/healthz"}
    assert serves["readinessProbe"]["httpGet"]["path"] == "/readyz"
    startup = serves["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 60


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_autoscaler_asks_for_what_the_adapter_makes(overlay: str) -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "adapter.yml").read_text())["rules"]
    (metric,) = winnow(overlay, "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in {rule["name"]["as"] for rule in rules}
