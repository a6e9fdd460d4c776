"""Choice of the device, and requests for devices that do not exist."""

import pytest
import torch

from allyouneed.devices import choose_device
from allyouneed.errors import UserError


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("LOCAL_RANK", raising=False)


def test_without_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == choose_device("cpu") == torch.device("cpu")
    with pytest.raises(UserError, match="has no CUDA"):
        choose_device("cuda")
    with pytest.raises(UserError, match="device gpu: choose"):
        choose_device("gpu")


def test_each_local_rank_gets_one_gpu(two_gpus, monkeypatch):
    assert choose_device("auto") == torch.device("cuda", 0)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert choose_device("cuda") == torch.device("cuda", 1)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("rank", ["2", "-1", "one"])
def test_more_ranks_than_gpus(two_gpus, monkeypatch, rank):
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(UserError, match=f"LOCAL_RANK is {rank} .* this machine has 2 GPUs"):
        choose_device("auto")
