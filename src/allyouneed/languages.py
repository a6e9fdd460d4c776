"""Language codes: what users write for a language, as one canonical code that all parts of the program understand.

A code is a BCP 47 tag (RFC 5646) in canonical form: the shortest ISO 639 code in lower case, a script capitalised and a
region in capitals, for example `de`, `pt-BR` or `zh-Hans`. Names of languages are those of CLDR (through Babel) in all
its languages. Where a text is both a code and a name, it is the code: `ga` is Irish, not Ga.

Codes that ISO 639 does not have are usable: `x-klingon` and the like are private, a suffix such as `de-x-simple` names
a private variety, and any other well-formed code is accepted with a remark.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from functools import cache
from typing import NamedTuple, NoReturn

from babel import Locale, UnknownLocaleError, localedata
from babel.core import get_global

from allyouneed.errors import UserError
from allyouneed.suggest import nearest

_TAG = re.compile(
    r"(?P<language>[a-z]{2,3}|x(?=-))"
    r"(?:-(?P<extended>[a-z]{3}))?(?:-(?P<script>[a-z]{4}))?(?:-(?P<region>[a-z]{2}|\d{3}))?"
    r"(?P<variants>(?:-(?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))*)(?P<extensions>(?:-[a-wyz0-9](?:-[a-z0-9]{2,8})+)*)"
    r"(?P<private>(?:-x)?(?:-[a-z0-9]{1,30})+)?"  # RFC 5646 has 8 characters at most
)
_EXTENDED = ("ar", "ms", "sgn", "zh")  # languages with extended subtags, for example zh-yue
_DISTINCT = {"quz": "quz", "tl": "tl", "tgl": "tl", "tw": "tw", "twi": "tw"}  # CLDR replaces them by qu, fil and ak
_USUALLY_IN_ONE_SCRIPT = {"en", "hi", "yue", "zh"}  # in spite of Shavian English, pinyin and the like
_MORE_NAMES = {
    "bahasa indonesia": "id", "bahasa melayu": "ms", "castilian": "es", "farsi": "fa", "mandarin": "zh",
    "mandarin chinese": "zh", "moldovan": "ro",
}  # fmt: skip
_ACCENTS, _GAPS = re.compile("[\u0300-\u036f]+"), re.compile(r"[\s_\-]+")
_MOST_NAMED = 6  # languages in a message
_LONGEST = 100  # characters of a code or a name; recognising longer ones takes quadratic time


def language_code(text: str) -> str:
    """Return the canonical code of a language.

    Args:
        text: A BCP 47 or ISO 639 code in any spelling (`DE`, `ger`, `pt_BR`), or a name (`German`, `독일어`).

    Raises:
        UserError: If the text is empty, names several languages or is neither a code nor a name.

    Example:
        >>> language_code("Korean"), language_code("zh_hans"), language_code("x-klingon")
        ('ko', 'zh-Hans', 'x-klingon')
    """
    text = text.strip()
    if not text:
        raise UserError("the language is empty. Give a code such as de, or a name such as German.")
    _check_length(text)
    return canonical_code(text) or _code_of_name(text) or _refuse(text)


def stored_language_code(text: str) -> str:
    """Return the canonical code of a language that a file names, and a private code for what is not a language.

    Bundles and runs of earlier versions, and imported models, may name languages that `language_code` refuses: `tree`
    becomes `x-tree`.

    Raises:
        UserError: If the text is too long for a language.
    """
    _check_length(text)
    try:
        code = canonical_code(text) or _code_of_name(text)
    except UserError:  # a name of several languages
        code = None
    return code or _private_code(text) or text


def _check_length(text: str) -> None:
    if len(text) > _LONGEST:
        raise UserError(f"{text[:40]!r}... has {len(text):,} characters, which is no language. Give a code such as de.")


def primary(code: str) -> str:
    """Return the language of a code without script, region and variety: `zh` for `zh-Hans`."""
    canonical = stored_language_code(code)
    return canonical if canonical.startswith("x-") else canonical.partition("-")[0]


def same_language(one: str, other: str) -> bool:
    """Return whether two codes name one language in one script, for example `zh` and `zh-CN`."""
    first, second = (_language_and_script(stored_language_code(code)) for code in (one, other))
    return first == second


def script_of(code: str) -> str:
    """Return the script of a language as an ISO 15924 code in lower case, for example `hans`; "" if it is not known."""
    script = _language_and_script(stored_language_code(code))
    return script[1] if len(script) > 1 else ""


def is_in_several_scripts(code: str) -> bool:
    """Return whether a code without a script is of a language that is written in several, for example Serbian."""
    language, *subtags = stored_language_code(code).split("-")
    named = any(len(subtag) == 4 and subtag.isalpha() for subtag in subtags)
    return not named and language in _languages_in_several_scripts() - _USUALLY_IN_ONE_SCRIPT


def language_name(code: str, native: bool = False) -> str:
    """Return a language's name in English or in the language itself; the code if it has no name."""
    base, _, variety = code.partition("-x-")
    if base and variety:
        return f"{language_name(base, native)} ({variety.replace('-', ' ')})"
    name = None if native else _english_names().get(code.replace("-", "_"))
    try:
        locale = Locale.parse(code, sep="-")
    except (UnknownLocaleError, ValueError):
        return code if name is None else name
    if name is None and locale.language == code.partition("-")[0].lower():  # not a related language with more data
        name = locale.get_display_name(None if native else "en")
    name = name or code
    return name[:1].upper() + name[1:]


