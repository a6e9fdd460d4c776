"""Current and peak resident memory of this process, in bytes.

Uses Linux's VmHWM where available. The peak of `getrusage` starts from that of the parent process, which may be larger.
"""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


def resident_bytes() -> int:
    """Return the current resident memory, or the peak where it is not available."""
    return _status("VmRSS") or peak_bytes()


def peak_bytes(process: int | str = "self") -> int:
    """Return the peak since this process started, or since `reset_peak`; of another process, 0 if unknown."""
    unit = 1 if sys.platform == "darwin" else 1024
    if process != "self":
        return _status("VmHWM", process) or 0
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Reset the peak to the current resident memory, where the kernel supports it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _status(name: str, process: int | str = "self") -> int | None:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024  # "VmRSS:   1944 kB"
    return None
