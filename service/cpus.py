"""How many CPUs this process may use: the container's quota, not the host's core count."""

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def available_cpus(cgroup: Path = CGROUP) -> float:
    """CPUs this process may use: the smaller of its affinity mask and its cgroup's quota.

    ONNX Runtime and most servers size their pools by the host's cores; in a container with a quota
    of 2 on a 64-core host that means 64 threads throttled onto 2 CPUs.
    """
    affinity = float(len(os.sched_getaffinity(0)))
    return min([affinity, *_quotas(cgroup)])


def default_workers(cpus: float) -> int:
    """One worker process per whole CPU, at least one."""
    return max(1, math.floor(cpus))


def _quotas(cgroup: Path) -> list[float]:
    quotas = []
    try:  # cgroup v2: "<quota> <period>" or "max <period>", in microseconds
        quota, period = (cgroup / "cpu.max").read_text().split()
        if quota != "max":
            quotas.append(int(quota) / int(period))
    except (OSError, ValueError):
        pass  # not cgroup v2, or the root cgroup, which has no quota
    try:  # cgroup v1: quota -1 means none
        quota_us = int((cgroup / "cpu/cpu.cfs_quota_us").read_text())
        if quota_us > 0:
            quotas.append(quota_us / int((cgroup / "cpu/cpu.cfs_period_us").read_text()))
    except (OSError, ValueError):
        pass
    return quotas
