"""The quickstart with a fixed number of steps, so that the result does not depend on the machine's speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.parametrize("steps", [40, pytest.param(700, marks=pytest.mark.slow)])
def test_quickstart(tmp_path, steps):
    every = min(steps, 100)
    settings = (f"training.steps={steps}", f"training.validate_every={steps}", f"training.log_every={every}")
    command = [sys.executable, "-m", "allyouneed", "quickstart", "--out", "run"]
    for setting in settings:
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # beside the other tests
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    shown = [line.partition("  →  ") for line in lines]
    translated = {source: target for source, arrow, target in shown if arrow}
    assert translated.keys() >= {"2026년 11월 22일 일요일", "이천이십육년 십일월 이십이일"}
    assert any(line.startswith("Try next") for line in lines)
    exact = re.fullmatch(r"exact match (\d+\.\d) %", lines[-1])
    assert exact
    if steps == 700:
        assert translated["2026년 11월 22일 일요일"] == "Sunday, November 22, 2026"
        assert translated["이천이십육년 십일월 이십이일"] == "November 22, 2026"
        assert float(exact[1]) >= 98
    assert re.search(rf"step {every}/.*loss \d.*tokens/s.*left", done.stderr)
