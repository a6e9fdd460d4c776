"""An interrupted preparation continues, with the result of an uninterrupted one, byte for byte."""

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import allyouneed
from allyouneed.config import DataConfig
from allyouneed.data import block_files
from allyouneed.data.block_files import StoredBlocks, origin_of_blocks, read_block, write_block
from allyouneed.data.blocks import in_blocks, prepare_block
from allyouneed.data.cleaning.block import CleaningRules, cleaning_rules
from allyouneed.data.corpora import corpus
from allyouneed.data.files.formats import RawPair
from allyouneed.data.inspection.overlap import ValidationOverlap
from allyouneed.data.prepare import prepare
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from tests.conftest import toy_pairs, write_pairs

DATA = DataConfig(vocab_size=300, max_length=12, cleaning="control,entities,duplicates", faults="warn")
PAIRS = [
    *(RawPair(line, *pair) for line, pair in enumerate(toy_pairs(60), 1)),
    RawPair(61, "", "x", None, "a\nfile"),
    RawPair(62, "a b", "b a", "not UTF-8"),
    RawPair(63, "a &amp; b", "b \x9d\ud800 a"),
    RawPair(64, "a " * 40, "b " * 40),
]


@pytest.fixture(scope="module")
def tokenizer():
    return learn_tokenizer([text for pair in toy_pairs(300) for text in pair], 300)


