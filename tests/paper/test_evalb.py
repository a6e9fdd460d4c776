"""EVALB's rules: its sample, and trees scored by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from allyouneed.paper.table4.evalb import BracketScores, flat, right_branching, score
from allyouneed.paper.table4.treebank import Tree, read_trees

# The first lines of EVALB's sample, which have one gold tree, with the matched, gold and parsed brackets that EVALB
# prints (sample.rsl). `read_trees` rejects its labels, which are not those of the Penn Treebank.
SAMPLE_GOLD = "(S (A (P this)) (B (Q is) (A (R a) (T test))))"
SAMPLE = [
    ("(S (A (P this)) (B (Q is) (A (R a) (T test))))", 4, 4, 4),
    ("(S (A (P this)) (B (Q is) (C (R a) (T test))))", 3, 4, 4),
    ("(S (A (P this)) (B (Q is) (A (R a) (U test))))", 4, 4, 4),
    ("(S (C (P this)) (B (Q is) (A (R a) (U test))))", 3, 4, 4),
    ("(S (A (P this)) (B (Q is) (R a) (A (T test))))", 3, 4, 4),
    ("(S (A (P this) (Q is)) (A (R a) (T test)))", 2, 4, 3),
    ("(S (P this) (Q is) (R a) (T test))", 1, 4, 1),
    ("(S (A (P this)) (B (Q is) (A (A (R a) (T test)))))", 4, 4, 5),
    ("(S (A (P this)) (B (Q is) (A (A (A (A (A (R a) (T test))))))))", 4, 4, 8),
]


def tree_of(text: str) -> Tree:
    """Parse a tree with arbitrary labels; `read_trees` accepts only those of the Penn Treebank."""
    opened: list[list] = [[]]
    for token in text.replace("(", " ( ").replace(")", " ) ").split():
        if token == "(":
            opened.append([])
        elif token != ")":
            opened[-1].append(token)
        else:
            label, *inside = opened.pop()
            is_leaf = isinstance(inside[0], str)
            opened[-1].append(Tree(label, word=inside[0]) if is_leaf else Tree(label, tuple(inside)))
    [[tree]] = opened
    return tree


@pytest.mark.parametrize(("parsed", "matched", "gold", "found"), SAMPLE)
def test_evalbs_own_sample(parsed, matched, gold, found):
    scores = score([(tree_of(SAMPLE_GOLD), tree_of(parsed))])
    assert (scores.matched, scores.gold, scores.parsed) == (matched, gold, found)
    assert scores.exact == (matched == gold == found)


def test_a_corpus_is_scored_over_all_brackets():
    # Matched: 3 and 1 brackets; gold: 4 and 4; parsed: 4 and 1. Recall 4/8, precision 4/5, F1 2 · 4 / (8 + 5).
    gold = tree_of(SAMPLE_GOLD)
    scores = score([(gold, tree_of(SAMPLE[1][0])), (gold, tree_of(SAMPLE[6][0]))])
    assert scores == BracketScores(matched=4, gold=8, parsed=5, exact=0, sentences=2)
    assert (scores.recall, scores.precision) == (50.0, 80.0)
    assert scores.f1 == pytest.approx(100 * 8 / 13)


def test_punctuation_is_removed_before_spans_are_counted():
    # Counted words: he 0, left 1, home 2. Gold: S 0-3, NP 0-1, VP 1-3, NP 2-3; PRN has only a comma and is removed.
    # Parsed: S 0-3, NP 0-1 (with a comma inside), VP 1-2 (wrong), NP 2-3. Matched: S, NP, NP.
    gold = tree_of("(S (NP (PRP he)) (PRN (, ,)) (VP (VBD left) (NP (NN home))) (. .))")
    parsed = tree_of("(S (NP (PRP he) (, ,)) (VP (VBD left)) (NP (NN home) (. .)))")
    assert score([(gold, parsed)]) == BracketScores(matched=3, gold=4, parsed=4, exact=0, sentences=1)


def test_brackets_dollars_and_hashes_count_as_words():
    # -LRB-, -RRB-, $ and # are not in COLLINS.prm: they count, so the two QPs differ.
    gold = tree_of("(NP (-LRB- -LRB-) (QP ($ $) (CD 5)) (-RRB- -RRB-))")
    parsed = tree_of("(NP (-LRB- -LRB-) ($ $) (QP (CD 5)) (-RRB- -RRB-))")
    assert score([(gold, parsed)]) == BracketScores(matched=1, gold=2, parsed=2, exact=0, sentences=1)


def test_advp_and_prt_are_one_label():
    gold = tree_of("(VP (VBD gave) (PRT (RP up)))")
    parsed = tree_of("(VP (VBD gave) (ADVP (RP up)))")
    assert score([(gold, parsed)]) == BracketScores(matched=2, gold=2, parsed=2, exact=1, sentences=1)


def test_equal_brackets_count_separately():
    # n = 2 in gold, m = 1 parsed: precision 100 %, recall m / n (EVALB's README, section 7.5)
    gold = tree_of("(NP (NP (NP (DT the) (NN man))))")
    parsed = tree_of("(NP (NP (DT the) (NN man)))")
    scores = score([(gold, parsed)])
    assert (scores.precision, scores.recall) == (100.0, pytest.approx(100 * 2 / 3))


def test_without_labels_only_spans_count():
    # S 0-2, NP 0-1, VP 1-2 and S 0-2, VP 0-1, X 1-2
    gold = tree_of("(S (NP (NN dogs)) (VP (VBP bark)))")
    parsed = tree_of("(S (VP (NN dogs)) (X (VBP bark)))")
    assert score([(gold, parsed)]).matched == 1
    assert score([(gold, parsed)], labelled=False) == BracketScores(matched=3, gold=3, parsed=3, exact=1, sentences=1)


def test_different_words_are_refused():
    with pytest.raises(ValueError, match="different words"):
        score([(tree_of("(S (NN dogs))"), tree_of("(S (NN cats))"))])


def test_no_sentences():
    assert score([]) == BracketScores(0, 0, 0, 0, 0)
    assert (score([]).f1, score([]).exact_match) == (0.0, 0.0)


def test_baselines(tmp_path: Path):
    path = tmp_path / "trees.mrg"
    path.write_text("(S (NP (DT the) (NN dog)) (VP (VBD saw) (, ,) (NP (PRP me))) (. .))")
    [gold] = read_trees(path)
    leaves = gold.leaves()
    assert str(flat(leaves)) == "(S (DT the) (NN dog) (VBD saw) (, ,) (PRP me) (. .))"
    assert str(right_branching(leaves)) == "(S (DT the) (VP (NN dog) (VP (VBD saw) (, ,) (PRP me) (. .))))"
    # gold S, NP 0-2, VP 2-4, NP 3-4; right-branching S, VP 1-4, VP 2-4
    assert score([(gold, right_branching(leaves))]) == BracketScores(matched=2, gold=4, parsed=3, exact=0, sentences=1)
