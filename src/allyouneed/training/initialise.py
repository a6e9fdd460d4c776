"""Initialisation of a student from its teacher (Shleifer and Rush 2020, "Pre-trained Summarization Distillation").

A shallower stack gets copies of layers spread evenly over the teacher's stack, the first layer included. In a deeper
stack, the output of the additional layers is initially zero, so that with norm "pre", where residual sums are not
normalised, the student computes the same function as the teacher.
"""

from __future__ import annotations

import torch
from torch import nn

from allyouneed.config import ModelConfig
from allyouneed.model.transformer import Transformer

_DIFFERENT = {"encoder_layers", "decoder_layers", "dropout"}  # settings that may differ between student and teacher


@torch.no_grad()
def initialise_from(student: Transformer, teacher: Transformer) -> str:
    """Copy the teacher's weights into the student where the layers have the same kind and size.

    Args:
        student: The model to initialise, unchanged where the layers differ.
        teacher: The model to copy from.

    Returns:
        A sentence that describes which weights were copied, or why none were.
    """
    theirs = _shape(teacher.config)
    for name, own in _shape(student.config).items():
        if own != theirs[name]:
            return f"no layers copied from the teacher: its {name} is {theirs[name]}, the student's is {own}"
    for name, parameter in student.named_parameters():
        if ".layers." not in name:  # embeddings, final layer norms, output projection
            parameter.copy_(teacher.get_parameter(name))
    silence = student.config.norm == "pre"
    copied = [
        f"{side} {_copy_layers(getattr(student, side).layers, getattr(teacher, side).layers, silence)}"
        for side in ("encoder", "decoder")
    ]
    return f"layers copied from the teacher: {'; '.join(copied)}"


def _shape(config: ModelConfig) -> dict[str, object]:
    """Return the settings that decide which layers and weights a model has, with their effective values."""
    unused = {"max_positions"} if config.positions == "sinusoidal" else {"sinusoid_frequencies", "first_position"}
    encoder, decoder = config.encoder, config.decoder
    return {
        **config.model_dump(exclude=_DIFFERENT | unused),
        **{"decoder_d_ff": decoder.d_ff, "decoder_heads": decoder.heads, "d_k": encoder.d_k, "d_v": encoder.d_v},
        "final_norm": (config.has_final_norm("encoder"), config.has_final_norm("decoder")),
    }


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
