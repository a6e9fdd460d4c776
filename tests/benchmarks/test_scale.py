"""The corpora and the table of `benchmarks/scale.py`."""

import pytest

from benchmarks import scale


def test_synthetic_pairs_are_parallel_and_reproducible():
    text = b"".join(scale.synthetic_lines(4000, seed=2)).decode()
    lines = [line.split("\t") for line in text.splitlines()]
    assert text == b"".join(scale.synthetic_lines(4000, seed=2)).decode()
    assert len({tuple(line) for line in lines}) > 3990
    translations: dict[str, set[str]] = {}
    for source, target in lines:
        words = source.split(), target.split()
        assert len(words[0]) == len(words[1]) > 0
        for word in words[0]:
            here = set(words[1])
            translations[word] = translations[word] & here if word in translations else here
    rare = [found for found in translations.values() if len(found) == 1]
    assert len(rare) > 300
    assert all(translations.values())  # each word's translation is in all lines that it occurs in
    assert 10 < sum(len(source.split()) for source, _ in lines) / len(lines) < 18


@pytest.mark.slow  # several processes
def test_a_size_is_measured(tmp_path):
    facts = scale.measure(1000, tmp_path)
    assert 990 < facts["kept"] <= 1000
    assert min(facts[name] for name in ("memory", "reading_memory", "from_disk", "again", "encoding")) > 0
    assert scale.row(1000, facts).count("|") == scale.HEAD.splitlines()[0].count("|") == 14
