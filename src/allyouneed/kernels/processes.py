"""Processes that test or compile kernels, without loading PyTorch unless they need it."""

from __future__ import annotations

import os
import subprocess
import sys

# Garbage collection, a tenth of the time, is turned off before anything is loaded, and so is SciPy, which Numba loads
# if it is installed, for functions that kernels do not call.
_PROGRAM = """
import gc, os, sys
gc.disable()
sys.modules["scipy"] = None
os.nice({niceness})
from allyouneed.lazy import defer
defer("torch")
from allyouneed.kernels.{module} import main
main()
"""


def start(
    module: str, *arguments: str, niceness: int = 0, is_read: bool = False, is_alone: bool = True
) -> subprocess.Popen[str]:
    """Start a process that runs `main` of a module of this package.

    Args:
        module: Name of the module.
        arguments: Arguments of the command, `sys.argv[1:]`.
        niceness: What is added to the niceness of this process.
        is_read: Whether the output is read.
        is_alone: Whether Ctrl-C does not end it.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-c", _PROGRAM.format(niceness=niceness, module=module), *arguments],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if is_read else subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="replace",
        process_group=0 if is_alone else None,  # in a session of its own, Linux may ignore its niceness (autogroups)
    )
