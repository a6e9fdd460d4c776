"""Mistakes in a Transformer of one class, whose parameters are listed by role; several concern one part only."""

from __future__ import annotations

import json

import pytest
import torch

import allyouneed
from allyouneed.errors import UserError
from tests.verification.one_class import MISTAKES, PAD, OneClass


def test_it_is_right():
    torch.manual_seed(0)
    verification = allyouneed.verify(OneClass())
    assert verification.passed, verification.report()
    assert verification.diagnosis is not None, verification.unmapped
    assert not verification.diagnosis.variations
    assert verification.pad_id == PAD  # found, since no attribute names it


# Each takes about two seconds: a quarter of the mistakes, and all of them with the slow tests.
CASES = [
    pytest.param(mistake, marks=[pytest.mark.slow] if number % 4 else []) for number, mistake in enumerate(MISTAKES)
]


@pytest.mark.parametrize("mistake", CASES)
def test_a_mistake_is_named_with_its_place(mistake):
    torch.manual_seed(0)
    verification = allyouneed.verify(OneClass(mistake), pad_id=PAD)
    name, where = MISTAKES[mistake]
    [finding] = verification.of("failed")
    assert (finding.name, finding.site.get("en", "")) == (name, where)
    assert not verification.diagnosis.unexplained


def test_a_multiple_is_told_by_its_factor():
    torch.manual_seed(0)
    [finding] = allyouneed.verify(OneClass("values scaled"), pad_id=PAD).of("failed")
    expected = "encoder layer 1, self-attention: concatenated heads are √d_k = √6 = 2.45 times too small"
    assert finding.measured["en"] == expected


def test_parameters_that_take_no_part_are_listed():
    verification = allyouneed.verify(OneClass("source embedding"), pad_id=PAD)
    [unused] = [finding for finding in verification.of("note") if finding.name == "unused"]
    assert unused.measured["en"] == "trg_emb.weight"


def test_json_has_no_nan():
    class Broken(OneClass):
        def forward(self, src, trg):
            return super().forward(src, trg) * (float("nan") if bool((src == PAD).any()) else 1.0)

    result = allyouneed.verify(Broken(), pad_id=PAD).as_dict()
    assert not result["passed"]
    assert json.loads(json.dumps(result, allow_nan=False)) == result


@pytest.mark.parametrize(("arguments", "message"), [({"pad_id": 99}, "pad_id 99"), ({"num_heads": 5}, "num_heads 5")])
def test_impossible_numbers_are_rejected(arguments, message):
    with pytest.raises(UserError, match=message):
        allyouneed.verify(OneClass(), **arguments)
