"""Reference outputs that are stored with a bundle."""

from __future__ import annotations

from dataclasses import replace

import pytest

from allyouneed import Translator
from allyouneed.bundle import load_bundle
from allyouneed.translation.reference_outputs import BEAM_SIZES, make_reference_outputs
from tests.compat import POST_NORM
from tests.conftest import toy_pairs


@pytest.fixture(scope="module")
def bundle():
    return load_bundle(POST_NORM)


def test_they_are_translations_without_a_length_penalty(bundle):
    pairs = toy_pairs(70, seed=4)
    samples = make_reference_outputs(bundle, pairs)
    assert 0 < len(samples) <= 20
    given = dict(pairs)
    for beam_size in BEAM_SIZES:
        sources = [sample["source"] for sample in samples]
        found = Translator(bundle).translate(sources, beam_size=beam_size, length_penalty=0.0)
        assert [sample["said"][str(beam_size)] for sample in samples] == [one.tokens for one in found]
    assert all(given[sample["source"]] == sample["reference"] for sample in samples)


def test_empty_and_long_sentences_are_left_out(bundle):
    long = "a b c d e f g h " * 20
    assert len(bundle.tokenizer.encode(long)) >= bundle.longest_source
    kept = [
        sample["source"] for sample in make_reference_outputs(bundle, [("", ""), (long, long), *toy_pairs(20, seed=4)])
    ]
    assert kept
    assert not {"", long} & set(kept)


def test_truncated_translations_are_left_out(bundle):
    """A translation of the maximum length may have been truncated."""
    pairs = toy_pairs(40, seed=4)
    short = replace(bundle, config=bundle.config.replace(search={"max_extra_length": 0}))
    kept = make_reference_outputs(short, pairs)
    assert len(kept) < len(make_reference_outputs(bundle, pairs))
    for sample in kept:
        max_length = len(bundle.tokenizer.encode(sample["source"]))
        assert all(len(tokens) < max_length for tokens in sample["said"].values())
