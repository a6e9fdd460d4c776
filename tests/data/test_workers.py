"""Worker processes give the results of `map`, in order, and end with the program."""

import os
import subprocess
import sys
import time
from functools import partial

import pytest

from allyouneed.config import DataConfig
from allyouneed.data import workers
from allyouneed.data.blocks import in_blocks, prepare_block
from allyouneed.data.corpora import corpus
from allyouneed.data.files.formats import RawPair
from allyouneed.data.prepare import prepare
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.data.workers import Workers, usable_cores
from allyouneed.errors import UserError
from tests.conftest import toy_pairs, write_pairs
from tests.data.worker_functions import end, length, refuse, say


def test_results_are_in_the_order_of_the_blocks():
    with Workers(length, 3) as pool:
        assert list(pool.map([0] * size for size in range(1, 30))) == list(range(1, 30))
        assert list(pool.map([])) == []
        assert list(pool.map([[1, 2]])) == [2]  # the processes are used again


def test_blocks_are_read_only_a_few_ahead():
    read = []

    def blocks():
        for number in range(100):
            read.append(number)
            yield [number]

    with Workers(length, 2) as pool:
        results = pool.map(blocks())
        for number in range(20):
            next(results)
            assert len(read) <= number + 6


@pytest.mark.parametrize("processes", [1, 2])
def test_an_exception_of_the_function_is_raised(processes):
    with Workers(refuse, processes) as pool, pytest.raises(UserError, match=r"block \[1, 1, 1\] is refused"):
        list(pool.map([1] * size for size in range(1, 9)))


def test_what_the_function_prints_is_no_answer_and_processes_end():
    with Workers(say, 2) as pool:
        pids = set(pool.map([[1]] * 20))
    assert os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_process_that_ends_is_reported():
    with (
        Workers(end, 2) as pool,
        pytest.raises(UserError, match=r"has ended \(exit code 7\), probably for lack of mem"),
    ):
        list(pool.map([[1], [2]]))


def test_workers_end_when_the_program_is_killed(tmp_path):
    """A script without `if __name__ == "__main__"` can start workers, and none is left behind."""
    script = tmp_path / "script.py"
    script.write_text(
        "import time\nfrom allyouneed.data.workers import Workers\nfrom tests.data.worker_functions import say\n"
        "with Workers(say, 2) as pool:\n    print(*set(pool.map([[1]] * 9)), flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment) as process:
        pids = [int(pid) for pid in process.stdout.readline().split()]
        process.kill()
    assert pids
    for _ in range(500):
        if not any(os.path.exists(f"/proc/{pid}/cmdline") and is_running(pid) for pid in pids):
            return
        time.sleep(0.01)
    raise AssertionError("workers are left")


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_workers_load_only_what_they_need():
    """They start fast and are small."""
    code = "import sys, allyouneed.data.block_files; sys.exit(any(name in sys.modules for name in ('torch', 'numba')))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_blocks_are_prepared_as_in_one_process():
    tokenizer = learn_tokenizer([text for pair in toy_pairs(300) for text in pair], 300)
    function = partial(prepare_block, data=DataConfig(max_length=9), tokenizer=tokenizer)
    blocks = list(in_blocks(RawPair(line, *pair) for line, pair in enumerate(toy_pairs(12_000), 1)))
    with Workers(function, 2) as pool:
        for found, expected in zip(pool.map(blocks), map(function, blocks), strict=True):
            assert found.faults == expected.faults
            assert found.source.ids.tolist() == expected.source.ids.tolist()


def test_the_prepared_folder_does_not_depend_on_the_number_of_processes(tmp_path, monkeypatch):
    pairs = [*toy_pairs(4000), ("a", ""), *toy_pairs(400)]
    files = write_pairs(tmp_path, "train", pairs)
    contents = []
    monkeypatch.setattr("allyouneed.data.prepare._MANY_PAIRS", 0)
    monkeypatch.setattr("allyouneed.data.blocks._PAIRS", 300)
    for processes in ("1", "2"):
        monkeypatch.setattr("allyouneed.data.prepare.usable_cores", lambda count=int(processes): count)
        folder = tmp_path / processes
        prepare(folder, [corpus(*files)], None, DataConfig(vocab_size=300, faults="warn"), lambda line: None)
        contents.append({path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()})
    assert len(contents[0]) >= 9
    assert contents[0] == contents[1]


def test_the_number_of_processes_follows_the_usable_cores(monkeypatch):
    monkeypatch.setattr(workers.os, "sched_getaffinity", lambda process: {0, 1, 2, 3}, raising=False)
    for limit, count in (("", 4), ("1", 1), ("2", 2), ("64", 4), ("0", 4), ("x", 4)):
        monkeypatch.setenv("OMP_NUM_THREADS", limit)
        assert usable_cores() == count
