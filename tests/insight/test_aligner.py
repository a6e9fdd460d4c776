import random

import pytest

from allyouneed import UserError
from allyouneed.insight.statistics.aligner import Links, align_words, alignment_error, read_alignments


def test_cooccurring_words_are_linked_even_if_reordered():
    rng = random.Random(1)
    pairs = []
    for _ in range(200):
        source = rng.sample("abcdefghijklmno", k=rng.randint(3, 6))
        pairs.append((source, [source[1].upper() * 2, source[0].upper() * 2, *(x.upper() * 2 for x in source[2:])]))
    found = align_words([*pairs, ([], ["leer"])])
    right = [
        links.sure == {(0, 1), (1, 0), *((i, i) for i in range(2, len(pair[0])))}
        for links, pair in zip(found, pairs, strict=False)
    ]
    assert sum(right) > 190
    assert all(links.sure <= links.possible for links in found)
    assert found[-1] == Links(frozenset(), frozenset())


def test_alignment_error_rate():
    gold = [Links(frozenset({(0, 0), (1, 1)}), frozenset({(0, 0), (1, 1), (2, 1)}))]
    assert alignment_error([{(0, 0), (1, 1)}], gold) == 0
    assert alignment_error([{(0, 0), (2, 1)}], gold) == pytest.approx(1 - 3 / 4)
    assert alignment_error([{(5, 5), (6, 6)}], gold) == 1
    assert alignment_error([set()], [Links(frozenset(), frozenset())]) is None


def test_pharaoh_format_and_its_errors(tmp_path):
    path = tmp_path / "links"
    path.write_text("0-0 1?2\n\n")
    assert read_alignments(path, 2)[0] == Links(frozenset({(0, 0)}), frozenset({(0, 0), (1, 2)}))
    with pytest.raises(UserError, match="2 lines for 3 sentence pairs"):
        read_alignments(path, 3)
    path.write_text("0-0\n0-x\n")
    with pytest.raises(UserError, match=r"links:2: '0-x' is not a link"):
        read_alignments(path, 2)
