"""Tensors of a sharded run, written by all ranks and read by any number of ranks (`torch.distributed.checkpoint`).

Each rank writes its rows of all tensors into one safetensors file, whose header says which rows they are. There is no
other metadata, and no pickle. PyTorch divides the tensors anew for the ranks that read them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import Tensor
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.metadata import TensorStorageMetadata
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save

from allyouneed.errors import UserError
from allyouneed.files import cannot_write, new_folder, write_file
from allyouneed.shared_files import VISIBLE_SECONDS, wait_until
from allyouneed.training.checkpoint import SHARDS
from allyouneed.training.distributed.ranks import Ranks


def write_shards(
    folder: Path, tensors: Mapping[str, Tensor], contents: Mapping[str, bytes | str], ranks: Ranks
) -> None:
    """Write a folder with the tensors of all ranks, atomically and with checksums; all ranks call this.

    Args:
        folder: The folder, on a file system that all ranks share. An existing folder is replaced.
        tensors: Tensors by name, the same names on all ranks. Those that are not sharded are written once.
        contents: Further files by name, which rank 0 writes.
        ranks: Processes of the run.

    Raises:
        UserError: If a rank cannot write, for example because the disk is full.
    """
    with new_folder(folder, replace=True) if ranks.is_first else nullcontext() as created:
        temporary: Path = ranks.share(created)
        _wait_for(temporary.is_dir, temporary)
        try:
            save(dict(tensors), storage_writer=HuggingFaceStorageWriter(str(temporary), save_distributed=True))
        except CheckpointException as error:
            causes = [cause for cause, _ in error.failures.values() if isinstance(cause, OSError)]
            raise (cannot_write(folder, causes[0]) if causes else error) from error
        if ranks.is_first:  # its file system may show the files of other hosts late, and they need a checksum
            _wait_for(lambda: len(list(temporary.glob(SHARDS))) == ranks.count, temporary)
            for name, content in contents.items():
                write_file(temporary / name, content)
    ranks.wait()


def shapes_of_shards(folder: Path) -> dict[str, torch.Size]:
    """Return the whole shape of each tensor in a folder that `write_shards` has written."""
    stored = HuggingFaceStorageReader(str(folder)).read_metadata().state_dict_metadata
    return {name: each.size for name, each in stored.items() if isinstance(each, TensorStorageMetadata)}


def read_shards(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Read tensors in place: this rank's rows if they are sharded, else all rows.

    Args:
        folder: A folder that any number of ranks has written.
        tensors: Tensors by name, which are overwritten.

    Raises:
        UserError: If a tensor is missing or has another shape.
    """
    shapes = shapes_of_shards(folder)
    for name, tensor in tensors.items():
        if shapes.get(name) != tensor.shape:
            raise UserError(f"{folder}: {name} is missing, or has another shape than in the model.")
    with warnings.catch_warnings(action="ignore"):  # that each rank reads by itself, which is intended
        load(dict(tensors), storage_reader=HuggingFaceStorageReader(str(folder)), no_dist=True)


def _wait_for(condition: Callable[[], bool], folder: Path) -> None:
    if not wait_until(condition, VISIBLE_SECONDS):
        raise UserError(f"{folder}: not all processes see the files of the others. Put --out on a shared file system.")
