"""Instruction sets of the processor that Numba compiles for.

Numba's target is the host, unless `NUMBA_CPU_NAME` or `NUMBA_CPU_FEATURES` configure another one.
"""

from __future__ import annotations

from functools import cache

import llvmlite.binding as llvm
from numba.core import config
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

# A dot product of unsigned and signed bytes, which LLVM compiles to the widest registers of the target ("zmm" with
# AVX-512) and to the VNNI instruction ("vpdpbusd") if the target has it; and the rounding of fp32 to bf16, for which
# AVX512_BF16 has an instruction ("vcvtneps2bf16"); and a sum of fp16 values ("vaddph"), see `has_amx`.
_PROBE = """
declare i32 @llvm.vector.reduce.add.v64i32(<64 x i32>)
define i32 @sum_of_products(<64 x i8> %a, <64 x i8> %b) {
    %unsigned = zext <64 x i8> %a to <64 x i32>
    %signed = sext <64 x i8> %b to <64 x i32>
    %products = mul <64 x i32> %unsigned, %signed
    %sum = call i32 @llvm.vector.reduce.add.v64i32(<64 x i32> %products)
    ret i32 %sum
}
define <16 x bfloat> @round(<16 x float> %values) {
    %rounded = fptrunc <16 x float> %values to <16 x bfloat>
    ret <16 x bfloat> %rounded
}
define <32 x half> @add(<32 x half> %a, <32 x half> %b) {
    %sum = fadd <32 x half> %a, %b
    ret <32 x half> %sum
}
"""


def has_avx512() -> bool:
    """Return whether kernels may use AVX-512's 32 registers of 16 floats."""
    return all("zmm" in assembly for assembly in _assemblies())


def has_vnni() -> bool:
    """Return whether kernels may use the byte products of AVX-512 VNNI."""
    return all(_uses(assembly, "vpdpbusd", "zmm") for assembly in _assemblies())


def has_bf16() -> bool:
    """Return whether kernels may use the dot products of bf16 pairs of AVX512_BF16."""
    return all(_uses(assembly, "vcvtneps2bf16", "zmm") for assembly in _assemblies())


def has_amx() -> bool:
    """Return whether kernels may use AMX with bf16 and bytes, if the operating system permits it (`amx.request`).

    A probe of AMX would end the process on a target without it. AVX512_FP16, which all processors with AMX have, takes
    its place, to exclude processors that are configured by name.
    """
    features = _compiled_for()[1].split(",")
    has_fp16 = all(_uses(assembly, "vaddph", "zmm") for assembly in _assemblies())
    return has_bf16() and has_fp16 and {"+amx-tile", "+amx-bf16", "+amx-int8"} <= set(features)


def _uses(assembly: str, *words: str) -> bool:
    return any(all(word in line for word in words) for line in assembly.splitlines())


def _compiled_for() -> tuple[str, str]:
    """Return the processor's name and the features that Numba passes to LLVM."""
    _, name, features = cpu_target.target_context.codegen().magic_tuple()
    return name, features


@cache
def _assemblies() -> tuple[str, ...]:
    """Compile the probe for Numba's target and for the target as the user configured it.

    The two differ: Numba adds the host's features to a configured processor, and the host's processor to configured
    features. A kernel may use an instruction set that both have.
    """
    configured = _compiled_for()
    name, features = (getattr(config, setting) for setting in ("CPU_NAME", "CPU_FEATURES"))  # None where not set
    if features is not None:
        configured = name or "generic", features
    elif name is not None:
        configured = name, ""
    with global_compiler_lock:
        return tuple(_assembly(*target) for target in {_compiled_for(), configured})


def _assembly(name: str, features: str) -> str:
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(cpu=name, features=features).emit_assembly(llvm.parse_assembly(_PROBE))
