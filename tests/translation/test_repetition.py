"""Endless repetition is recognised and searched again; nothing else is changed."""

from __future__ import annotations

import gzip
import os
import re

import pytest
import torch

from allyouneed import SearchOptions, Translator
from allyouneed.config import SearchConfig
from allyouneed.translation.batch_search import BatchSearch
from allyouneed.translation.constraints import Constraints
from allyouneed.translation.repetition import REPETITIVE, SEARCHED_AGAIN, repeats_itself, search_guarded
from allyouneed.translation.search import Hypothesis
from allyouneed.translation.sentence import Sentence
from allyouneed.translation.sentence_translation import translate_sentences
from allyouneed.translation.streaming import stream_translation

LOOPS = [
    [5] * 30,
    [*range(10, 40), *[5, 6] * 20],
    [2, 22, 22, 2, 2, *[1] * 20],
    [*[7, 8, 9, 10, 11] * 8, 3],
    [*range(100, 112)] * 6,
]
ORDINARY = [
    [],
    [5],
    [5] * 8,
    list(range(300)),
    [*range(10), 1, 2, 3, *range(20, 60), 1, 2, 3],
    [1, 2, *range(10, 30)] * 2,  # a sentence that occurs twice
    [index % 7 * (index % 3) for index in range(14)],
]


@pytest.mark.parametrize("tokens", LOOPS)
def test_loops_are_recognised(tokens):
    assert repeats_itself(tokens, list(range(20)))
    assert all(repeats_itself(tokens + [5] * more, list(range(20))) for more in range(40)) or tokens[-1] != 5


@pytest.mark.parametrize("tokens", ORDINARY)
def test_ordinary_text_is_not(tokens):
    assert not repeats_itself(tokens, [1, 2, 3])


@pytest.mark.parametrize("unit", [[5], [5, 6], [5, 6, 7]])  # ha, no, 1
@pytest.mark.parametrize("times", range(1, 41))
def test_what_its_source_repeats_is_not(unit, times):
    assert not repeats_itself([8, 9] * times, unit * times)
    assert not repeats_itself(unit * times, [4] * times)


def hypothesis(ids: list[int]) -> list[Hypothesis]:
    return [Hypothesis(ids, 0.0, 0.0, [0.0] * (len(ids) + 1))]


def test_only_sentences_that_repeat_are_searched_again():
    sentences, searches = [[5, 6, 7, 2], [8, 9, 2], [4, 2]], []
    resolved = SearchOptions().resolve(SearchConfig())
    search = BatchSearch(resolved, Constraints(resolved, prefixes=[[1], [2], [3]]), [[[1]], [[2]], [[3]]])

    def run(batch, search):
        searches.append((batch, search))
        size = search.options.no_repeat_ngram_size
        stuck = [*([] if size else sentences[1:]), *([[4, 2]] if size == 3 else [])]
        return [hypothesis([9] * 40 if ids in stuck else ids) for ids in batch]

    found, problems = search_guarded(sentences, search, run)
    assert [hypotheses[0].ids for hypotheses in found] == sentences
    assert problems == ["", SEARCHED_AGAIN, SEARCHED_AGAIN]
    assert [batch for batch, _ in searches] == [sentences, sentences[1:], sentences[2:]]
    assert [each.options.no_repeat_ngram_size for _, each in searches] == [0, 3, 2]
    assert [list(each.constraints.prefixes) for _, each in searches] == [[[1], [2], [3]], [[2], [3]], [[3]]]
    assert [list(each.force_words) for _, each in searches][1:] == [[[[2]], [[3]]], [[[3]]]]


def test_the_users_own_rules_hold():
    def run(batch, search):
        return [hypothesis([9] * 40) for _ in batch]

    for changes, problems in (
        ({"repetition_guard": False}, [""]),
        ({"no_repeat_ngram_size": 50}, [REPETITIVE]),
        ({"min_decoding_length": 40}, [""]),
    ):
        resolved = SearchOptions().replace(changes).resolve(SearchConfig())
        assert search_guarded([[4, 2]], BatchSearch(resolved), run).problems == problems


def test_a_repetitive_source_is_no_excuse_for_repetition_without_end():
    """A source may be repeated; a translation that is cut off at its maximum length is marked."""
    resolved = SearchOptions(max_extra_length=50).resolve(SearchConfig())
    source = [5, 6, 7] * 20
    for length, problem in ((2 * len(source), REPETITIVE), (len(source) + 49, "")):
        found = [hypothesis([9, 8] * (length // 2) + [9] * (length % 2))]
        assert search_guarded([[*source, 2]], BatchSearch(resolved), lambda *_, found=found: found).problems == [
            problem
        ]


@pytest.fixture(scope="module")
def stuck(toy_run) -> Translator:
    """A translator whose model repeats one letter, whatever the source: a bias on its output overrules the rest."""
    translator = Translator.load(toy_run, inter_threads=1)
    model = translator.model
    with torch.no_grad():
        model.decoder.norm.weight.zero_()
        model.decoder.norm.bias.copy_(model.output.weight[translator.tokenizer.encode("b")[-1]])
    return translator


@pytest.mark.parametrize("beam_size", [1, 4])
def test_every_path_is_guarded(stuck, beam_size):
    bare = stuck.translate("a c d", beam_size=beam_size, repetition_guard=False)
    assert bare.text.count("b") > 20
    assert bare.problems == ()
    guarded = stuck.translate("a c d", beam_size=beam_size)
    assert guarded.text.count("b b b") <= 1
    assert guarded.problems == (SEARCHED_AGAIN,)
    options = SearchOptions(beam_size=beam_size)
    for sentence in (Sentence("a c d"), Sentence("a {x} d", kept=((2, 5),))):
        [found] = translate_sentences(stuck, [sentence], options)
        assert SEARCHED_AGAIN in found.problems


def test_streaming_stops_and_starts_again(stuck):
    seen: list[str] = []
    streamed = stream_translation(stuck, "a c d", seen.append)
    assert streamed.problems == (SEARCHED_AGAIN,)
    assert streamed.text == stuck.translate("a c d", beam_size=1).text
    assert len(seen) <= 24
    unguarded = stream_translation(stuck, "a c d", print, SearchOptions(repetition_guard=False))
    assert unguarded.text.count("b") > 20


REPEATED = re.compile(r"(.{1,30}?)\1{4,}")  # text that occurs five times in a row


@pytest.mark.slow
@pytest.mark.parametrize(("beam_size", "most"), [(1, 20), (4, 5)])
def test_ordinary_output_does_not_change(multi30k, beam_size, most):
    """A weak model repeats itself in some of 1,000 sentences of its own domain; no other translation changes."""
    if "ALLYOUNEED_RUN" not in os.environ:
        pytest.skip("no model: set ALLYOUNEED_RUN to a RUN that translates Multi30k from English to German")
    sources = gzip.decompress((multi30k / "test_2016_flickr.en.gz").read_bytes()).decode().splitlines()
    translator = Translator.load(os.environ["ALLYOUNEED_RUN"])
    bare, guarded = (translator.translate(sources, beam_size=beam_size, repetition_guard=on) for on in (False, True))
    changed = [(one, other) for one, other in zip(bare, guarded, strict=True) if one.text != other.text]
    assert len(changed) <= most
    assert all(REPEATED.search(one.text) and other.problems for one, other in changed)
    assert sum(map(len, (one.problems for one in guarded))) == len(changed)
