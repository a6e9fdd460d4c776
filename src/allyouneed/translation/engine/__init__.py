"""The compiled CPU decoder: encoder, decoder, greedy and beam search in Numba kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeGuard

import torch

from allyouneed import kernels, lazy
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.translation.engine.memory import DraftMemory
from allyouneed.translation.search import Model

if TYPE_CHECKING:
    from allyouneed.translation.engine.engine import Engine

__all__ = ["COMPUTE_TYPES", "FLOAT32", "INT8", "Engine", "compile_in_background", "engine_for"]
__getattr__ = lazy.attach(__name__, {"Engine": "allyouneed.translation.engine.engine"})

FLOAT32, INT8 = COMPUTE_TYPES = ("float32", "int8")  # CTranslate2's names


def engine_for(model: Model, compute_type: str = FLOAT32, memory: DraftMemory | None = None) -> Model:
    """Return the compiled engine for a model, or the model itself if there is none.

    An engine exists for a `Transformer` in fp32 on the CPU if Numba is installed and kernels work.

    Args:
        model: The model to search with.
        compute_type: "float32", or "int8" for matrices in 8 bits, and keys and values in bf16.
        memory: What drafts of translations are made from, if there is anything.

    Raises:
        UserError: If compute_type does not exist, or is "int8" and there is no engine for the model or the processor
            lacks AVX-512 VNNI.
    """
    if compute_type not in COMPUTE_TYPES:
        raise UserError(f"compute_type = {compute_type}: choose {' or '.join(COMPUTE_TYPES)}.")
    if compute_type == INT8:
        kernels.background.wait()  # PyTorch cannot stand in
    if compute_type == INT8 and not (_has_engine(model) and kernels.has_vnni()):
        raise UserError(
            "compute_type = int8 needs a processor with AVX-512 VNNI, Numba, and a model in fp32 on the CPU. Leave it "
            "out: float32 always works."
        )
    if not _has_engine(model):
        return model
    from allyouneed.translation.engine.engine import Engine  # Numba is optional

    return Engine(model, compute_type == INT8, memory)


def compile_in_background(device: str = "cpu", compute_type: str = FLOAT32) -> None:
    """Compile the engine in another process, for programs that respond at once; PyTorch computes in the meantime.

    Args:
        device: Device of the models; there is an engine for the CPU only.
        compute_type: Nothing is done for "int8", for which PyTorch cannot stand in.
    """
    is_cpu = device == "cpu" or (device == "auto" and not torch.cuda.is_available())
    if is_cpu and compute_type == FLOAT32 and kernels.installed():
        kernels.background.compile_in_background()


def _has_engine(model: Model) -> TypeGuard[Transformer]:
    if not isinstance(model, Transformer) or model.plain:
        return False
    weight = model.output.weight
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and kernels.available()
