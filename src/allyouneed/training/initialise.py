"""Initialisation of a student from its teacher (Shleifer and Rush 2020, "Pre-trained Summarization Distillation").

A shallower stack gets copies of layers spread evenly over the teacher's stack, the first layer included. In a deeper
stack, the output of the additional layers is initially zero, so that with norm "pre", where residual sums are not
normalised, the student computes the same function as the teacher.
"""

from __future__ import annotations

import torch
from torch import nn

from allyouneed.model.transformer import Transformer

_SIZES = ("d_model", "d_ff", "num_heads", "key_size", "value_size", "norm", "positions", "tie_embeddings")
_OPTIONS = ("attention_bias", "output_bias", "activation", "source_end")


@torch.no_grad()
def initialise_from(student: Transformer, teacher: Transformer) -> str:
    """Copy the teacher's weights into the student where the layers have the same kind and size.

    Args:
        student: The model to initialise, unchanged where the layers differ.
        teacher: The model to copy from.

    Returns:
        A sentence that describes which weights were copied, or why none were.
    """
    learned = ("max_positions",) if student.config.positions == "learned" else ()
    for name in (*_SIZES, *_OPTIONS, *learned):
        own, theirs = getattr(student.config, name), getattr(teacher.config, name)
        if own != theirs:
            return f"no layers copied from the teacher: its {name} is {theirs}, the student's is {own}"
    for name, parameter in student.named_parameters():
        if ".layers." not in name:  # embeddings, final layer norms, output projection
            parameter.copy_(teacher.get_parameter(name))
    silence = student.config.norm == "pre"
    copied = [
        f"{side} {_copy_layers(getattr(student, side).layers, getattr(teacher, side).layers, silence)}"
        for side in ("encoder", "decoder")
    ]
    return f"layers copied from the teacher: {'; '.join(copied)}"


def _copy_layers(layers: nn.ModuleList, teacher_layers: nn.ModuleList, silence: bool) -> str:
    """Copy layers and, with `silence`, zero the output of additional ones; return the copied layers' numbers."""
    indices = spread_indices(len(teacher_layers), len(layers))
    for layer, index in zip(layers, indices, strict=False):
        layer.load_state_dict(teacher_layers[index].state_dict())
    for layer in layers[len(indices) :] if silence else ():
        for name, parameter in layer.named_parameters():
            if name.endswith(("attention.output.weight", "attention.output.bias", "outer.weight", "outer.bias")):
                nn.init.zeros_(parameter)
    return ", ".join(str(index + 1) for index in indices)


def spread_indices(available: int, count: int) -> list[int]:
    """Choose `count` of `available` layers, evenly spread from the first to the last; all of them if too few."""
    if count >= available:
        return list(range(available))
    if count == 1:
        return [0]
    return [round(i * (available - 1) / (count - 1)) for i in range(count)]