def assert_equal(one, other):
    assert (one.faults, one.repairs) == (other.faults, other.repairs)
    for name in ("keys", "is_text", "lengths", "bands"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    for first, second in ((one.source, other.source), (one.target, other.target)):
        assert np.array_equal(first.ids, second.ids)
        assert first.ids.dtype == second.ids.dtype
        assert np.array_equal(first.lengths, second.lengths)


def test_a_block_comes_back(tmp_path, tokenizer):
    rules = cleaning_rules(DATA, ("de", "en"))
    for pairs in (PAIRS, PAIRS[:1], []):
        block = prepare_block(pairs, DATA, tokenizer, None, rules)
        write_block(tmp_path / "new" / "a.npz", block)
        assert_equal(read_block(tmp_path / "new" / "a.npz"), block)
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.npz"]
    assert read_block(tmp_path / "none") is None


def test_damage_is_found(tmp_path, tokenizer):
    path, block = tmp_path / "a.npz", prepare_block(PAIRS, DATA, tokenizer)
    write_block(path, block)
    whole = path.read_bytes()
    damaged = [whole[:size] for size in range(0, len(whole), 97)]
    for position in range(0, len(whole), 11):
        damaged.append(whole[:position] + bytes([whole[position] ^ 0x41]) + whole[position + 1 :])
    for content in damaged:
        path.write_bytes(content)
        found = read_block(path)
        if found is not None:  # a byte that means nothing, such as the time of an entry
            assert_equal(found, block)
    assert sum(1 for content in damaged[:50] if path.write_bytes(content) and read_block(path) is None) >= 45


def test_stored_results_depend_on_all_arguments(tokenizer):
    other = learn_tokenizer(["x y z"] * 20, 290)
    arguments = [
        (DATA, tokenizer, None, CleaningRules()),
        (DATA.model_copy(update={"max_length": 13}), tokenizer, None, CleaningRules()),
        (DATA, other, None, CleaningRules()),
        (DATA, tokenizer, ValidationOverlap(PAIRS[:2]), CleaningRules()),
        (DATA, tokenizer, ValidationOverlap(PAIRS[:3]), CleaningRules()),
        (DATA, tokenizer, None, CleaningRules(("control",))),
    ]
    assert len({origin_of_blocks(*each) for each in arguments}) == len(arguments)
    blocks = [
        PAIRS,
        PAIRS[:-1],
        PAIRS[::-1],
        [RawPair(1, "a", "b")],
        [RawPair(1, "a", "b", "x")],
        [RawPair(2, "a", "b")],
    ]
    names = {block_files._name(pairs, b"x") for pairs in blocks}
    assert len(names) == 6


def test_only_what_is_missing_or_damaged_is_prepared(tmp_path, tokenizer, monkeypatch):
    prepared = []

    def counted(pairs):
        prepared.append(pairs[0].line)
        return prepare_block(pairs, DATA, tokenizer)

    monkeypatch.setattr("allyouneed.data.blocks._PAIRS", 16)
    blocks = list(in_blocks(PAIRS))
    function = StoredBlocks(counted, tmp_path / "blocks", b"origin")
    expected = [function(block) for block in blocks]
    assert prepared == [1, 17, 33, 49]
    files = sorted((tmp_path / "blocks").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    files[1].write_bytes(files[1].read_bytes()[:-30])
    files[2].unlink()
    prepared.clear()
    for block, before in zip(blocks, expected, strict=True):
        assert_equal(function(block), before)
    assert prepared == [17, 33]


def test_blocks_that_cannot_be_stored_are_still_prepared(tmp_path, tokenizer):
    (tmp_path / "blocks").write_text("a file")
    function = StoredBlocks(partial(prepare_block, data=DATA, tokenizer=tokenizer), tmp_path / "blocks", b"origin")
    assert_equal(function(PAIRS), prepare_block(PAIRS, DATA, tokenizer))


SCRIPT = """
import sys, time
from pathlib import Path
from allyouneed.config import DataConfig
from allyouneed.data import blocks, prepare as module
from allyouneed.data.corpora import corpus
blocks._PAIRS, module._MANY_PAIRS, module.usable_cores = 300, 0, lambda: 2
folder, *files = map(Path, sys.argv[1:])
write_store = module.write_store
def slowly(found):
    for number, block in enumerate(found):
        yield block
        if number == 6:
            print("half", flush=True)
            time.sleep(600)
module.write_store = lambda path, found: write_store(path, slowly(found))
module.prepare(folder, [corpus(*files)], None, DataConfig(vocab_size=300, faults="warn"), lambda line: None)
"""


def test_a_killed_preparation_continues(tmp_path, monkeypatch):
    files = write_pairs(tmp_path, "train", [*toy_pairs(4000), ("a", ""), *toy_pairs(400)])
    environment = {**os.environ, "PYTHONPATH": str(Path(allyouneed.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT, tmp_path / "killed", *files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as process:
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGKILL)
    finished = sorted((tmp_path / "killed" / "blocks").glob("*.npz"))
    assert len(finished) >= 7
    assert not (tmp_path / "killed" / "corpus.json").exists()
    finished[0].write_bytes(finished[0].read_bytes()[:100])
    written: list[Path] = []
    monkeypatch.setattr("allyouneed.data.block_files.write_block", lambda path, block: written.append(path))
    monkeypatch.setattr("allyouneed.data.prepare._MANY_PAIRS", 0)
    monkeypatch.setattr("allyouneed.data.prepare.usable_cores", lambda: 1)
    monkeypatch.setattr("allyouneed.data.blocks._PAIRS", 300)
    contents, shown = [], list[str]()
    for name in ("killed", "whole"):
        folder = tmp_path / name
        prepare(folder, [corpus(*files)], None, DataConfig(vocab_size=300, faults="warn"), shown.append)
        contents.append({p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()})
        if name == "killed":
            assert finished[0] in written  # it was damaged
            assert not {*finished[1:]} & {*written}
    assert sum("blocks were finished before, and are used again" in line for line in shown) == 1
    assert len(contents[0]) >= 9
    assert contents[0] == contents[1]


def test_a_finished_folder_has_no_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.data.prepare._MANY_PAIRS", 0)
    monkeypatch.setattr("allyouneed.data.prepare.usable_cores", lambda: 1)
    files = write_pairs(tmp_path, "train", toy_pairs(600))
    prepared = prepare(tmp_path / "data", [corpus(*files)], None, DATA, lambda line: None)
    assert prepared.is_complete
    assert not prepared.blocks.exists()
