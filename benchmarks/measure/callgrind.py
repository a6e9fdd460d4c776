"""Instruction counts by Valgrind's Callgrind: which part of a program is counted, and its counts.

A program that runs under Callgrind asks for counting by client requests: a sequence of instructions without effect that
Valgrind recognises (valgrind.h). On a processor they cost nothing and do nothing.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import llvmlite.binding as llvm

_TOGGLE_COLLECT, _DUMP_AT, _START = (ord("C") << 24 | ord("T") << 16 | number for number in (2, 3, 4))  # callgrind.h

# request(words): a client request; call(function, argument, words): a C function between two of them.
_CODE = r"""
define void @request(ptr %words) {
    %result = call i64 asm sideeffect
        "rolq $$3, %rdi\0Arolq $$13, %rdi\0Arolq $$61, %rdi\0Arolq $$51, %rdi\0Axchgq %rbx, %rbx",
        "={rdx},{rax},{rdx},~{cc},~{memory}"(ptr %words, i64 0)
    ret void
}
define void @call(ptr %function, i64 %argument, ptr %words) {
    call void @request(ptr %words)
    call void %function(i64 %argument)
    call void @request(ptr %words)
    ret void
}
"""


class Counter:
    """Counting in this process, which Callgrind runs without counting; without Callgrind, nothing is counted."""

    def __init__(self) -> None:
        llvm.initialize_native_target()
        llvm.initialize_native_asmprinter()
        llvm.initialize_native_asmparser()
        machine = llvm.Target.from_default_triple().create_target_machine()
        self._engine = llvm.create_mcjit_compiler(llvm.parse_assembly(_CODE), machine)
        self._engine.finalize_object()
        address = self._engine.get_function_address
        self._request = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address("request"))
        self._call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(address("call"))
        self._toggle = _words(_TOGGLE_COLLECT)
        self._request(_words(_START))

    def call(self, function: int, argument: int) -> None:
        """Call a C function that takes an int64, and count its instructions."""
        self._call(function, argument, self._toggle)

    def store(self, name: str) -> None:
        """Store what was counted since the last call under a name."""
        text = ctypes.create_string_buffer(name.encode())
        self._request(_words(_DUMP_AT, ctypes.addressof(text)))


def _words(*words: int) -> ctypes.Array[ctypes.c_uint64]:
    return (ctypes.c_uint64 * 6)(*words)


def count(arguments: Sequence[str], environment: dict[str, str]) -> dict[str, int]:
    """Run Python under Callgrind and return the counts that it stored with `Counter.store`."""
    with tempfile.TemporaryDirectory() as folder:
        options = ["--tool=callgrind", "--instr-atstart=no", "--collect-atstart=no", "--quiet"]
        command = ["valgrind", *options, f"--callgrind-out-file={folder}/out", sys.executable, *arguments]
        subprocess.run(command, env=environment, check=True)
        texts = [path.read_text() for path in Path(folder).iterdir()]
    found = (re.search(r"^desc: Trigger: Client Request: (.+)$(?s:.*)^totals: (\d+)$", text, re.M) for text in texts)
    return {match[1]: int(match[2]) for match in found if match}
