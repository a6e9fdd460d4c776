"""Micro-batches chosen by memory: the estimate, the available memory, and runs with too little of it."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from allyouneed.config import load_recipe
from allyouneed.errors import UserError
from allyouneed.training import assemble
from allyouneed.training.planning import available_memory as available
from allyouneed.training.planning.agreement import stored_micro_batches
from allyouneed.training.planning.memory_estimate import LargestStep
from allyouneed.training.planning.micro_batches import settle
from allyouneed.training.planning.schedule import PlanHistory, plan_for_steps
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.train import FINISHED, train
from tests.conftest import silent, toy_request
from tests.training.test_distributed import EXACT, assert_close
from tests.training.test_resume import losses

GB = 10**9


def largest_step(recipe="base", longest=257, **changes) -> LargestStep:
    config = load_recipe(recipe)
    return LargestStep(config, config.data.vocab_size, longest, **changes)


def test_a_step_of_base_needs_what_was_measured():
    """docs/experiments.md has the measurements."""
    step = largest_step(longest=256)
    assert 10 * GB < step.memory(1).total < 13 * GB
    assert settle(step, None, 24 * GB).count == 1
    assert settle(step, None, 6 * GB).count > 2


@pytest.mark.parametrize("recipe", ["tiny", "base", "big"])
def test_the_smallest_number_of_parts_that_fits_is_chosen(recipe):
    step = largest_step(recipe)
    whole = step.memory(1).total
    for available_bytes in (2 * whole, whole, whole // 2, int(1.3 * step.memory(25_000).total)):
        chosen = settle(step, None, available_bytes)
        assert chosen.memory == step.memory(chosen.count).total <= 0.9 * available_bytes
        if chosen.count > 1:
            assert step.memory(chosen.count - 1).total > 0.9 * available_bytes


def test_more_parts_never_need_more_memory():
    step = largest_step(longest=900)
    totals = [step.memory(parts).total for parts in range(1, 200)]
    assert totals == sorted(totals, reverse=True)
    assert largest_step(longest=900, ranks=2).memory(1) == step.memory(2)


def test_a_part_has_at_least_the_longest_sentence():
    long, short = largest_step(longest=30_000), largest_step(longest=20)
    assert long.memory(10_000).activations > 10 * short.memory(10_000).activations
    with pytest.raises(UserError, match=r"one sentence at a time \(the longest has 30,000 tokens\), and 8 GB are"):
        settle(long, None, 8 * GB)
    assert settle(long, 3, 8 * GB).count == 3  # a given number holds


def test_the_reference_implementation_keeps_attention_weights_and_all_logits():
    config = load_recipe("tiny").replace(training={"plain": True})
    plain = LargestStep(config, 10_000, longest=1024, is_packed=False).memory(1)
    assert plain.activations > 4 * LargestStep(load_recipe("tiny"), 10_000, longest=1024).memory(1).activations
    assert plain.activations > 4 * 4096 * (4 * 3 * 4 * 1024 + 2 * 10_000)


def write(path, text) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_available_memory_is_the_least_of_machine_and_control_groups(tmp_path, monkeypatch):
    cpu = torch.device("cpu")
    monkeypatch.setattr(available.resource, "getrlimit", lambda kind: (available.resource.RLIM_INFINITY, 0))
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    write(tmp_path / "proc/meminfo", "MemTotal: 30000000 kB\nMemAvailable: 20000000 kB\n")
    assert available.available_memory(cpu, tmp_path) == 20_000_000 * 1024
    write(tmp_path / "proc/self/cgroup", "0::/outer/inner\n")
    groups = tmp_path / "sys/fs/cgroup"
    write(groups / "outer/inner/memory.max", "max\n")
    write(groups / "outer/memory.max", "8000000000\n")
    write(groups / "outer/memory.current", "3000000000\n")
    write(groups / "outer/memory.stat", "anon 1\ninactive_file 1000000000\n")
    assert available.available_memory(cpu, tmp_path) == 6 * GB
    write(tmp_path / "proc/self/cgroup", "7:cpu:/\n4:memory:/a container's name outside of it\n0::/\n")
    write(groups / "memory/memory.limit_in_bytes", "5000000000\n")
    write(groups / "memory/memory.usage_in_bytes", "1000000000\n")
    assert available.available_memory(cpu, tmp_path) == 4 * GB
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert available.available_memory(cpu, tmp_path) == 2 * GB
    write(tmp_path / "proc/self/statm", "100000 1 1 1 0 1 0\n")
    monkeypatch.setattr(available.resource, "getrlimit", lambda kind: (10**9, 10**9))
    assert available.available_memory(cpu, tmp_path) == 10**9 - 100_000 * available.os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("record", "ranks", "parts"),
    [
        ({"micro_batches": 2, "ranks": 3}, 2, 3),
        ({"micro_batches": 2, "ranks": 3}, 1, 6),
        ({"micro_batches": 1, "ranks": 1}, 3, 1),
        ({"micro_batches": 2, "ranks": 2}, 3, 2),
        ({"micro_batches": 2}, 3, 2),  # of an earlier version
        ({}, 3, 1),
    ],
)
def test_another_number_of_ranks_divides_a_batch_into_as_many_parts(tmp_path, record, ranks, parts):
    plan = plan_for_steps(load_recipe("tiny"))
    run = RunRecord(tmp_path / "run.json")
    assert stored_micro_batches(run, ranks) is None
    run.update(**record, **PlanHistory([plan]).as_dict())
    assert stored_micro_batches(run, ranks) == parts


def stored(run) -> int:
    return json.loads((run / "run.json").read_text())["micro_batches"]


def test_chosen_parts_change_nothing_and_a_resumed_run_keeps_them(tmp_path, monkeypatch):
    one = toy_request(tmp_path / "text", tmp_path / "one", EXACT)
    train(one, silent())
    assert stored(one.out) == 1
    several, calls = dataclasses.replace(one, out=tmp_path / "several"), []

    def with_little_memory(step, given, left):
        calls.append(settle(step, given, int(step.memory(3).total / 0.899)))
        return calls[-1]

    monkeypatch.setattr(assemble, "settle", with_little_memory)
    train(several, silent())
    assert stored(several.out) == calls[0].count > 1
    assert_close(several.out, one.out)
    monkeypatch.setattr(assemble, "settle", lambda *values: calls.append(settle(*values)) or calls[-1])
    train(dataclasses.replace(several, settings=[*several.settings, "training.steps=42"]), silent())
    assert calls[1].count == calls[0].count  # although all memory is available
    assert losses(several.out)[-1][0] == 42


def test_too_little_memory_is_refused_before_the_first_step(tmp_path, monkeypatch):
    request = toy_request(tmp_path / "text", tmp_path / "run", EXACT)
    monkeypatch.setattr(assemble, "available_memory", lambda device: 10**5)
    with pytest.raises(UserError, match="even with one sentence at a time"):
        train(request, silent())
    given = dataclasses.replace(request, settings=[*request.settings, "training.micro_batches=2"])
    assert train(given, silent()).status == FINISHED
    assert stored(given.out) == 2
