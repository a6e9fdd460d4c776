"""A guard against slower kernels: instruction counts, which depend neither on the machine's load nor on its speed."""

from __future__ import annotations

import json

import pytest

from benchmarks import instructions


def test_instruction_counts_are_those_of_the_stored_table():
    if reason := instructions.obstacle() or instructions.outdated():
        pytest.skip(reason)
    stored = json.loads(instructions.TABLE.read_text())["instructions"]
    assert len(stored) >= 10
    lines = instructions.differences(instructions.counts(), stored)
    assert not lines, "\n".join(lines)


def test_changes_of_more_than_5_percent_are_reported_in_both_directions():
    stored = {"faster": 1000, "gone": 10, "same": 1000, "slower": 1000}
    found = {"faster": 949, "new": 10, "same": 1049, "slower": 1051}
    *lines, remedy = instructions.differences(found, stored)
    assert lines == [
        "faster: 949 instructions instead of 1,000 (-5.1%)",
        "gone: no longer counted",
        "new: not in the stored table",
        "slower: 1,051 instructions instead of 1,000 (+5.1%)",
    ]
    assert "--update" in remedy
    assert instructions.differences({"same": 1}, {"same": 1}) == []


def test_the_table_holds_for_named_versions_only(monkeypatch, tmp_path):
    monkeypatch.setattr(instructions, "TABLE", tmp_path / "table.json")
    instructions.TABLE.write_text(json.dumps({"versions": {"numba": "1", "python": "3"}}))
    monkeypatch.setattr(instructions, "versions", lambda: {"numba": "2", "python": "3"})
    assert instructions.outdated().startswith("The stored table is for numba 1 instead of 2.")
    monkeypatch.setattr(instructions, "versions", lambda: {"numba": "1", "python": "3"})
    assert instructions.outdated() is None
