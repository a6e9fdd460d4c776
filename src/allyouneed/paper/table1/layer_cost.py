"""Time and memory of a training step, forward and backward, of single layers at one size."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn

from allyouneed.paper.table1.compared_layers import ComparedLayer

_MIN_REPETITIONS, MAX_REPETITIONS = 3, 30
_WARM_UP = 2  # cost of the forward pass that counts bytes and of the first step, in steps
_STEP = 3  # cost of a step in forward passes: the backward pass has two products for each of the forward pass


class LayerSize(NamedTuple):
    """Shape of a layer's input: [batch, n, d]."""

    batch: int
    n: int
    d: int


class LayerMeasurement(NamedTuple):
    """Measurement of a layer at one size.

    Attributes:
        layer: Name of the layer.
        batch: Number of sequences.
        n: Length of the sequences.
        d: Width of the vectors.
        predicted_seconds: Time of a training step predicted from smaller sizes, if any.
        operations: Counted floating-point operations of a training step.
        seconds: Median time of a training step; None if the layer was skipped for lack of time.
        fastest: Shortest time.
        slowest: Longest time.
        repetitions: Number of steps timed.
        saved_bytes: Memory that the forward pass keeps for the backward pass.
        peak_bytes: Peak memory of a step, on CUDA only.
    """

    layer: str
    batch: int
    n: int
    d: int
    predicted_seconds: float | None
    operations: int
    seconds: float | None = None
    fastest: float | None = None
    slowest: float | None = None
    repetitions: int = 0
    saved_bytes: int | None = None
    peak_bytes: int | None = None

    @property
    def step_seconds(self) -> float:
        """Time of a training step of a layer that was not skipped."""
        assert self.seconds is not None
        return self.seconds

    @property
    def rate(self) -> float:
        """Floating-point operations per second."""
        return self.operations / self.step_seconds

    @property
    def size(self) -> LayerSize:
        """Size of the input."""
        return LayerSize(self.batch, self.n, self.d)


def measure_layers(
    layers: Sequence[ComparedLayer],
    size: LayerSize,
    predicted: Mapping[str, float | None],
    seconds: float,
    device: torch.device,
    tick: Callable[[float], None],
) -> list[LayerMeasurement]:
    """Measure the training step of each layer at one size.

    Layers are taken in ascending order of predicted time, those without a prediction first; a layer whose minimum
    number of repetitions does not fit is skipped. Repetitions beyond the minimum get a quarter of the time, since
    larger sizes need the rest. The layers alternate, so that a temporary slowdown of the machine affects all of them.

    Args:
        layers: The layers.
        size: Size of the input.
        predicted: Predicted seconds per step by layer; None if unknown.
        seconds: Approximate time for all layers.
        device: Device to measure on.
        tick: Called with the seconds of each round.

    Returns:
        A measurement per layer.
    """
    rows = {
        layer.name: LayerMeasurement(layer.name, *size, predicted[layer.name], step_operations(layer, size))
        for layer in layers
    }
    steps: dict[str, _Step] = {}
    required = 0.0
    for layer in sorted(layers, key=lambda layer: predicted[layer.name] or 0.0):
        required += (predicted[layer.name] or 0.0) * (_MIN_REPETITIONS + _WARM_UP)
        if required <= seconds:
            step = steps[layer.name] = _Step(layer, size, device)
            saved = saved_bytes(step.layer, step.x)
            rows[layer.name] = rows[layer.name]._replace(saved_bytes=saved, peak_bytes=_peak_bytes(step, device))
    for name, times in _time_in_turns(steps, time.perf_counter() + seconds / 4, tick).items():
        rows[name] = rows[name]._replace(
            seconds=median(times), fastest=min(times), slowest=max(times), repetitions=len(times)
        )
    return list(rows.values())


def _time_in_turns(
    steps: Mapping[str, _Step], deadline: float, tick: Callable[[float], None]
) -> dict[str, list[float]]:
    """Time rounds of one step per layer until the deadline, but at least `_MIN_REPETITIONS` rounds."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    last, rounds = 0.0, 0
    while steps and rounds < MAX_REPETITIONS and (rounds < _MIN_REPETITIONS or time.perf_counter() + last < deadline):
        for name, step in steps.items():
            times[name].append(step())
        last, rounds = sum(each[-1] for each in times.values()), rounds + 1
        tick(last)
    return times


def predict(layer: ComparedLayer, size: LayerSize, measured: Sequence[LayerMeasurement]) -> float | None:
    """Predict the time of a training step from the rate at the largest measured size that is not larger than `size`.

    Args:
        layer: The layer.
        size: Size of the input.
        measured: Measurements of any layers and sizes.

    Returns:
        Seconds per step; None if there is no such measurement.
    """
    operations = step_operations(layer, size)
    smaller = [
        row
        for row in measured
        if row.layer == layer.name and row.seconds and row.batch <= size.batch and row.operations <= operations
    ]
    if not smaller:
        return None
    nearest = max(smaller, key=lambda row: row.operations)
    return operations / nearest.rate


def step_operations(layer: ComparedLayer, size: LayerSize) -> int:
    """Count floating-point operations of a training step: matrix products, without softmax and gates.

    Args:
        layer: The layer.
        size: Size of the input.

    Returns:
        The number of operations.
    """
    return _STEP * size.batch * layer.operations(size.n, size.d)


def saved_bytes(layer: nn.Module, x: Tensor) -> int:
    """Measure the memory that a forward pass keeps for the backward pass, without parameters.

    Args:
        layer: The layer.
        x: Its input, which counts if the layer keeps it.

    Returns:
        Bytes of all distinct storages.
    """
    parameters = {parameter.untyped_storage().data_ptr() for parameter in layer.parameters()}
    saved: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = layer(x)  # the graph keeps the counted tensors alive, so addresses are unique
    del output
    return sum(saved.values())


class _Step:
    """A layer's training step on random fp32 numbers; a call returns its seconds."""

    def __init__(self, layer: ComparedLayer, size: LayerSize, device: torch.device):
        self.layer = layer.build(size.d).to(device)
        self.x = torch.randn(size, device=device, requires_grad=True)  # a layer inside a network has such an input
        self.gradient = torch.randn(size, device=device)

    def __call__(self) -> float:
        self.layer.zero_grad()
        self.x.grad = None
        start = time.perf_counter()
        self.layer(self.x).backward(self.gradient)
        float(self.x.grad[0, 0, 0])  # type: ignore[index]  # set by backward; reading it waits for the device
        return time.perf_counter() - start


def _peak_bytes(step: _Step, device: torch.device) -> int | None:
    """Run one step, which warms up too, and return its peak memory on CUDA."""
    if device.type != "cuda":
        step()
        return None
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    step()
    return torch.cuda.max_memory_allocated(device) - before
