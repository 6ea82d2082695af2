"""What a bug report needs to know about this installation and the machine."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

import torch

import pro_engine
from pro_engine.inference.runtime import free_memory, resolve_device

_DISTRIBUTION = "pro-engine"


def system_info() -> dict[str, object]:
    """Versions, devices, memory in GiB, bundled weights in MB, and which extras are complete; plain values for JSON."""
    return {
        "pro_engine": pro_engine.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "torch": torch.__version__,
        "device": str(resolve_device()),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory_free_gib": round(free_memory(torch.device("cpu")) / 2**30, 1),
        "bundled_weights_mb": {path.name: round(path.stat().st_size / 1e6, 1) for path in _bundled()},
        "extras": installed_extras(),
    }


def installed_extras() -> dict[str, str]:
    """For every extra of the package "installed", or "missing NAME, NAME" with the requirements that are not there."""
    try:
        requirements = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", requirement)
        name = re.match(r"[\w.-]+", requirement)
        if extra and name:
            names = missing.setdefault(extra[1], [])
            if not _is_installed(name[0]):
                names.append(name[0])
    return {extra: f"missing {', '.join(names)}" if names else "installed" for extra, names in missing.items()}


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _bundled() -> list[Path]:
    return sorted((Path(pro_engine.__file__).parent / "weights").glob("*.safetensors"))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
