"""The command on a few synthetic trees."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from allyouneed.errors import UserError
from allyouneed.paper.table4 import parsing as table4
from allyouneed.paper.table4.evalb import flat
from allyouneed.paper.table4.parsing import run_table4
from allyouneed.paper.table4.rebuilding import Fault
from allyouneed.paper.table4.table4_page import ParsedPart
from allyouneed.paper.table4.treebank import Tree
from tests.conftest import TOY, silent

SUBJECTS = ("(NP (PRP I))", "(NP-SBJ (DT the) (NN dog))", "(NP (NP (DT a) (NN cat)) (PP (IN in) (NP (NNP Rome))))")
VERBS = ("(VP (VBD ran))", "(VP (VBD saw) (NP (PRP me)))", "(VP (VBD was) (ADJP (JJ old)) (NP (-NONE- *)))")
ADVERBS = ("", "(ADVP (RB here))", "(ADVP (RB there)) (, ,)", "(PP (IN at) (NP (NN home)))")
SMALL = [
    *(setting for setting in TOY if not setting.startswith(("data.max_length", "training.validate_every"))),
    "training.average=1",
    "search.beam_size=3",
    "search.max_extra_length=8",
]


@pytest.fixture
def treebank(tmp_path: Path) -> Path:
    folder = tmp_path / "treebank"
    folder.mkdir()
    trees = [f"( (S {a} {s} {v} (. .)) )" for a in ADVERBS for s in SUBJECTS for v in VERBS]
    for name, part in {"train": trees, "dev": trees[::6], "test": trees[1::6]}.items():
        (folder / f"{name}.mrg.gz").write_bytes(gzip.compress("\n".join(part).encode()))
    return folder


def test_the_command_and_a_second_call(treebank, tmp_path, monkeypatch):
    out = tmp_path / "out"
    page = run_table4(treebank, out, 1, silent(), SMALL)
    text = page.read_text()
    assert "| this parser | 36 | the test part |" in text
    assert "| Transformer, 4 layers | 40,000 | WSJ section 23 | 91.3 |" in text
    assert "Search: beam 3, α = 0.3, output at most input + 8" in text
    for name in ("table4.csv", "scores.csv", "beams.csv", "lengths.csv", "lengths.png", "faults.csv", "results.json"):
        assert (out / name).is_file()
    parts = json.loads((out / "parts.json").read_text())["parts"]
    assert set(parts) == {"training", "dev, beam 1", "dev, beam 3", "dev, beam 4", "test, beam 3"}
    assert parts["training"]["steps"] == 40
    assert len((out / "trees" / "test-beam-3.parsed").read_text().splitlines()) == 6
    assert (
        (out / "trees" / "test.gold")
        .read_text()
        .startswith("(TOP (S (NP (PRP I)) (VP (VBD saw) (NP (PRP me))) (. .)))")
    )

    monkeypatch.setattr(table4, "_decode", lambda *_: pytest.fail("decoded again"))
    assert run_table4(treebank, out, 1, silent(), SMALL).read_text() == text
    with pytest.raises(UserError, match="was started with minutes = 1, now 2"):
        run_table4(treebank, out, 2, silent(), SMALL)


def test_interrupting_the_training_interrupts_the_command(treebank, tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.interruption.Deferred.requested", True)
    with pytest.raises(KeyboardInterrupt):
        run_table4(treebank, tmp_path / "out", 1, silent(), SMALL)


def test_training_steps_replace_the_minutes(tmp_path):
    trees = {name: [] for name in table4.PARTS}
    assert table4._request(tmp_path, trees, 20, []).settings[0] == "training.minutes=16"
    assert table4._request(tmp_path, trees, 20, ["training.steps=9"]).settings[0] == "training.steps=9"


def test_invalid_treebanks_are_refused(treebank, tmp_path):
    (treebank / "dev.mrg").write_text("(S (NP (PRP I)))\n(S\n")
    with pytest.raises(UserError, match=r"dev\.mrg:2: this bracket is never closed"):
        run_table4(treebank, tmp_path / "out", 1, silent())
    (treebank / "test.mrg.gz").unlink()
    with pytest.raises(UserError, match=r"no test\.mrg or test\.mrg\.gz found\. Give a folder"):
        run_table4(treebank, tmp_path / "out", 1, silent())


def test_scores_by_length_and_repaired_outputs():
    short, long = (Tree("S", tuple(Tree("NN", word="dog") for _ in range(words))) for words in (2, 12))
    wrong = Tree("S", (Tree("NP", long.children[:3]), *long.children[3:]))
    part = ParsedPart(
        [(short, flat(short.leaves())), (long, wrong)], ["", ""], [[], [Fault.UNCLOSED, Fault.TOO_FEW]], 1.0
    )
    assert part.repaired == 1
    assert part.scores_of(1, 10).f1 == 100.0
    assert part.scores_of(11, None).precision == 50.0
    assert part.scores_of(13, None).sentences == 0
