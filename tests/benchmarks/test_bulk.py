"""The benchmark of large files: what it compares, and the memory and time that it adds up."""

from __future__ import annotations

import sys

from benchmarks.bulk import Files, Row, Watched


def test_outputs_that_differ_and_files_that_remain_are_reported(tmp_path):
    files = Files(tmp_path, 2)
    for path in (files.source, files.expected, files.found):
        path.write_text("a\nb\n")
    assert files.problems() == []
    assert not files.found.exists()
    files.found.write_text("a\nc\n")
    (tmp_path / "found.resume").write_text("{}")
    assert files.problems() == ["output DIFFERS", "found.resume remains"]


def test_time_and_memory_of_descendants_count(tmp_path):
    busy = "import time; block = b'x' * (80 << 20)\nwhile time.process_time() < 0.5: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}], check=True)"
    row = Row("busy")
    Watched([sys.executable, "-c", parent], row).finish()
    assert row.peak > 80 << 20
    assert 0.3 < row.processor < 5
    assert row.seconds > 0.5
