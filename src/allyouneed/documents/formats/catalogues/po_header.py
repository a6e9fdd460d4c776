"""The header of a gettext catalogue: encoding, language and plural forms."""

from __future__ import annotations

import codecs
import gettext
import re
from typing import NamedTuple

from babel import Locale, UnknownLocaleError
from babel.messages.plurals import get_plural

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.languages import check_language, is_language
from allyouneed.documents.formats.catalogues.po_strings import quoted
from allyouneed.documents.formats.text.patching import Edit

_CHARSET = re.compile(rb"Content-Type: *[\w/]+; *charset=([\w.:-]+)", re.IGNORECASE)
_PLURALS = re.compile(r"nplurals *= *(\d+) *; *plural *= *([^;]+)")
_MOST_FORMS = 20
_NUMBERS = range(2, 201)  # the rules of all languages repeat after 100


class PluralForms(NamedTuple):
    """Plural forms of a language.

    Attributes:
        rule: Value of the header field.
        forms: Number of forms.
        singular: The form of the number 1.
        singular_is_one: Whether this form is of no number from 2.
    """

    rule: str
    forms: int
    singular: int
    singular_is_one: bool


class Header(NamedTuple):
    """What the header of a catalogue becomes when translations are entered.

    Attributes:
        text: Its text.
        span: The position of its msgstr; None if the catalogue has no header.
        plurals: Plural forms of the target language.
        encoding: Codec of the file.
        language: Value of the field Language, or "" if it stays.
    """

    text: str
    span: tuple[int, int] | None
    plurals: PluralForms
    encoding: str
    language: str

    @property
    def new_encoding(self) -> str:
        """Codec of the written file: UTF-8 for a template whose encoding is not decided yet, else that of the file."""
        return "utf-8" if self.span and codecs.lookup(self.encoding).name == "ascii" else self.encoding

    def edits(self, has_plurals: bool, wraps: bool, line_end: str) -> list[Edit]:
        """The changes of the header: language and plural forms if they are not those of the target, and encoding.

        Args:
            has_plurals: Whether a plural message is translated.
            wraps: Whether the catalogue's long lines are broken.
            line_end: The line end of the file.
        """
        if self.span is None:
            return []
        text = self.text
        if self.language:
            text = _with_field(text, "Language", self.language)
        if has_plurals or "Plural-Forms:" in text:
            text = _with_field(text, "Plural-Forms", self.plurals.rule)
        charset = re.search(r"charset=([\w.:-]+)", text)
        if charset and (charset[1] == "CHARSET" or self.new_encoding != self.encoding):
            text = text[: charset.start(1)] + self.new_encoding.upper() + text[charset.end(1) :]
        return [] if text == self.text else [Edit(*self.span, quoted("msgstr", text, wraps, line_end))]


def declared_charset(data: bytes) -> str | None:
    """Return the encoding that a catalogue declares."""
    found = _CHARSET.search(data)
    return found[1].decode("ascii") if found else None


def read_header(text: str, span: tuple[int, int] | None, encoding: str, options: ReadOptions) -> Header:
    """Read the header of a catalogue.

    Args:
        text: Its text.
        span: Its position; None if there is none.
        encoding: The codec of the file.
        options: Options of reading, with the languages.

    Raises:
        UserError: If the catalogue is of another language than the target.
    """
    language = _field(text, "Language")
    is_template = not language or is_language(language, options.source)
    if not is_template:
        check_language(language, options.target, options.name)
    declared = _PLURALS.search(_field(text, "Plural-Forms"))
    forms = _forms(int(declared[1]), declared[2].strip()) if declared and language and not is_template else None
    forms = forms or _forms_of(options.target)
    if options.target == "und":
        is_template = False
    elif declared and forms.rule.split() == declared[0].split():
        forms = forms._replace(rule=_field(text, "Plural-Forms"))
    return Header(text, span, forms, encoding, options.target.replace("-", "_") if is_template else "")


def _forms_of(language: str) -> PluralForms:
    """The plural forms of a language; those of English if they are not known."""
    try:
        count, expression = get_plural(Locale.parse(language, sep="-"))
    except (UnknownLocaleError, ValueError):
        count, expression = get_plural("en")
    return _forms(count, expression) or PluralForms("nplurals=2; plural=(n != 1);", 2, 0, True)


def _forms(count: int, expression: str) -> PluralForms | None:
    """Plural forms by a rule in C; None if it is not valid."""
    try:
        rule = gettext.c2py(expression)
        singular = rule(1)
        forms_of_others = {rule(number) for number in _NUMBERS}
    except (ValueError, RecursionError, ZeroDivisionError, OverflowError):
        return None
    if not (0 < count <= _MOST_FORMS and 0 <= singular < count):
        return None
    rule_text = f"nplurals={count}; plural={expression};"
    return PluralForms(rule_text, count, singular, singular not in forms_of_others)


def _field(text: str, name: str) -> str:
    found = re.search(rf"^{name}:[ \t]*([^\n]*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _with_field(text: str, name: str, value: str) -> str:
    """A header with a field set."""
    new = f"{name}: {value}"
    text, replaced = re.subn(rf"^{name}:[^\n]*$", lambda _: new, text, count=1, flags=re.MULTILINE)
    return text if replaced else f"{text.rstrip(chr(10))}\n{new}\n".lstrip("\n")
