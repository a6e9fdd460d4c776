"""Streaming greedy decoding."""

import pytest

from allyouneed import Translator, UserError
from allyouneed.translation.streaming import stream_translation


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def test_it_equals_greedy_search(translator):
    texts: list[str] = []
    text, score, problems = stream_translation(translator, "a b c d e", texts.append)
    [expected] = translator.translate(["a b c d e"], beam_size=1)
    assert (text, score, problems) == (expected.text, pytest.approx(expected.score), ())
    assert texts == [" ".join(text.split()[:n]) for n in range(1, len(text.split()))]


def test_an_exception_of_the_callback_stops_the_search(translator):
    def stop(text: str) -> None:
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        stream_translation(translator, "a b c d e", stop)


def test_a_sentence_that_is_too_long_is_refused(translator):
    with pytest.raises(UserError, match="has 99 tokens"):
        stream_translation(translator, " ".join("a" * 99), print)
