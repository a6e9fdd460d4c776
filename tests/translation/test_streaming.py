import pytest

from allyouneed import Translator, UserError
from allyouneed.translation.streaming import stream_translation


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def test_aloud_says_what_greedy_says(translator):
    heard: list[str] = []
    text, score = stream_translation(translator, "a b c d e", heard.append)
    [expected] = translator.translate(["a b c d e"], beam_size=1)
    assert (text, score) == (expected.text, pytest.approx(expected.score))
    assert heard == [" ".join(text.split()[:n]) for n in range(1, len(text.split()))]


def test_what_say_raises_ends_the_search(translator):
    def leave(text: str) -> None:
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        stream_translation(translator, "a b c d e", leave)


def test_a_sentence_that_is_too_long_is_refused(translator):
    with pytest.raises(UserError, match="has 99 tokens"):
        stream_translation(translator, " ".join("a" * 99), print)
