"""Time and memory of a training step, forward and backward, of single layers at one length and width."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from allyouneed.paper.table1.compared_layers import Layer

_FEWEST, MOST = 3, 30  # repetitions
_WARM_UP = 2  # what the forward pass that counts bytes and the first step cost, in steps
_STEP = 3  # a step's operations, in forward passes: backward, each product has two, one for each of its factors


class Point(NamedTuple):
    """A size at which layers are measured: x [batch, n, d]."""

    batch: int
    n: int
    d: int


class Measured(NamedTuple):
    """One layer at one point. `seconds`: median of a training step; None where the time did not suffice."""

    layer: str
    batch: int
    n: int
    d: int
    predicted_seconds: float | None  # from smaller points
    operations: int  # of a training step
    seconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    repetitions: int = 0
    saved_bytes: int | None = None
    peak_bytes: int | None = None  # where the device counts it: CUDA

    @property
    def taken(self) -> float:
        """Seconds, of what was measured."""
        assert self.seconds is not None
        return self.seconds

    @property
    def rate(self) -> float:
        """Floating-point operations a second."""
        return self.operations / self.taken

    @property
    def point(self) -> Point:
        """Where it was measured."""
        return Point(self.batch, self.n, self.d)


def measure_layers(
    layers: Sequence[Layer],
    point: Point,
    predicted: Mapping[str, float | None],
    seconds: float,
    device: torch.device,
    tick: Callable[[float], None],
) -> list[Measured]:
    """Each layer's training step at this point, within about so many seconds for all of them.

    predicted: seconds a step, by layer; one whose fewest repetitions would not fit any more is left out, the cheapest
    come first, and what has no prediction is measured anyway. More repetitions have a quarter of the time: larger
    points need the rest. The layers take turns, so that what slows the machine for a while slows them all. `tick` hears
    the seconds of each turn.
    """
    rows = {
        layer.name: Measured(layer.name, *point, predicted[layer.name], step_operations(layer, point))
        for layer in layers
    }
    steps: dict[str, _Step] = {}
    needed = 0.0
    for layer in sorted(layers, key=lambda layer: predicted[layer.name] or 0.0):
        needed += (predicted[layer.name] or 0.0) * (_FEWEST + _WARM_UP)
        if needed <= seconds:
            step = steps[layer.name] = _Step(layer, point, device)
            saved = saved_bytes(step.layer, step.x)
            rows[layer.name] = rows[layer.name]._replace(saved_bytes=saved, peak_bytes=_peak_bytes(step, device))
    times: dict[str, list[float]] = {name: [] for name in steps}
    turn, turns, deadline = 0.0, 0, time.perf_counter() + seconds / 4
    while steps and turns < MOST and (turns < _FEWEST or time.perf_counter() + turn < deadline):
        for name, step in steps.items():
            times[name].append(step())
        turn, turns = sum(each[-1] for each in times.values()), turns + 1
        tick(turn)
    for name, each in times.items():
        rows[name] = rows[name]._replace(
            seconds=median(each), fastest=min(each), slowest=max(each), repetitions=len(each)
        )
    return list(rows.values())


def predict(layer: Layer, point: Point, measured: Sequence[Measured]) -> float | None:
    """Seconds a step, as if operations ran as fast as at the largest point that is not larger; None without one."""
    operations = step_operations(layer, point)
    known = [
        row
        for row in measured
        if row.layer == layer.name and row.seconds and row.batch <= point.batch and row.operations <= operations
    ]
    if not known:
        return None
    nearest = max(known, key=lambda row: row.operations)
    return operations / nearest.rate


def step_operations(layer: Layer, point: Point) -> int:
    """Counted floating-point operations of a training step: matrix products only, softmax and gates left out."""
    return _STEP * point.batch * layer.operations(point.n, point.d)


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Bytes that the layer keeps from its forward pass for its backward pass, x among them if it needs x.

    Whole storages, each once, however many tensors share it; parameters, which are kept anyway, are left out.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(x)  # its graph keeps what is counted alive, so no address comes twice
    del output
    return sum(saved.values())


class _Step:
    """A layer's training step on random numbers, in single precision. Called, it returns its seconds."""

    def __init__(self, layer: Layer, point: Point, device: torch.device):
        self.layer = layer.build(point.d).to(device)
        self.x = torch.randn(point, device=device, requires_grad=True)  # as inside a network, x wants a gradient too
        self.gradient = torch.randn(point, device=device)

    def __call__(self) -> float:
        self.layer.zero_grad()
        self.x.grad = None
        begun = time.perf_counter()
        self.layer(self.x).backward(self.gradient)
        float(self.x.grad[0, 0, 0])  # type: ignore[index]  # there now; waits for the device
        return time.perf_counter() - begun


def _peak_bytes(step: _Step, device: torch.device) -> int | None:
    """One step, which also warms up; -> what it allocated at most, where the device counts it."""
    if device.type != "cuda":
        step()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before
