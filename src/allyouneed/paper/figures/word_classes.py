"""Classes of words: pronouns, function words and content words of a language."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from allyouneed.insight.words import Sentence, has_letters

FREQUENT = 50  # number of words that count as function words in a language without a list; at most a tenth of all
_PRONOUNS = {
    "de": "er sie es ihn ihm ihnen sein seine seinen seinem seiner seines ihr ihre ihren ihrem ihrer ihres sich",
    "en": "he she it its his her hers their theirs they him them himself herself itself themselves",
    "fr": "il elle ils elles lui eux leur leurs son sa ses se",
}
_FUNCTION_WORDS = {
    "de": "der die das den dem des ein eine einen einem einer eines und oder aber denn dass ob wenn als wie während "
    "in im an am auf aus bei beim mit nach von vom vor zu zum zur über unter um durch für gegen ohne neben zwischen "
    "hinter ist sind war waren wird werden wurde wurden hat haben hatte sein kann auch nicht noch nur so sehr da dort "
    "hier dabei während welche welcher welches dieser diese dieses",
    "en": "a an the this that these those and or but nor if as than so while when where which who whom whose what of "
    "in on at by for from with without to into onto over under up down out off through across near behind between "
    "around along about front next is are was were be been being am do does did has have had can could will would may "
    "might not no there here also very just too then i you we my your our me us 's",
    "fr": "le la les l' un une des du de d' et ou mais si que qui qu' dont où comme quand à au aux en dans sur sous "
    "par pour avec sans entre vers chez est sont était étaient être a ont avait avoir ne pas plus y ce cet cette ces "
    "tandis pendant devant derrière très aussi",
}


class Lexicon(NamedTuple):
    """Words in lower case.

    Attributes:
        pronouns: Third-person pronouns; empty for a language without a list.
        function: Function words, which do not count as content words.
    """

    pronouns: frozenset[str]
    function: frozenset[str]


class WordClasses(NamedTuple):
    """Classes of the words of a sentence, without `</s>`; boolean arrays of shape [query].

    Attributes:
        letters: Words with a letter or a digit.
        content: Words with a letter or a digit that are not function words.
        pronoun: Third-person pronouns.
    """

    letters: np.ndarray
    content: np.ndarray
    pronoun: np.ndarray


def lexicon_of(language: str, sentences: Sequence[Sentence]) -> Lexicon:
    """Choose the function words of a language.

    Args:
        language: Code of the language.
        sentences: Sentences whose most frequent words are used for a language without a list.

    Returns:
        The lexicon.
    """
    if language in _PRONOUNS:
        pronouns = frozenset(_PRONOUNS[language].split())
        return Lexicon(pronouns, pronouns.union(_FUNCTION_WORDS[language].split()))
    counted = Counter(word.lower() for sentence in sentences for word in sentence.words[:-1])
    frequent = counted.most_common(min(FREQUENT, len(counted) // 10))
    return Lexicon(frozenset(), frozenset(word for word, _ in frequent))


def classify(words: Sequence[str], lexicon: Lexicon) -> WordClasses:
    """Classify the words of a sentence.

    Args:
        words: The words, without `</s>`.
        lexicon: Words of the language.

    Returns:
        Their classes.
    """
    letters = np.array([has_letters(word) for word in words])
    function = np.array([word.lower() in lexicon.function for word in words])
    return WordClasses(letters, letters & ~function, np.array([word.lower() in lexicon.pronouns for word in words]))
