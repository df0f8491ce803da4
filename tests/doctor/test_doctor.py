"""`winnow doctor` on real deployments: sound ones, broken ones, and one that serves."""

import json
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis

from model_store.registry import DEFAULT_ROOT, bundle_folder
from tests.command import winnow
from tests.conftest import RedisServer
from tests.service.conftest import index_shop, start

MODEL = "shop-deepdot"
OTHER = "shop-bert2dnn"
Findings = dict[str, dict[str, str]]


def examined(*arguments: str | Path, bundles: Path | None = None) -> tuple[int, Findings]:
    """Exit code, and findings by their check."""
    done = winnow("doctor", "--json", "--models", MODEL, *arguments, bundles=bundles)
    report: dict[str, Any] = json.loads(done.stdout)
    changes = [each for each in report["findings"] if each["verdict"] == "change"]
    assert report["to_change"] == len(changes)
    assert bool(changes) == (done.returncode == 1)
    return done.returncode, {each["check"]: each for each in report["findings"]}


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of an LMDB store with the live set of one student."""
    folder = tmp_path_factory.mktemp("doctor")
    index_shop(f"lmdb:{folder / 'rows'}", (MODEL,), folder)
    return f"lmdb:{folder / 'rows'}"


def test_a_sound_deployment_and_the_service_that_runs_it(indexed: str, tmp_path: Path) -> None:
    with ExitStack() as stack:
        service = start(stack, tmp_path, indexed, {"models": MODEL})
        service.wait_for("/readyz")
        code, findings = examined("--store", indexed, "--workers", "1", "--url", service.url)
        assert code == 0, findings
        live = findings[f"vector set of {MODEL}"]["found"].partition(":")[0]
        assert findings[f"{MODEL} of the service"]["found"].endswith(f"ready, vector set {live}")
        assert findings["service"]["verdict"] == "fine"
    code, findings = examined("--store", indexed, "--url", service.url)  # stopped by now
    assert code == 1
    assert findings["service"]["verdict"] == "change"


def test_a_service_with_another_version_than_the_registry(indexed: str, tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_ROOT / MODEL, tmp_path / "bundles" / MODEL)
    registry = tmp_path / "bundles"
    with ExitStack() as stack:
        service = start(stack, tmp_path, indexed, {"models": MODEL})
        service.wait_for("/readyz")
        (registry / MODEL / "current").write_text("7\n")
        code, findings = examined("--store", indexed, "--url", service.url, bundles=registry)
    assert code == 1
    assert "no version '7'" in findings[f"bundle of {MODEL}"]["found"]
    finding = findings[f"{MODEL} of the service"]
    assert (finding["verdict"], finding["expected"].partition(",")[0]) == ("change", "version 7")


def test_redis_as_tests_start_it_loses_its_rows_and_says_so(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    index_shop(redis_server.url, (MODEL,), tmp_path)
    with redis.Redis(port=redis_server.port) as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
    code, findings = examined("--store", redis_server.url)
    place = f"127.0.0.1:{redis_server.port}"
    assert code == 1
    changes = {check for check, each in findings.items() if each["verdict"] == "change"}
    assert changes == {f"eviction of {place}", f"persistence of {place}"}
    shown = winnow("doctor", "--models", MODEL, "--store", redis_server.url)
    assert shown.stdout == ""
    assert "allkeys-lfu" in shown.stderr
    assert "2 to change" in shown.stderr


def test_a_set_of_another_student_is_not_this_ones(redis_url: str, tmp_path: Path) -> None:
    store = f"{redis_url}?ns=doctor"
    index_shop(store, (OTHER,), tmp_path)
    code, findings = examined("--store", store)
    assert code == 1
    finding = findings[f"vector set of {MODEL}"]
    assert "no live vector set with fingerprint" in finding["found"]
    assert finding["to_do"].startswith(f"winnow index CATALOGUE --model {MODEL}@")


def test_a_store_that_is_down(redis_server: RedisServer) -> None:
    redis_server.stop()
    code, findings = examined("--store", redis_server.url)
    assert code == 1
    assert findings["store"]["verdict"] == "change"
    assert "cannot be reached" in findings["store"]["found"]


def test_a_damaged_bundle(indexed: str, tmp_path: Path) -> None:
    registry = tmp_path / "bundles"
    shutil.copytree(DEFAULT_ROOT / MODEL, registry / MODEL)
    head = bundle_folder(registry, MODEL) / "head.onnx"
    head.write_bytes(head.read_bytes()[:-10])
    code, findings = examined("--store", indexed, bundles=registry)
    assert code == 1
    assert "head.onnx: expected" in findings[f"bundle of {MODEL}"]["found"]


def test_a_setting_that_is_none_ends_in_one_line(indexed: str) -> None:
    done = winnow("doctor", "--store", indexed, "--workers", "1000")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: WINNOW_WORKERS")
