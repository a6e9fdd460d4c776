"""Describe the machine and the package versions in one line for a results page."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from pathlib import Path

VERSIONS = ("torch", "numba", "numpy", "sentencepiece", "sacrebleu")
_INSTRUCTIONS = {"avx512f": "AVX-512", "avx512_vnni": "VNNI", "avx512_bf16": "BF16", "amx_tile": "AMX"}


def machine() -> str:
    try:
        names = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        names = []
    known = ", ".join(name for flag, name in _INSTRUCTIONS.items() if _has(flag))
    instructions = known or ("AVX2" if _has("avx2") else platform.machine())
    cores = f"{names[0] if names else platform.processor()} ({instructions}), {os.cpu_count()} cores"
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in VERSIONS)
    return f"{cores}; Python {platform.python_version()}, {versions}"


def _has(flag: str) -> bool:
    try:
        return flag in Path("/proc/cpuinfo").read_text().split()
    except OSError:
        return False
