"""The maximum length of a translation: longer or shorter than the source's, in Python, streaming, commands and HTTP."""

import math

import pytest
from pydantic import ValidationError

from allyouneed import Translator
from allyouneed.bundle import save_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.serving.apis.translate_request import TranslateRequest
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.scoring import score_ids
from allyouneed.translation.streaming import stream_translation
from tests.exchange.models import random_bundle

TEXTS = ["a b c", "h"]
LONGER, SHORTER = 80, 5  # without the option: 50 more than the source


@pytest.fixture(scope="module")
def bundle():
    """A model that hardly ever ends a translation."""
    return random_bundle(norm="pre")


@pytest.mark.parametrize("options", [{"beam_size": 1}, {"beam_size": 3}, {"beam_size": 2, "no_repeat_ngram_size": 90}])
def test_the_option_replaces_the_source_s_limit(bundle, options):
    for limit in (LONGER, SHORTER):
        found = Translator(bundle).translate(
            TEXTS, max_decoding_length=limit, length_penalty=0.0, repetition_guard=False, **options
        )
        assert [len(translation.tokens) for translation in found] == [limit] * len(TEXTS)


@pytest.mark.parametrize("beam_size", [1, 3])
def test_scores_include_the_end_that_is_forced(bundle, beam_size):
    translator, tokenizer = Translator(bundle), bundle.tokenizer
    [found] = translator.translate(
        TEXTS[:1], beam_size=beam_size, max_decoding_length=SHORTER, length_penalty=0.0, repetition_guard=False
    )
    target = [BOS, *tokenizer.ids(found.tokens), EOS]
    [log_p] = score_ids(translator, [[*tokenizer.encode(TEXTS[0]), EOS]], [target])
    assert len(log_p) == SHORTER + 1
    assert found.score == pytest.approx(math.fsum(log_p), abs=1e-3)


def test_learned_positions_limit_it(bundle):
    learned = random_bundle(norm="pre", positions="learned", max_positions=310)
    for beam_size in (1, 2):
        [found] = Translator(learned).translate(
            TEXTS[:1], beam_size=beam_size, max_decoding_length=1000, length_penalty=0.0, repetition_guard=False
        )
        assert len(found.tokens) == 309  # and the start


def test_streaming(bundle):
    options = SearchOptions(max_decoding_length=LONGER, repetition_guard=False)
    [expected] = Translator(bundle).translate(TEXTS[:1], options.replace({"beam_size": 1}))
    text, score, _ = stream_translation(Translator(bundle), TEXTS[0], lambda text: None, options)
    assert (text, score) == (expected.text, pytest.approx(expected.score))


def test_command(bundle, command, tmp_path):
    save_bundle(bundle, tmp_path / "run" / "bundle")
    (tmp_path / "text").write_text("a b c\n")
    options = ("--max-decoding-length", LONGER, "--beam-size", 1, "--no-repetition-guard")
    code, out, _ = command("translate", tmp_path / "run", tmp_path / "text", *options)
    [expected] = Translator(bundle).translate(
        ["a b c"], beam_size=1, max_decoding_length=LONGER, repetition_guard=False
    )
    assert code == 0
    assert expected.text in out


def test_a_server_bounds_it():
    request = {"q": "a", "target": "en"}
    assert TranslateRequest(**request, max_decoding_length=1000).max_decoding_length == 1000
    with pytest.raises(ValidationError):
        TranslateRequest(**request, max_decoding_length=1001)
