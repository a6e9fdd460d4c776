import pytest

from allyouneed import Translator, UserError
from allyouneed.translation.streaming import translate_aloud


@pytest.fixture(scope="module")
def translator(toy_run):
    return Translator.load(toy_run)


def test_aloud_says_what_greedy_says(translator):
    heard: list[str] = []
    search = translator.bundle.config.search
    text, score = translate_aloud(translator, "a b c d e", heard.append, search)
    [expected] = translator.translate(["a b c d e"], beam_size=1)
    assert (text, score) == (expected.text, pytest.approx(expected.score))
    assert heard == [" ".join(text.split()[:n]) for n in range(1, len(text.split()))]


def test_what_say_raises_ends_the_search(translator):
    def leave(text: str) -> None:
        raise UserError("enough")

    with pytest.raises(UserError, match="enough"):
        translate_aloud(translator, "a b c d e", leave, translator.bundle.config.search)


def test_a_sentence_that_is_too_long_is_refused(translator):
    with pytest.raises(UserError, match="subwords"):
        translate_aloud(translator, " ".join("a" * 99), print, translator.bundle.config.search)
