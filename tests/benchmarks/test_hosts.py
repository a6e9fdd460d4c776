"""Training on three hosts (network namespaces), one of which is cut off."""

from __future__ import annotations

import pytest

from benchmarks import hosts


@pytest.fixture(scope="module")
def scenarios(tmp_path_factory):
    if reason := hosts.why_not():
        pytest.skip(reason)
    with hosts.network() as made:
        yield hosts.Scenarios(made, tmp_path_factory.mktemp("hosts"))


@pytest.mark.slow
@pytest.mark.parametrize("name", hosts.SCENARIOS)
def test_promises_are_kept(name, scenarios):
    kept, happened = hosts.SCENARIOS[name](scenarios)
    assert kept, happened


def test_a_machine_without_namespaces_is_reported(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert hosts.why_not() == "network namespaces need root, ip and unshare"
