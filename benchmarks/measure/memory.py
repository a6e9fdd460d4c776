"""Resident memory of this process, in bytes: now, and at its peak.

Linux's own count, VmHWM, where there is one. `getrusage` has a peak too, but it begins with that of the process that
started this one, which may have been larger.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


def resident_bytes() -> int:
    """Now; where nobody counts it, the peak so far."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes() -> int:
    """The most since the process began, or since `forget_peak`."""
    unit = 1 if sys.platform == "darwin" else 1024
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def forget_peak() -> None:
    """The peak becomes what is resident now, where the kernel allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str) -> int | None:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024  # "VmRSS:   1944 kB"
    return None
