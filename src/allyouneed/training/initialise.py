"""What a student takes over of its teacher's weights, so that it need not begin at nothing.

Shleifer and Rush 2020 ("Pre-trained Summarization Distillation"): layers are copied, of a stack that becomes shallower
some that are far apart, the first among them. Where the student's is deeper, the layers that the teacher has not say
nothing at first: what they add is zero (with norm "pre", whose sums are never normed on their way).
"""

from __future__ import annotations

import torch
from torch import nn

from allyouneed.model.transformer import Transformer

_SHAPES = ("d_model", "d_ff", "num_heads", "key_size", "value_size", "norm", "positions", "tie_embeddings")
_SWITCHES = ("attention_bias", "output_bias", "activation")


@torch.no_grad()
def inherit(student: Transformer, teacher: Transformer) -> str:
    """Copies what fits into the student; nothing where the layers are of another kind. -> what was done, for people."""
    learned = ("max_positions",) if student.config.positions == "learned" else ()  # sinusoids have no end
    for name in (*_SHAPES, *_SWITCHES, *learned):
        own, theirs = getattr(student.config, name), getattr(teacher.config, name)
        if own != theirs:
            return f"nothing is copied from the teacher, whose {name} is {theirs}, not {own}: the student begins anew"
    for name, parameter in student.named_parameters():
        if ".layers." not in name:  # embeddings, the norms at the end, the pre-softmax linear
            parameter.copy_(teacher.get_parameter(name))
    copied = [
        f"{side} {_copy(getattr(student, side).layers, getattr(teacher, side).layers, student.config.norm == 'pre')}"
        for side in ("encoder", "decoder")
    ]
    return f"layers copied from the teacher: {'; '.join(copied)}"


def _copy(layers: nn.ModuleList, theirs: nn.ModuleList, silent: bool) -> str:
    places = spread_out(len(theirs), len(layers))
    for layer, place in zip(layers, places, strict=False):
        layer.load_state_dict(theirs[place].state_dict())
    for layer in layers[len(places) :] if silent else ():
        for name, parameter in layer.named_parameters():
            if name.endswith(("attention.output.weight", "attention.output.bias", "outer.weight", "outer.bias")):
                nn.init.zeros_(parameter)
    return ", ".join(str(place + 1) for place in places)


def spread_out(there: int, wanted: int) -> list[int]:
    """Which of so many layers are copied, from 0: all, or the first, the last, and others at equal distances."""
    if wanted >= there:
        return list(range(there))
    if wanted == 1:
        return [0]
    return [round(i * (there - 1) / (wanted - 1)) for i in range(wanted)]
