"""One direction of a multilingual model, as a bundle that translates from one language into one other.

Sources of such a bundle get the code of the target language when they are encoded; everything that works with the model
of one direction works with it too. Directions without training text are possible ("zero-shot", Johnson et al. 2017).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from allyouneed.bundle import Bundle
from allyouneed.data.directions import CODE, Direction, shown, targets_of
from allyouneed.errors import UserError
from allyouneed.languages import language_code, same_language, stored_language_code


def directed(bundle: Bundle, target: str | None = None, source: str | None = None) -> Bundle:
    """Return a bundle that translates in one direction.

    Args:
        bundle: A model of one or several directions, for example a multilingual one imported from Marian.
        target: Target language; None if there is only one, also for this source.
        source: Source language; None for any.

    Raises:
        UserError: If the model does not have the languages, or a target language must be named.
    """
    wanted = [None if each is None else language_code(each) for each in (source, target)]
    languages = _languages(bundle, *wanted)
    code = _codes(bundle).get(languages[1])
    if code is None:
        return bundle
    return replace(bundle, languages=languages, tokenizer=bundle.tokenizer.with_code(code), directions=())


def needs_target(bundle: Bundle) -> bool:
    """Return whether texts must name their target language, because the model has several."""
    return len(targets_of(bundle.directions)) > 1


def refuse_without_code(bundle: Bundle, texts: Iterable[str]) -> None:
    """Raise `UserError` if a text does not name its target language, and the model has several."""
    if not needs_target(bundle):
        return
    if any(text.strip() and not bundle.tokenizer.has_code(text.lstrip()) for text in texts):
        raise _unnamed_target(targets_of(bundle.directions))


def zero_shot_remark(bundle: Bundle, direction: Direction) -> str | None:
    """Return a remark if a multilingual model was not trained on a direction, else None."""
    if not bundle.directions or direction in bundle.directions:
        return None
    trained = ", ".join(map(shown, bundle.directions))
    return f"{shown(direction)} was not trained on (zero-shot): the model knows {trained}"


def _languages(bundle: Bundle, source: str | None, target: str | None) -> Direction:
    """Return the languages of the direction that source and target mean, in the codes of the bundle."""
    directions = bundle.directions or (bundle.languages,)
    sources = list(dict.fromkeys(each for each, _ in directions))
    targets = [*targets_of(directions)] if bundle.directions else [bundle.languages[1], *_codes(bundle)]
    named = _named(source, sources, "from"), _named(target, targets, "into")
    matching = [each for each in directions if named[0] in (None, each[0]) and named[1] in (None, each[1])]
    possible = targets_of(matching or directions)
    if named[1] is None and len(possible) > 1:
        raise _unnamed_target(possible)
    first = (matching or directions)[0]
    return named[0] or first[0], named[1] or first[1]


def _named(language: str | None, known: list[str], preposition: str) -> str | None:
    """Return the known code for a language, or None for None."""
    if language is None:
        return None
    codes = [code for code in known if stored_language_code(code) == language]
    codes = codes or [code for code in known if same_language(stored_language_code(code), language)]
    if not codes:
        raise UserError(f"this model does not translate {preposition} {language}: it has {', '.join(known)}.")
    return codes[0]


def _codes(bundle: Bundle) -> dict[str, str]:
    """Return the codes in the vocabulary by language, for example {"fr": ">>fr<<"}; {} if it has none."""
    found = (CODE.fullmatch(piece) for piece in bundle.tokenizer.codes)
    return {stored_language_code(match[1]): match[0] for match in found if match}


def _unnamed_target(targets: Iterable[str]) -> UserError:
    listed = ", ".join(targets)
    return UserError(f"this model translates into several languages: choose one with --to (target=): {listed}.")
