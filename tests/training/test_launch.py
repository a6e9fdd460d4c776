"""What torchrun and srun announce in the environment."""

from __future__ import annotations

import pytest

from allyouneed.errors import UserError
from allyouneed.training.distributed.launch import reporting_once, translate_srun

SRUN = {
    **{"SLURM_PROCID": "4", "SLURM_STEP_NUM_TASKS": "5", "SLURM_LOCALID": "0", "SLURM_NODEID": "2"},
    **{"SLURM_STEP_TASKS_PER_NODE": "2(x2),1", "MASTER_ADDR": "node1", "MASTER_PORT": "29500"},
}
TORCHRUN = {"RANK": "4", "WORLD_SIZE": "5", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}


def test_tasks_of_srun_become_ranks():
    environment = dict(SRUN)
    translate_srun(environment)
    assert environment == {**SRUN, **TORCHRUN}


@pytest.mark.parametrize("missing", ["MASTER_ADDR", "MASTER_PORT", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"])
def test_tasks_without_a_meeting_point_are_independent_runs(missing):
    environment = {name: value for name, value in SRUN.items() if name != missing}
    before = dict(environment)
    translate_srun(environment)
    assert environment == before


def test_torchrun_within_a_task_of_srun_counts():
    environment = {**SRUN, "WORLD_SIZE": "2", "RANK": "1"}
    translate_srun(environment)
    assert (environment["WORLD_SIZE"], environment["RANK"]) == ("2", "1")


@pytest.mark.parametrize(("rank", "waits"), [("0", []), ("1", [30])])
def test_the_first_process_of_a_host_reports_an_error_before_contact(monkeypatch, rank, waits):
    waited = []
    monkeypatch.setattr("allyouneed.training.distributed.launch.time.sleep", waited.append)
    monkeypatch.setenv("LOCAL_RANK", rank)
    with pytest.raises(UserError), reporting_once():
        raise UserError("no such file")
    assert waited == waits
