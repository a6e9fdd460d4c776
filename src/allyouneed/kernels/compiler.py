"""How Numba compiles kernels: a kernel and all functions that it calls are optimised together, once.

By default Numba optimises every function together with all functions below it, generates its machine code, and does
both again for each of its callers, up to ten levels above. That is most of the time to compile a kernel, and Python,
which calls kernels only, does not need the results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from llvmlite.binding import Linkage
from numba import njit
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, DefaultPassBuilder
from numba.core.compiler_machinery import PassManager
from numba.core.typed_passes import NopythonTypeInference, PreLowerStripPhis
from numba.core.untyped_passes import FixupArgs, IRProcessing, ReconstructSSA, TranslateByteCode

_Function = TypeVar("_Function", bound=Callable[..., Any])
_ENTRY = "cfunc."  # prefix of the name of the function that C calls


class _NoEnvironments:
    """Takes the place of the code generator where Numba gives a compiled function the address of its globals."""

    def set_env(self, name: str, environment: object) -> None:
        pass


class _PartLibrary(JITCodeLibrary):
    """The code of a function before optimisation, linked with that of the functions that it calls."""

    codegen = _NoEnvironments()

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        return 0  # there is no machine code


class _SeparateLibrary(_PartLibrary):
    """The code of a function that is not inlined into its callers."""

    def _optimize_functions(self, ll_module: Any) -> None:
        for function in ll_module.functions:
            if not function.is_declaration:
                function.add_function_attribute("noinline")
        super()._optimize_functions(ll_module)


class _KernelLibrary(JITCodeLibrary):
    """The code of a kernel. Its functions are its own: another kernel may have been compiled from other sources."""

    def _optimize_final_module(self) -> None:
        for function in self._final_module.functions:
            if not function.is_declaration and not function.name.startswith(_ENTRY):
                function.linkage = Linkage.internal
        super()._optimize_final_module()


class _Compiler(Compiler):
    """Numba's compiler without what kernels do not need: array expressions, closures, literals and the like."""

    def define_pipelines(self) -> list[PassManager]:
        passes = PassManager("kernel")
        for each in (
            TranslateByteCode,
            FixupArgs,
            IRProcessing,
            ReconstructSSA,
            NopythonTypeInference,
            PreLowerStripPhis,
        ):
            passes.add_pass(each, each.__name__)
        passes.passes += DefaultPassBuilder.define_nopython_lowering_pipeline(self.state).passes
        passes.finalize()
        return [passes]


class _PartCompiler(_Compiler):
    library_class: type[_PartLibrary] = _PartLibrary

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *arguments: Any):
        library = self.library_class(target_context.codegen(), "part")
        super().__init__(typing_context, target_context, library, *arguments)
        self.state.flags.no_cpython_wrapper = self.state.flags.no_cfunc_wrapper = True


class _SeparateCompiler(_PartCompiler):
    library_class = _SeparateLibrary


class KernelCompiler(_Compiler):
    """Compiles a kernel with all functions that it calls."""

    def __init__(self, typing_context: Any, target_context: Any, library: Any, *arguments: Any):
        library = _KernelLibrary(target_context.codegen(), "kernel")
        library.enable_object_caching()
        super().__init__(typing_context, target_context, library, *arguments)


# Decorates a function that kernels call. In Python it is `name.py_func`.
kernel_function = njit(pipeline_class=_PartCompiler)

# The same for a longer function with several callers, which is compiled once instead of into each of them.
separate_function = njit(pipeline_class=_SeparateCompiler)


def named(name: str) -> Callable[[_Function], _Function]:
    """Give a closure a unique name before it is compiled.

    Numba's cache does not distinguish closures of the same function: kernels that were compiled in different processes
    could call each other's closures if these had the same name.
    """

    def rename(function: _Function) -> _Function:
        function.__name__ = function.__qualname__ = name
        return function

    return rename
