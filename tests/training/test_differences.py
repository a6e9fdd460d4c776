"""Processes of a run with other options or versions, or on another kind of processor, are refused."""

from __future__ import annotations

import dataclasses
import socket

import pytest

from allyouneed.errors import UserError
from allyouneed.training.distributed.differences import facts_of, refuse_differences
from allyouneed.training.distributed.ranks import Ranks
from tests.conftest import TOY, toy_request


class WithAnother(Ranks):
    """Rank 0 of two ranks, of which the other has the given facts."""

    def __init__(self, **facts: object):
        object.__setattr__(self, "facts", {name: str(fact) for name, fact in facts.items()})
        super().__init__()

    def gather(self, value):
        return [value, (value[0], self.facts)]


def test_equal_processes_are_accepted(tmp_path):
    facts = facts_of(toy_request(tmp_path / "text", tmp_path / "run"))
    refuse_differences(Ranks(), facts)
    refuse_differences(WithAnother(**facts), facts)


@pytest.mark.parametrize(
    ("name", "changed"),
    [
        ("--set training.seed", {"settings": [*TOY, "training.seed=2"]}),
        ("--set training.log_every", {"settings": TOY[:-1]}),
        ("--dry-run", {"dry_run": True}),
    ],
)
def test_other_options_are_refused(tmp_path, name, changed):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    facts, other = facts_of(request), facts_of(dataclasses.replace(request, **changed))
    with pytest.raises(UserError, match=rf"^rank 1 on {socket.gethostname()} has {name} = \S+, but rank 0 on .* has "):
        refuse_differences(WithAnother(**other), facts)


def test_recipe_files_are_compared_by_content(tmp_path):
    recipes = []
    for folder, content in (("a", "steps = 2"), ("b", "steps = 2"), ("c", "steps = 3")):
        (tmp_path / folder).mkdir()
        recipes.append(tmp_path / folder / "own.toml")
        recipes[-1].write_text(f"[training]\n{content}\n")
    request = toy_request(tmp_path / "text", tmp_path / "run")
    first, same, other = (facts_of(dataclasses.replace(request, recipe=str(recipe))) for recipe in recipes)
    assert first == same
    assert first["--recipe"] != other["--recipe"]
