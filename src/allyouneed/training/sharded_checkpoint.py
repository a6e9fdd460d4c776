"""Tensors of a sharded run, written by all ranks and read by any number of ranks (`torch.distributed.checkpoint`).

Each rank writes its rows of all tensors into one safetensors file, whose header says which rows they are. There is no
other metadata, and no pickle. PyTorch divides the tensors anew for the ranks that read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from allyouneed.errors import UserError
from allyouneed.files import cannot_write


def write_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write this rank's rows of tensors into a folder that exists; all ranks call this.

    Args:
        folder: The folder, on a file system that all ranks share.
        tensors: Tensors by name, the same names on all ranks. Those that are not sharded are written once.

    Raises:
        UserError: If a rank cannot write, for example because the disk is full.
    """
    try:
        save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True))
    except CheckpointException as error:
        causes = [cause for cause, _ in error.failures.values() if isinstance(cause, OSError | SafetensorError)]
        if not causes:
            raise
        first = causes[0] if isinstance(causes[0], OSError) else OSError(str(causes[0]))
        raise cannot_write(folder, first) from error


def shapes_of_shards(folder: Path) -> dict[str, torch.Size]:
    """Return the whole shape of each tensor in a folder that `write_shards` has written."""
    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: each.size for name, each in stored.items() if isinstance(each, TensorStorageMetadata)}


def read_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Read tensors in place: those of this rank's rows if they are sharded, all rows otherwise.

    Args:
        folder: A folder that `write_shards` has written, with any number of ranks.
        tensors: Tensors by name, which are overwritten.

    Raises:
        UserError: If a tensor is missing or has another shape.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # that each rank reads by itself, which is intended
            load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)
    except (CheckpointException, RuntimeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{folder}: the tensors of this checkpoint are not those of the model ({reason}).") from error
