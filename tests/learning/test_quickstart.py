"""The quickstart with a fixed number of steps, so that the result does not depend on the machine's speed."""

from __future__ import annotations

import os
import re
import subprocess
import sys


def test_quickstart(tmp_path):
    settings = ("training.steps=700", "training.validate_every=700")
    command = [sys.executable, "-m", "allyouneed", "quickstart", "--out", "run"]
    for setting in settings:
        command += ["--set", setting]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # beside the other tests
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert "2026년 11월 22일 일요일  →  Sunday, November 22, 2026" in lines
    assert "이천이십육년 십일월 이십이일  →  November 22, 2026" in lines
    assert any(line.startswith("Try next") for line in lines)
    exact = re.fullmatch(r"exact match (\d+\.\d) %", lines[-1])
    assert float(exact[1]) >= 98
    assert re.search(r"step 100/.*loss \d.*tokens/s.*left", done.stderr)
