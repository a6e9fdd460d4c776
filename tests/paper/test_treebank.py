"""Trees: reading, cleaning, linearising, and rebuilding from outputs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from allyouneed.config import load_recipe
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.errors import UserError
from allyouneed.paper.table4.rebuilding import Fault, rebuild, spelled_out
from allyouneed.paper.table4.treebank import Span, Tree, read_trees

TWO_TREES = """
( (S
    (NP-SBJ-1 (DT The) (NN dog) )
    (VP (VBD was)
      (VP (VBN seen)
        (NP (-NONE- *-1) )
        (PP-LOC (IN in)
          (NP=2 (NP (NNP Rome) )))))
    (. .) ))
( (FRAG (ADVP|PRT (RB Here) )
  (PRN (-LRB- -LRB-) (X (SYM x)) (-RRB- -RRB-) )
  (SBAR (-NONE- 0) (S (-NONE- *T*-1) ))))
"""


@pytest.fixture(scope="module")
def sample() -> dict[str, list[Tree]]:
    """The Penn Treebank sample, which is not in the repository."""
    data = Path(os.environ.get("ALLYOUNEED_DATA", Path(__file__).parents[3] / "shared" / "data"))
    if not (data / "treebank").is_dir():
        pytest.skip(
            "the treebank is absent: set ALLYOUNEED_DATA to a folder that has treebank/train.mrg.gz and the like"
        )
    return {name: read_trees(data / "treebank" / f"{name}.mrg.gz") for name in ("train", "dev", "test")}


def trees_of(folder: Path, text: str) -> list[Tree]:
    path = folder / "trees.mrg"
    path.write_text(text, encoding="utf-8")
    return read_trees(path)


def test_cleaning(tmp_path):
    first, second = trees_of(tmp_path, TWO_TREES)
    assert str(first) == (
        "(S (NP (DT The) (NN dog)) (VP (VBD was) (VP (VBN seen) (PP (IN in) (NP (NP (NNP Rome)))))) (. .))"
    )
    assert str(second) == "(FRAG (ADVP (RB Here)) (PRN (-LRB- -LRB-) (X (SYM x)) (-RRB- -RRB-)))"
    assert first.sentence() == "The dog was seen in Rome ."
    assert [leaf.label for leaf in second.leaves()] == ["RB", "-LRB-", "SYM", "-RRB-"]
    assert first.spans() == [
        Span("NP", 0, 2),
        Span("NP", 5, 6),
        Span("NP", 5, 6),
        Span("PP", 4, 6),
        Span("VP", 3, 6),
        Span("VP", 2, 6),
        Span("S", 0, 7),
    ]


def test_the_outer_bracket_is_optional(tmp_path):
    bare, top = trees_of(tmp_path, "(S (NP (PRP I)) (VP (VBP am)))\n(TOP (S (NP (PRP I)) (VP (VBP am))))\n")
    assert bare == top


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("(S (NP (PRP I)))\n\n( (S\n(NP (PRP I))\n", 3, "never closed"),
        ("( (S (NP (PRP I)) )\n( (S (NP (PRP I)) ))\n)", 2, "missing in the tree before it"),
        ("(S (NP (PRP I))))\n", 1, "outside of all trees"),
        ("(S\n(NP the (NN dog)))\n", 2, "neither exactly one word nor constituents"),
        ("(S\n(NP))\n", 2, "neither exactly one word nor constituents"),
        ("(S\n\n(NPP (NN dog)))\n", 3, "'NPP' is not a constituent label"),
        ("( (S (NN dog)) (S (NN dog)))\n", 1, "2 trees in one bracket"),
    ],
)
def test_invalid_trees_are_refused_with_file_and_line(tmp_path, text, line, message):
    with pytest.raises(UserError, match=rf"trees\.mrg:{line}: .*{message}"):
        trees_of(tmp_path, text)


@pytest.mark.parametrize("text", ["", "( (-NONE- *) )\n"])
def test_a_file_without_trees_is_refused(tmp_path, text):
    with pytest.raises(UserError, match="contains no trees"):
        trees_of(tmp_path, text)


def test_linearisation_of_vinyals_et_al(tmp_path):
    [tree] = trees_of(tmp_path, "(S (NP (NNP John)) (VP (VBZ has) (NP (DT a) (NN dog))) (. .))")
    assert tree.linearized() == "Ⓢ Ⓝ ● ⓝ Ⓥ ● Ⓝ ● ● ⓝ ⓥ ● ⓢ"
    assert spelled_out(tree.linearized()) == "(S (NP XX )NP (VP XX (NP XX XX )NP )VP XX )S"


LEAVES = [Tree(tag, word=word) for tag, word in (("DT", "the"), ("NN", "dog"), ("VBD", "ran"))]


@pytest.mark.parametrize(
    ("output", "tree", "faults"),
    [
        ("Ⓢ Ⓝ ● ● ⓝ Ⓥ ● ⓥ ⓢ", "(S (NP the dog) (VP ran))", []),
        ("ⓈⓃ●●ⓝⓋ●ⓥⓢ", "(S (NP the dog) (VP ran))", []),
        ("Ⓢ Ⓝ ● ● ⓝ Ⓥ ●", "(S (NP the dog) (VP ran))", [Fault.UNCLOSED]),
        ("Ⓢ Ⓝ ● ● ⓝ ⓟ Ⓥ ● ⓥ ⓢ", "(S (NP the dog) (VP ran))", [Fault.UNOPENED]),
        ("Ⓢ Ⓝ ● Ⓠ ● ⓝ Ⓥ ● ⓥ ⓢ", "(S (NP the (QP dog)) (VP ran))", [Fault.CROSSED]),
        ("Ⓢ Ⓝ ● ● ⓝ Ⓥ ⓥ ⓢ", "(S (NP the dog) ran)", [Fault.CHILDLESS, Fault.TOO_FEW]),
        ("Ⓢ Ⓝ ● ● ⓝ Ⓥ ● ● ⓥ ● ⓢ", "(S (NP the dog) (VP ran))", [Fault.TOO_MANY]),
        ("Ⓢ Ⓝ ● dog ● ⓝ Ⓥ ● ⓥ ⓢ", "(S (NP the dog) (VP ran))", [Fault.FOREIGN]),
        ("Ⓝ ● ● ⓝ Ⓥ ● ⓥ", "(S (NP the dog) (VP ran))", [Fault.ROOTLESS]),
        ("● Ⓥ ● ⓥ ●", "(VP the dog ran)", [Fault.ROOTLESS]),
        ("● ● ●", "(S the dog ran)", [Fault.ROOTLESS]),
        ("", "(S the dog ran)", [Fault.TOO_FEW, Fault.ROOTLESS]),
    ],
)
def test_rebuilding(output, tree, faults):
    rebuilt = rebuild(output, LEAVES)
    words = str(rebuilt.tree)
    for leaf in LEAVES:
        words = words.replace(f"({leaf.label} {leaf.word})", leaf.word)
    assert (words, rebuilt.faults) == (tree, faults)
    assert rebuilt.tree.leaves() == LEAVES


def test_deeply_nested_outputs():
    rebuilt = rebuild("Ⓝ" * 5000 + "●", LEAVES[:1])
    assert len(rebuilt.tree.spans()) == 5000
    assert rebuilt.tree.linearized().count("ⓝ") == 5000


def test_linearising_and_rebuilding_the_sample(sample):
    assert [len(trees) for trees in sample.values()] == [3396, 273, 245]
    for tree in (tree for trees in sample.values() for tree in trees):
        assert rebuild(tree.linearized(), tree.leaves()) == (tree, [])


def test_every_symbol_of_the_sample_is_one_token(sample):
    data = load_recipe("parsing").data
    texts = [text for tree in sample["train"] for text in (tree.sentence(), tree.linearized())]
    tokenizer = learn_tokenizer(texts, data.vocab_size, data.subwords, data.character_coverage)
    targets = texts[1::2]
    lengths = [len(ids) for ids in tokenizer.encode_all(targets)]
    assert lengths == [len(target.split()) for target in targets]
    assert max(lengths) <= data.max_length
    assert tokenizer.decode(tokenizer.encode(targets[0])) == targets[0]