def describe_language(code: str) -> str:
    """Describe a code for the user: `de (German)`; the code alone if it has no name."""
    name = language_name(code)
    return code if name.casefold() == code.casefold() else f"{code} ({name})"


def language_remark(code: str) -> str | None:
    """Return a remark on a code that ISO 639 does not have and that is not private, or None."""
    language = primary(code)
    if language.startswith("x-") or "-x-" in code or _is_known(language) or "qaa" <= language <= "qtz":
        return None
    likely = get_global("likely_subtags").get(f"und_{language.upper()}")
    hint = f"; the language of that country is {describe_language(likely.partition('_')[0])}" if likely else ""
    return (
        f"{code} is not a language code of ISO 639{hint}. It is used as given, without language-specific rules in "
        "evaluation and serving."
    )


def describe_pair(source: str, target: str) -> list[str]:
    """Describe the direction of a model in lines: the languages, and remarks if there are any."""
    remarks = [remark for code in dict.fromkeys((source, target)) if (remark := language_remark(code))]
    if source == target:
        remarks.append(
            f"source and target are both {source}, as for correction or paraphrase. If that is a mistake, change "
            "--from or --to."
        )
    return [f"{describe_language(source)} → {describe_language(target)}", *remarks]


def canonical_code(text: str) -> str | None:
    """Return the canonical form of a well-formed code; None if the text is not one, even if it is a name."""
    match = _TAG.fullmatch(text.strip().lower().replace("_", "-"))
    if not match:
        return None
    language, extended, script, region, variants, extensions, private = match.groups()
    if private and not private.startswith("-x-") and language != "x":
        return None
    if language == "x":
        return text.lower().replace("_", "-")
    if extended and language not in _EXTENDED:
        return None
    if region and region.upper() not in _english().territories and _is_known(region):
        return None  # de-en: a pair of languages
    parts = _DISTINCT.get(language) or get_global("language_aliases").get(extended or language, extended or language)
    language, _, implied = parts.partition("_")
    if not script and len(implied) == 4:
        script = implied
    elif not region and implied:
        region = implied
    tag = [language, *([script.capitalize()] if script else []), *([region.upper()] if region else [])]
    tag = tag[:1] + tag[2:] if script and _is_implied(language, script.capitalize()) else tag
    return "-".join(tag) + variants + extensions + (private or "")


def _private_code(text: str) -> str | None:
    """Return `x-klingon` for `Klingon`; None if the text has other characters than letters and digits."""
    return f"x-{text.lower()}" if re.fullmatch("[A-Za-z0-9]{1,30}", text) else None


def _is_implied(language: str, script: str) -> bool:
    """Return whether a script goes without saying: the usual one of a language that CLDR has in one script only."""
    likely = get_global("likely_subtags").get(language, "")
    usual = likely.split("_")[1] if likely.count("_") == 2 else ""
    return script in (usual, {"Kore": "Hang"}.get(usual)) and language not in _languages_in_several_scripts()


def _language_and_script(code: str) -> tuple[str, ...]:
    """Return the language, its script and any variety: what two codes share if only their regions differ."""
    match = _TAG.fullmatch(code.lower())
    if match is None or match["language"] == "x":
        return (code,)
    language, region = match["language"], (match["region"] or "").upper()
    likely = get_global("likely_subtags")
    maximal: str = likely.get(f"{language}_{region}") or likely.get(language) or ""
    script = match["script"] or "".join(maximal.split("_")[1:2])
    return language, script.lower(), match["variants"], match["private"] or ""


def _is_known(language: str) -> bool:
    return (
        language in get_global("likely_subtags")
        or language in _english().languages
        or language in get_global("language_aliases")
    )


def _code_of_name(text: str) -> str | None:
    """Find a name in English, then in the language itself, then in any language.

    Raises:
        UserError: If several languages have the name.
    """
    name = _folded(text)
    if code := _codes_of_english_names().get(name) or _MORE_NAMES.get(name) or _qualified(text):
        return code
    found = (_all_names().of_own.get(name) or _all_names().of_all.get(name, "")).split()
    if len(found) > 1:
        choices = " or ".join(describe_language(code) for code in found)
        raise UserError(f"{text} names several languages: give the code of {choices}.")
    return next(iter(found), None)


