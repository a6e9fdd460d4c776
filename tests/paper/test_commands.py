"""The commands `allyouneed paper ...`: what they load, and what they need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True)


def test_help_loads_neither_torch_nor_matplotlib(tmp_path):
    code = """
import sys
from allyouneed.cli import main
sys.argv = ["allyouneed", "paper", "--help"]
try:
    main()
finally:
    print({"torch.nn", "matplotlib"} & set(sys.modules))  # torch itself is deferred
"""
    process = run_python(code, tmp_path)
    assert process.returncode == 0, process.stderr
    assert process.stdout.endswith("set()\n")
    assert "table3" in process.stdout


def test_without_matplotlib_a_command_is_refused_before_it_measures(tmp_path):
    code = """
import sys
sys.modules["matplotlib"] = None  # importing it raises ImportError
sys.argv = ["allyouneed", "paper", "table1"]
from allyouneed.cli import main
main()
"""
    process = run_python(code, tmp_path)
    assert process.returncode == 2
    assert process.stderr == "error: plots need matplotlib: pip install 'allyouneed[paper]'.\n"
    assert list(tmp_path.iterdir()) == []
