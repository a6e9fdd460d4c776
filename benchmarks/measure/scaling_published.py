"""Published figures that the scaling model assumes, and published measurements that it is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

from benchmarks.measure.scaling_model import Accelerator, Link, Network

# The paper, section 5: target tokens of a batch and seconds of a step on 8 P100, and its own figure for the P100.
PAPER_TOKENS, PAPER_GPUS, PAPER_PEAK = 25_000, 8, 9.5e12
PAPER_SECONDS = {"base": 0.4, "big": 1.0}
PAPER_STEPS = {"base": 100_000, "big": 300_000}

# NVIDIA's DeepLearningExamples, PyTorch/Translation/Transformer/README.md: target tokens per second of the big model,
# WMT14 en-de, vocabulary 33,708, mixed precision (DGX-1 and DGX-2: V100, DGX A100: A100 40 GB), by number of GPUs.
NVIDIA_RATES = {
    "DGX A100, 10,240 tokens per GPU": {1: 82_059, 4: 286_081, 8: 551_599},
    "DGX-2, 10,240 tokens per GPU": {1: 39_911, 4: 137_703, 8: 267_815, 16: 517_227},
    "DGX-1, 5,120 tokens per GPU": {1: 32_942, 4: 109_726, 8: 214_656},
}
NVIDIA_VOCABULARY = 33_708

# NCCL's latencies (src/graph/tuning.cc): ring with the simple protocol, tree with LL128. Bandwidths of data sheets, in
# one direction: NVLink of DGX-1 P100 80 GB/s per GPU (4 links of 20), A100 300, H100 450; InfiniBand of a DGX A100
# 8 × 200 Gbit/s, of a DGX H100 8 × 400 Gbit/s. Collectives reach about 80 % of a link.
_REACHED = 0.8
_NVLINK, _NETWORK = (3.4e-6, 1.2e-6), (9.6e-6, 8.5e-6)


def _network(name: str, inside: float, between: float, per_node: int = 8) -> Network:
    """Make a network. inside: Bytes per second of a GPU. between: Bits per second of a node."""
    return Network(name, Link(_REACHED * inside, *_NVLINK), Link(_REACHED * between / 8, *_NETWORK), per_node)


P100_NODE = _network("NVLink of a DGX-1", 80e9, 100e9)
INFINIBAND = _network("InfiniBand, 8 × 400 Gbit/s per node", 450e9, 8 * 400e9)
ETHERNET_100 = _network("Ethernet, 100 Gbit/s per node", 450e9, 100e9)
ETHERNET_10 = _network("Ethernet, 10 Gbit/s per node", 450e9, 10e9)
NETWORKS = (INFINIBAND, ETHERNET_100, ETHERNET_10)

LAUNCH = 5e-6  # seconds between two operators that Python launches; 4 to 10 µs are usual


def accelerators(flops: dict[str, float], nvidia_flops: float) -> dict[str, Accelerator]:
    """Derive the share of the peak that training reaches from published rates.

    Args:
        flops: Operations per pair of tokens of `base` and `big`.
        nvidia_flops: The same of NVIDIA's big model.

    Returns:
        P100 (fp32) as in the paper; A100 (bf16) with NVIDIA's rate for big, and for base the same ratio to big as in
        the paper; H100 with the A100's shares, an assumption.
    """
    paper = {name: PAPER_TOKENS * flops[name] / (PAPER_GPUS * PAPER_PEAK * PAPER_SECONDS[name]) for name in flops}
    big = NVIDIA_RATES["DGX A100, 10,240 tokens per GPU"][1] * nvidia_flops / 312e12
    shares = {"base": big * paper["base"] / paper["big"], "big": big}
    return {
        "P100": Accelerator("P100", PAPER_PEAK, paper, 732e9, LAUNCH),
        "A100": Accelerator("A100", 312e12, shares, 1555e9, LAUNCH),
        "H100": Accelerator("H100", 989e12, shares, 3350e9, LAUNCH),
    }


@dataclass(frozen=True)
class Published:
    """A published measurement and its model. efficiency: Throughput divided by that of as many single GPUs."""

    system: str
    gpus: int
    efficiency: float
    predicted: float
    is_fitted: bool


def compare_with_nvidia() -> tuple[float, list[Published]]:
    """Explain NVIDIA's efficiencies by unequal batches: all GPUs wait for the slowest of N.

    Each GPU of that program draws a batch of its own, so times differ; if they are normally distributed with a
    deviation d, relative to the mean, the largest of N is about 1 + d · m(N) times the mean. The deviation is fitted on
    one measurement, DGX-2 with 4 GPUs; the others are predicted.

    Returns:
        The deviation, and the measurements.
    """
    fitted = NVIDIA_RATES["DGX-2, 10,240 tokens per GPU"]
    deviation = (4 * fitted[1] / fitted[4] - 1) / expected_maximum(4)
    rows = [
        Published(
            system,
            gpus,
            rate / (gpus * rates[1]),
            1 / (1 + deviation * expected_maximum(gpus)),
            rates is fitted and gpus == 4,
        )
        for system, rates in NVIDIA_RATES.items()
        for gpus, rate in rates.items()
        if gpus > 1
    ]
    return deviation, rows


def expected_maximum(count: int, step: float = 0.01, limit: int = 800) -> float:
    """Return the expected maximum of `count` independent standard normal numbers: ∫ [x > 0] - F(x)^count dx."""
    distribution = NormalDist()
    points = (step * (index + 0.5) for index in range(-limit, limit))
    return step * sum((x > 0) - distribution.cdf(x) ** count for x in points)
