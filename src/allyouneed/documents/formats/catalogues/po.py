"""Gettext catalogues (PO and POT): messages are segments; translations are entered and marked fuzzy.

Entries that get no translation keep their bytes, and so do obsolete entries, comments and previous messages. A plural
message gives two segments, its singular and its plural; the translation has as many forms as the target language.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.po_header import Header, declared_charset, read_header
from allyouneed.documents.formats.catalogues.po_strings import LINE_END, is_wrapped, quoted, unquoted
from allyouneed.documents.formats.text.encoded_text import EncodedText, decode
from allyouneed.documents.formats.text.patching import Edit, changed, patched
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

# A carriage return ends a line if a line follows; elsewhere, it is a character.
_RETURN = r"\r(?=[ \t]*(?:[\"#\r\n]|msg|domain|\Z))"
_LINE = re.compile(
    r'[ \t]*(?:(?P<keyword>msgctxt|msgid_plural|msgid|msgstr(?:\[\d+\])?|domain)(?=[\s"])'
    r'|(?P<comment>\#[^\r\n]?)|(?="))'
    r'(?P<rest>(?:(?(comment)(?!))[ \t]*"[^"\\\n]*+(?:\\.[^"\\\n]*+)*+")*+'
    rf"(?:[^\r\n]|(?!{_RETURN}|\r\n)\r)*+)(?:\r?\n|\r|\Z)"
)
_STRING = re.compile(r'"([^"\\\n]*(?:\\.[^"\\\n]*)*)"[ \t\r]*')
_BLANK = re.compile(r"[ \t\f\v]*(?:\r*\n|\r|\Z)")
_FUZZY = re.compile(r"(?<![\w-])fuzzy(?![\w-])")


@dataclass
class Entry:
    """An entry of a catalogue.

    Attributes:
        line: Number of its first line.
        start: Position of its first keyword.
        fields: The strings by keyword, joined and still escaped.
        spans: The position of each field from its keyword to the end of its last string.
        flags: Position after the "#," of its first line of flags, or None.
        is_fuzzy: Whether it is marked fuzzy.
    """

    line: int
    start: int = -1
    fields: dict[str, str] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    flags: int | None = None
    is_fuzzy: bool = False

    @property
    def forms(self) -> list[str]:
        """Keywords of its translations."""
        return [keyword for keyword in self.fields if keyword.startswith("msgstr")]

    @property
    def is_finished(self) -> bool:
        """Whether all its forms are translated and it is not fuzzy."""
        return not self.is_fuzzy and all(self.fields[form] for form in self.forms)


@dataclass
class Catalogue:
    """A gettext catalogue.

    Attributes:
        content: The text and its encoding.
        segments: One per message, two per plural message.
        entries: The entry and the keyword of each segment.
        header: The header.
    """

    content: EncodedText
    segments: list[Segment]
    entries: list[tuple[Entry, str]]
    header: Header
    notes: Sequence[str] = ()
    suffix: str | None = None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the catalogue with translations entered and marked fuzzy."""
        new = {index: plain_text(parts) for index, parts in changed(self.segments, translations).items()}
        if not new:
            return self.content.encode(self.content.text)
        wraps = is_wrapped(self.content.text)
        by_entry: dict[int, dict[str, str]] = {}
        for index, text in new.items():
            entry, keyword = self.entries[index]
            by_entry.setdefault(entry.start, {})[keyword] = text
        entries = [entry for entry, keyword in self.entries if keyword == "msgid" and entry.start in by_entry]
        has_plurals = any("msgid_plural" in entry.fields for entry in entries)
        edits = self.header.edits(has_plurals, wraps, self._line_end(self.header.span[0] if self.header.span else 0))
        for entry in entries:
            edits += self._entered(entry, by_entry[entry.start], wraps, self._line_end(entry.start))
        content = self.content._replace(encoding=self.header.new_encoding)
        return content.encode(patched(content.text, edits))

    def _line_end(self, position: int) -> str:
        """The line end that follows a position; a file may have several kinds."""
        found = LINE_END.search(self.content.text, position)
        return found[0] if found else "\n"

    def _entered(self, entry: Entry, new: dict[str, str], wraps: bool, line_end: str) -> Iterator[Edit]:
        """The edits that enter the translation of one entry."""
        forms = {"msgstr": new.get("msgid", "")}
        if "msgid_plural" in entry.fields:
            forms = self._plural_translations(entry, new)
        strings = [quoted(form, _like(entry.fields["msgid"], text), wraps, line_end) for form, text in forms.items()]
        spans = [entry.spans[form] for form in entry.forms]
        yield Edit(spans[0][0], spans[-1][1], line_end.join(strings))
        if entry.is_fuzzy:
            return
        if entry.flags is None:
            yield Edit(entry.start, entry.start, f"#, fuzzy{line_end}")
        else:
            yield Edit(entry.flags, entry.flags, " fuzzy,")

    def _plural_translations(self, entry: Entry, new: dict[str, str]) -> dict[str, str]:
        """The translation for each plural form of the target language.

        The form of the number 1 has the translation of the singular, unless the form is for other numbers as well and
        the singular does not contain the number.
        """
        old = {keyword: unquoted(entry.fields[keyword]) for keyword in ("msgid", "msgid_plural")}
        singular, plural = (new.get(keyword, old[keyword]) for keyword in ("msgid", "msgid_plural"))
        names_number = old["msgid"].count("%") >= old["msgid_plural"].count("%")
        names_number = names_number and old["msgid"].count("{") >= old["msgid_plural"].count("{")
        plurals = self.header.plurals
        if not plurals.singular_is_one and not names_number:
            singular = plural
        return {
            f"msgstr[{form}]": singular if form == plurals.singular and plurals.forms > 1 else plural
            for form in range(plurals.forms)
        }


