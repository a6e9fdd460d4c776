"""Activations of feed-forward networks, other than ReLU, which the product applies (`Mode.RELU`).

Each multiplies x by a gate: swish by σ(x), GELU by the normal distribution Φ(x) (Hendrycks and Gimpel 2016), and its
approximations by σ(1.702 x) and σ(√(8/π) (x + 0.044715 x³)). The latter is usually written with tanh, which is
tanh(u) = 2 σ(2u) - 1. The choice is made at run time, once for many rows: no kernel is compiled for each activation.
"""

from __future__ import annotations

import math

from allyouneed.kernels import LANES
from allyouneed.kernels.compiler import kernel_function, separate_function
from allyouneed.kernels.records import Record
from allyouneed.kernels.simd import at_least, broadcast, exp, multiply_add
from allyouneed.kernels.simd_memory import load, store

_TANH = math.sqrt(8 / math.pi)


class Activation(Record):
    """The gate of an activation: Φ(x), or σ(linear · x + cubic · x³)."""

    is_normal: int
    linear: float
    cubic: float


ACTIVATIONS = {
    "swish": Activation(is_normal=False, linear=1.0, cubic=0.0),
    "gelu": Activation(is_normal=True, linear=0.0, cubic=0.0),
    "gelu_tanh": Activation(is_normal=False, linear=_TANH, cubic=0.044715 * _TANH),
    "gelu_sigmoid": Activation(is_normal=False, linear=1.702, cubic=0.0),
}


@separate_function
def activate(x, count, activation):
    """Apply an activation in place to x [count], count a multiple of 16, each value of a size below 1e18."""
    if activation.is_normal:
        for c in range(0, count, LANES):
            store(x, c, _gelu(load(x, c)))
    else:
        linear, cubic = broadcast(activation.linear), broadcast(activation.cubic)
        for c in range(0, count, LANES):
            value = load(x, c)
            exponent = at_least(value * multiply_add(cubic, value * value, linear), broadcast(-87.0))
            store(x, c, value / (exp(broadcast(0.0) - exponent) + 1.0))


@kernel_function
def _gelu(x):
    """Return x Φ(x) = max(0, x) - |x| Φ(-|x|), lane by lane.

    Φ(-y) = exp(-y² / 2) t P(t) with t = 1 / (1 + 0.35 y), where P is the polynomial of degree 8 whose relative error is
    smallest for y up to 13: less than 1e-7, a unit in the last place. Beyond, the result is below 1e-37.
    """
    size = at_least(x, broadcast(0.0) - x)
    t = 1.0 / multiply_add(size, broadcast(0.35), broadcast(1.0))
    p = broadcast(-0.02910899332)
    p = multiply_add(p, t, broadcast(0.1437885114))
    p = multiply_add(p, t, broadcast(-0.2553278367))
    p = multiply_add(p, t, broadcast(0.1587226155))
    p = multiply_add(p, t, broadcast(-0.02279113099))
    p = multiply_add(p, t, broadcast(0.1053693429))
    p = multiply_add(p, t, broadcast(0.1198690558))
    p = multiply_add(p, t, broadcast(0.1398567084))
    p = multiply_add(p, t, broadcast(0.1396217113))
    tail = exp(size * size * -0.5) * t * p
    return at_least(x, broadcast(0.0)) - size * tail
