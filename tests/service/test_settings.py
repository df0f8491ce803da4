"""Settings are read once, refuse what they don't know, and follow the container's CPU quota."""

from pathlib import Path

import pytest

from service.cpus import available_cpus, default_workers
from service.settings import SettingsError, read_settings


@pytest.fixture(autouse=True)
def _store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_STORE", "lmdb:rows")


def test_models_are_a_list_whose_first_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WINNOW_MODELS", "a, b,")
    assert read_settings().models == ("a", "b")


def test_the_store_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WINNOW_STORE")
    with pytest.raises(
        SettingsError, match="WINNOW_STORE: not set; expected vector store: lmdb:PATH"
    ):
        read_settings()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("WINNOW_PORT", "http", "WINNOW_PORT: .*valid integer"),
        ("WINNOW_PORT", "70000", "WINNOW_PORT: .*65535"),
        ("WINNOW_DEADLINE_MS", "0", "WINNOW_DEADLINE_MS"),
        ("WINNOW_MAX_CANDIDATE", "5", "unknown setting WINNOW_MAX_CANDIDATE"),
        ("WINNOW_MAX_INFLIGHT_CANDIDATES", "5", "must be at least"),
        ("WINNOW_GRPC_PORT", "8000", "another one than port"),
    ],
)
def test_a_malformed_or_unknown_setting_stops_with_its_name(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=reason):
        read_settings()


def test_the_quota_of_cgroup_v2(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert available_cpus(tmp_path) == 0.5


def test_the_quota_of_cgroup_v1(tmp_path: Path) -> None:
    (tmp_path / "cpu").mkdir()
    (tmp_path / "cpu/cpu.cfs_quota_us").write_text("25000\n")
    (tmp_path / "cpu/cpu.cfs_period_us").write_text("100000\n")
    assert available_cpus(tmp_path) == 0.25


@pytest.mark.parametrize("content", ["max 100000\n", ""])
def test_without_a_quota_the_affinity_counts(tmp_path: Path, content: str) -> None:
    (tmp_path / "cpu.max").write_text(content)
    assert available_cpus(tmp_path) == available_cpus(tmp_path / "absent") >= 1


@pytest.mark.parametrize(("cpus", "workers"), [(0.5, 1), (1.0, 1), (2.0, 2), (7.9, 7)])
def test_workers_never_exceed_the_quota(cpus: float, workers: int) -> None:
    assert default_workers(cpus) == workers