def _qualified(text: str) -> str | None:
    """Find `Portuguese (Brazil)`, `Chinese, Simplified` and the like."""
    match = re.fullmatch(r"(?P<name>[^(,]+?)\s*[(,]\s*(?P<qualifier>[^()]+?)\s*\)?", text)
    if not match:
        return None
    name, qualifier = _folded(match["name"]), _folded(match["qualifier"])
    names = _codes_of_english_names()
    if code := names.get(f"{qualifier} {name}"):
        return code
    for kind in (_english().scripts, _english().territories):
        for subtag, title in kind.items():
            if _folded(title) == qualifier and name in names:
                return canonical_code(f"{names[name]}-{subtag}")
    return None


def _refuse(text: str) -> NoReturn:
    parts = [part for part in re.split(r"[,;/+&\s-]+", text) if part]
    if len(parts) > 1 and all((code := canonical_code(part)) and _is_known(primary(code)) for part in parts):
        raise UserError(f"{text}: {len(parts)} languages; give one, for example {parts[0]}.")
    private = f" For text that is not a language: {code}." if (code := _private_code(text)) else ""
    name, english = _folded(text), _codes_of_english_names()
    within = [describe_language(english[title]) for title in sorted(english) if name in title.split()[1:]]
    if 0 < len(within) <= _MOST_NAMED:
        raise UserError(f"{text}: did you mean {' or '.join(within)}?")
    names = {_folded(title): title for title in _english_names().values()}
    names |= {_folded(title): title for title in _all_names().own.values()}
    if found := nearest(name, names):
        code = _code_of_name(names[found])
        raise UserError(f"{text}: not a language; did you mean {names[found]} ({code})?{private}")
    raise UserError(f"{text}: not a language. Give a code such as de, or a name such as German.{private}")


@cache
def _english() -> Locale:
    return Locale("en")


def _english_names() -> dict[str, str]:
    """Return English names by CLDR's identifier, such as `zh_Hans`."""
    names: dict[str, str] = dict(_english().languages)
    return names


@cache
def _codes_of_english_names() -> dict[str, str]:
    return {_folded(name): _canonical(code) for code, name in reversed(_english_names().items())}


@cache
def _base_locales() -> tuple[str, ...]:
    """Return the locales without a region: they have the names that are not particular to a region."""
    return tuple(
        sorted(code for code in localedata.locale_identifiers() if re.fullmatch(r"[a-z]{2,3}(_[A-Z][a-z]{3})?", code))
    )


@cache
def _languages_in_several_scripts() -> frozenset[str]:
    return frozenset(code.partition("_")[0] for code in _base_locales() if "_" in code)


class _Names(NamedTuple):
    """Names of languages: in themselves by locale, and the codes of these names and of those in all languages.

    Codes are separated by spaces, since sets take three times the memory.
    """

    own: dict[str, str]
    of_own: dict[str, str]
    of_all: dict[str, str]


@cache
def _all_names() -> _Names:
    """Read the names of all languages in all languages, which takes a third of a second."""
    own = dict[str, str]()

    def every() -> Iterator[tuple[str, str]]:
        for locale in _base_locales():
            if name := _own_name(locale):
                own[locale] = name
            yield from ((name, code) for code, name in _names_in(locale).items())

    of_all = _grouped(every())
    return _Names(own, _grouped((name, code.partition("_")[0]) for code, name in own.items()), of_all)


def _own_name(locale: str) -> str | None:
    """Return the name of a locale's language in this locale, or in the one that it inherits from."""
    language, _, script = locale.partition("_")
    parent = get_global("parent_exceptions").get(locale)
    if parent is None and script and script in get_global("likely_subtags").get(language, ""):
        parent = language
    return next((name for each in (locale, parent) if each and (name := _names_in(each).get(language))), None)


@cache
def _names_in(locale: str) -> dict[str, str]:
    """Return the names of languages in a locale, without those that it inherits from other locales.

    Babel would merge all data of a locale, which takes most of the time, and keep it, 200 MB for all locales.
    """
    cached, lock = localedata._cache, localedata._cache_lock
    with lock:
        if locale in cached:
            return dict(cached[locale].get("languages", {}))
        names = dict(localedata.load(locale, merge_inherited=False).get("languages", {}))
        del cached[locale]
        return names


def _grouped(names: Iterable[tuple[str, str]]) -> dict[str, str]:
    codes: dict[str, str] = {}
    for title, identifier in names:
        name, code = _folded(title), _canonical(identifier)
        known = codes.setdefault(name, code)
        if code not in known.split():
            codes[name] = " ".join(sorted([*known.split(), code]))
    return codes


@cache
def _canonical(identifier: str) -> str:
    return canonical_code(identifier) or identifier.replace("_", "-")


def _folded(name: str) -> str:
    """Return a name without case, accents of Latin letters and repeated spaces, for comparison."""
    letters = _ACCENTS.sub("", unicodedata.normalize("NFKD", name.casefold()))
    return " ".join(_GAPS.split(letters.strip()))
