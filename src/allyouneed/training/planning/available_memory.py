"""Memory that a training process can still use: of the GPU, or of the machine and the limits of this process."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import torch

_KIBIBYTE = 1024
_UNLIMITED = 2**60  # cgroups without a limit report none, or a number close to 2⁶³
_RANKS_HERE = "LOCAL_WORLD_SIZE"  # torchrun's number of processes on this machine


def available_memory(device: torch.device, root: Path = Path("/")) -> int:
    """Return the bytes that this process can still allocate.

    On the CPU this is the least of the machine's available memory, of what is left of the memory limits of this
    process's control groups (containers), and of its own limit (`ulimit -v`); several ranks on one machine share it.

    Args:
        device: Device of the training.
        root: Root of the file system, for tests.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    shared = min([_machine(root), *_control_groups(root)])
    ranks = os.environ.get(_RANKS_HERE, "1")
    share = shared // max(1, int(ranks) if ranks.isdecimal() else 1)
    return max(0, min(share, _own_limit(root)))


def _machine(root: Path) -> int:
    """Return the memory that the kernel can make available without swapping; all memory if it does not report it."""
    with suppress(OSError):
        for line in (root / "proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * _KIBIBYTE
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _control_groups(root: Path) -> Iterator[int]:
    """Yield what is left of the limit of each control group around this process; the page cache counts as free."""
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers:
                mount, names = root / "sys/fs/cgroup", ("memory.max", "memory.current", "inactive_file")
            elif "memory" in controllers.split(","):
                mount = root / "sys/fs/cgroup/memory"
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            else:
                continue
            folder = mount / path.strip("/")
            for group in [folder, *folder.parents]:  # in a container, the path may name a group outside of it
                left = _left(group, *names)
                if left is not None:
                    yield left
                if group == mount:
                    break


def _left(group: Path, limit_name: str, usage_name: str, cache_name: str) -> int | None:
    with suppress(OSError, ValueError):
        limit = int((group / limit_name).read_text())  # "max" means no limit
        if limit < _UNLIMITED:
            return limit - int((group / usage_name).read_text()) + _reclaimable(group, cache_name)
    return None


def _reclaimable(group: Path, cache_name: str) -> int:
    with suppress(OSError, ValueError):
        for line in (group / "memory.stat").read_text().splitlines():
            name, _, value = line.partition(" ")
            if name == cache_name:
                return int(value)
    return 0


def _own_limit(root: Path) -> int:
    """Return what is left of the limit of this process's address space; a very large number without a limit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return _UNLIMITED
    used = 0
    with suppress(OSError, ValueError, IndexError):
        used = int((root / "proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    return limit - used