def read(data: bytes, options: ReadOptions) -> Catalogue:
    """Read a gettext catalogue.

    Raises:
        UserError: If a line is not of the format, or the catalogue is of another language than the target.
    """
    content = decode(data, options.name, declared_charset(data))
    header, segments, entries = None, [], []
    for entry in _entries(content.text, options.name):
        if not entry.fields["msgid"] and "msgctxt" not in entry.fields and header is None:
            header = entry
            continue
        for keyword, segment in _segments(entry):
            entries.append((entry, keyword))
            segments.append(segment)
    text = unquoted(header.fields["msgstr"]) if header else ""
    span = header.spans["msgstr"] if header else None
    return Catalogue(content, segments, entries, read_header(text, span, content.encoding, options), content.notes)


def _segments(entry: Entry) -> Iterator[tuple[str, Segment]]:
    """The segments of an entry with their keywords."""
    where = f"line {entry.line:,}"
    if "msgctxt" in entry.fields:
        where += f" ({unquoted(entry.fields['msgctxt'])})"
    last = entry.forms[-1]
    for keyword, form in (("msgid", entry.forms[0]), ("msgid_plural", last)):
        if keyword in entry.fields:
            target = unquoted(entry.fields[form])
            source = unquoted(entry.fields[keyword])
            yield keyword, Segment((source,), where, (target,) if target else None, entry.is_finished)


def _like(msgid: str, text: str) -> str:
    """Begin and end a translation with a line feed if the message does, as gettext demands."""
    original = unquoted(msgid)
    text = text.strip("\n")
    return "\n" * original.startswith("\n") + text + "\n" * (original.endswith("\n") and original != "\n")


def _entries(text: str, name: str) -> Iterator[Entry]:
    """The entries of a catalogue that are not obsolete."""
    entry, keyword, position, line = Entry(1), "", 0, 0
    while position < len(text):
        line += 1
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        found = _LINE.match(text, position)
        if found is None:
            raise _damaged(name, line, "this is neither a comment nor a keyword with a string")
        if found["comment"]:
            if entry.forms or found["comment"] == "#~":  # the flags before it are of the obsolete entry
                yield from [entry] if entry.forms else []
                entry, keyword = Entry(line), ""
            _read_comment(entry, found)
        else:
            if found["keyword"]:
                if entry.forms and not found["keyword"].startswith("msgstr"):
                    yield entry
                    entry = Entry(line)
                keyword = found["keyword"]
                _begin(entry, keyword, found, name, line)
            _read_strings(entry, keyword, text, found, name, line)
        position = found.end()
    if entry.forms:
        yield entry
    elif entry.fields.keys() - {"domain"}:
        raise _damaged(name, line, "the last entry has no msgstr")


def _begin(entry: Entry, keyword: str, found: re.Match[str], name: str, line: int) -> None:
    """Begin a field of an entry."""
    if keyword in entry.fields:
        raise _damaged(name, line, f"{keyword} occurs twice in an entry")
    if keyword.startswith("msgstr") and "msgid" not in entry.fields:
        raise _damaged(name, line, "there is no msgid before this msgstr")
    if entry.start < 0:
        entry.start, entry.line = found.start("keyword"), line
    entry.fields[keyword] = ""


def _read_comment(entry: Entry, found: re.Match[str]) -> None:
    if found["comment"] == "#,":
        if entry.flags is None:
            entry.flags = found.end("comment")
        entry.is_fuzzy = entry.is_fuzzy or bool(_FUZZY.search(found["rest"]))


def _read_strings(entry: Entry, keyword: str, text: str, found: re.Match[str], name: str, line: int) -> None:
    """Add the strings of a line to a field."""
    position, end = found.start("rest"), found.end("rest")
    position += len(text[position:end]) - len(text[position:end].lstrip())
    strings = []
    while position < end:
        string = _STRING.match(text, position, end)
        if string is None:
            raise _damaged(name, line, "a string is not closed, or something follows it")
        strings.append(string[1])
        position, last = string.end(), string.end(1) + 1
    if not strings or not keyword:
        raise _damaged(name, line, "there is no string after the keyword, or no keyword before the string")
    entry.fields[keyword] += "".join(strings)
    start = entry.spans[keyword][0] if keyword in entry.spans else found.start("keyword")
    entry.spans[keyword] = (start, last)


def _damaged(name: str, line: int, reason: str) -> UserError:
    return UserError(
        f"{name}, line {line:,}: not a valid catalogue: {reason}. Correct it; msgfmt --check names errors."
    )
