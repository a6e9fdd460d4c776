"""Distributed Muon: each matrix is transformed once, by the rank that owns it, which sends the result to the others.

A rank owns consecutive matrices of a stack of one shape, at most one more than any other rank.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.distributed
from torch import Tensor

from allyouneed.training.distributed.ranks import Ranks


def transform_on_owners(
    matrices: Tensor, rows: int | None, ranks: Ranks, transform: Callable[[Tensor], Tensor]
) -> Tensor:
    """Transform matrices, each on the rank that owns it. All ranks call this.

    Args:
        matrices: Matrices, [count, rows, columns]; or this rank's rows of sharded ones, [count, local rows, columns].
        rows: Rows of a whole matrix, if they are sharded; None if all ranks have whole matrices.
        ranks: Processes of the run. A single process transforms all matrices.
        transform: Maps matrices [n, rows, columns] to matrices of that shape.

    Returns:
        The transformed matrices, or this rank's rows of them, with the shape of `matrices`.
    """
    if ranks.count == 1:
        return transform(matrices)
    owned = [len(part) for part in torch.arange(len(matrices)).tensor_split(ranks.count)]  # by rank
    if rows is None:
        return _gathered(_transform_any(matrices.split(owned)[ranks.rank], transform), owned)
    heights = [len(part) for part in torch.arange(rows).chunk(ranks.count)]  # rows by rank, as `DTensor` divides them
    heights += [0] * (ranks.count - len(heights))
    mine, columns = owned[ranks.rank], matrices.shape[2]
    whole = torch.cat(_exchanged(matrices.split(owned), [(mine, height, columns) for height in heights]), dim=1)
    results = _transform_any(whole, transform).split(heights, dim=1)
    return torch.cat(_exchanged(results, [(count, matrices.shape[1], columns) for count in owned]))


def _gathered(own: Tensor, owned: list[int]) -> Tensor:
    """Return the matrices of all ranks, given this rank's and their numbers by rank."""
    padded = own.new_empty(max(owned), *own.shape[1:])
    padded[: len(own)] = own
    gathered = [torch.empty_like(padded) for _ in owned]
    torch.distributed.all_gather(gathered, padded)
    return torch.cat([part[:count] for part, count in zip(gathered, owned, strict=True)])


def _exchanged(tensors: Sequence[Tensor], shapes: Sequence[tuple[int, ...]]) -> list[Tensor]:
    """Send a tensor to each rank, and return those received, which have the given shapes."""
    sizes = [torch.Size(shape).numel() for shape in shapes]
    received, sent = tensors[0].new_empty(sum(sizes)), torch.cat([tensor.flatten() for tensor in tensors])
    torch.distributed.all_to_all_single(received, sent, sizes, [tensor.numel() for tensor in tensors])
    return [part.view(shape) for part, shape in zip(received.split(sizes), shapes, strict=True)]


def _transform_any(matrices: Tensor, transform: Callable[[Tensor], Tensor]) -> Tensor:
    return transform(matrices) if len(matrices) else matrices
