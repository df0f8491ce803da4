"""The machine, the versions and the settings that figures belong to."""

import platform
from pathlib import Path

import onnxruntime as ort

from bench.bare_store import BareStore
from bench.whole import Service
from service.cpus import available_cpus

Facts = dict[str, str | float | None]

_THREADS = ("workers", "request_threads", "ort_threads")
_LIMITS = ("head_tile", "row_cache_mb", "query_cache_entries")


def host_facts(store: BareStore) -> Facts:
    """CPU, its share that this process may use, and versions."""
    return {
        "cpu": _cpu_model(),
        "cpus": available_cpus(),
        "python": platform.python_version(),
        "onnxruntime": ort.__version__,
        "store": store.version,
    }


def service_facts(service: Service) -> Facts:
    """What decides the speed of a service, from its own `/info`; its default model is measured."""
    info = service.info
    model = next(model for model in info["models"] if model["default"])
    return {
        "winnow": info["version"],
        "query": model["precision"]["query"],
        "head": model["precision"]["head"],
        "head_kernel": model["head_kernel"],
        **{name: info["threads"][name] for name in _THREADS},
        **{name: info["limits"][name] for name in _LIMITS},
    }


def _cpu_model() -> str:
    """As the kernel names it; elsewhere than on Linux as Python does."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
