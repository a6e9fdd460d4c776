"""JSON and JSON lines: string values are segments; keys, numbers and the layout stay as they are.

Known shapes of message catalogues are respected. In Chrome's `messages.json` only messages are translated, in files
of FormatJS default messages, and keys that begin with "@" (Flutter's ARB, JSON-LD) hold no text. i18next's plural
forms are completed for the target language. In records with a key per language, the target's value is filled in.
The same applies to objects with a part per language, see `json_languages.py`.
Strings that are identifiers, paths or addresses are not translated.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.catalogues.languages import is_language, plural_categories
from allyouneed.documents.formats.text.encoded_text import decode
from allyouneed.documents.formats.text.json_languages import CODE, LanguageParts, NewMember, has_parts
from allyouneed.documents.formats.text.json_values import JsonString, JsonValue, Path, Scanner
from allyouneed.documents.formats.text.patching import Edit, PatchedDocument, Slot, changed, patched
from allyouneed.documents.segments import Parts, Segment, plain_text

_MARKUP = re.compile(r"<[^<>]*>|(?<!\{)\{++[^{}]*\}+")
_IDENTIFIER = re.compile(r"[/\\_@#=<>{}\[\]|$\d]|:(?=.)|[a-z][A-Z]")
_SEPARATORS = {0x2028: "\\u2028", 0x2029: "\\u2029"}
_SEVERAL = (".jsonl", ".ndjson")

Members = dict[Path, dict[str | int, JsonString]]


@dataclass
class JsonDocument(PatchedDocument):
    """A JSON file.

    Attributes:
        missing: Plural forms to add: the position of the key of the form "other" and the names of the keys to add, by
            the index of its segment.
        parts: The parts of the languages; None if there are none.
        added: Members to add to the target's part, by the index of the segments in them.
    """

    missing: dict[int, tuple[int, list[str]]] = field(default_factory=dict)
    parts: LanguageParts | None = None
    added: dict[int, NewMember] = field(default_factory=dict)

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the file with translations in place of its segments."""
        edits: list[Edit] = []
        added: dict[NewMember, list[Edit]] = {}
        for index, parts in changed(self.segments, translations).items():
            slot = self.slots[index]
            value = self.render(parts, slot)
            chosen = added.setdefault(self.added[index], []) if index in self.added else edits
            chosen.append(Edit(slot.start, slot.end, value))
            if index in self.missing:
                chosen.append(Edit(slot.end, slot.end, self._added(*self.missing[index], slot, value)))
        if self.parts:
            edits += self.parts.edits(added)
        return self.content.encode(patched(self.content.text, edits))

    def _added(self, key: int, names: list[str], slot: Slot, value: str) -> str:
        """Further members with one value, laid out like the member at a key."""
        text, start = self.content.text, key
        while text[start - 1].isspace():
            start -= 1
        colon = text[text.index('"', key + 1) + 1 : slot.start]
        return "".join(f",{text[start:key]}{json.dumps(name)}{colon}{value}" for name in names)


def read(data: bytes, options: ReadOptions) -> JsonDocument:
    """Read a JSON file, or JSON lines by the suffix .jsonl or .ndjson.

    Raises:
        UserError: If the file is not JSON.
    """
    content = decode(data, options.name)
    text = content.text
    is_lines = PurePath(options.name).suffix.lower() in _SEVERAL
    values: dict[Path, JsonValue] | None = {} if has_parts(text, options.source, options.target) else None
    strings = list(Scanner(text, options.name, is_lines, values).strings())
    parts = LanguageParts(text, strings, values, options.source, options.target) if values else None
    members: Members = {}
    for string in strings:
        members.setdefault(string.path[:-1], {})[string.path[-1] if string.path else ""] = string
    is_text = _shape(members, options)
    segments: list[Segment] = []
    document = JsonDocument(content, segments, slots := [], _Writer(text, content.encoding), parts=parts)
    line, position, identifiers = 1, 0, 0
    for string in strings:
        value = _value(text, string)
        if not is_text(string) or not any(map(str.isalpha, value)) or (parts and parts.is_other(string.path)):
            continue
        if options.columns is None and is_identifier(value):
            identifiers += 1
            continue
        line += text.count("\n", position, string.start)
        position = string.start
        counterpart = parts.counterpart(string) if parts else None
        if isinstance(counterpart, JsonString):
            target, slot = _value(text, counterpart), Slot(counterpart.start, counterpart.end)
        else:
            target, slot = _place(string, members, text, options)
        if isinstance(counterpart, NewMember):
            document.added[len(segments)] = counterpart
        if not isinstance(counterpart, JsonString) and (names := _missing_forms(string, members, options.target)):
            document.missing[len(segments)] = (string.key, names)
        where = ": ".join((f"line {line:,}", *filter(None, [".".join(map(str, string.path[is_lines:]))])))
        segments.append(Segment((value,), where, (target,) if target else None, bool(target)))
        slots.append(slot)
    if identifiers:
        note = f"{identifiers:,} values that are identifiers, paths or addresses are not translated."
        document.notes = (*document.notes, note)
    return document


class _Writer:
    """Writes strings with the escapes that the file uses."""

    def __init__(self, text: str, encoding: str):
        self.ascii = not encoding.startswith("utf") or (text.isascii() and bool(re.search(r"\\u[0-9a-fA-F]{4}", text)))
        self.slash = "\\/" in text
        self.html = bool(re.search(r"\\u00(?:3c|3e|26)", text, re.IGNORECASE))

    def __call__(self, parts: Parts, slot: Slot) -> str:
        value = json.dumps(plain_text(parts), ensure_ascii=self.ascii).translate(_SEPARATORS)
        if self.slash:
            value = value.replace("/", "\\/")
        if self.html:
            value = re.sub("[<>&]", lambda char: f"\\u{ord(char[0]):04x}", value)
        return slot.style + value


def _value(text: str, string: JsonString) -> str:
    value: str = json.loads(text[string.start : string.end], strict=False)
    return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")  # half a surrogate pair is no character


def _shape(members: Members, options: ReadOptions) -> Callable[[JsonString], bool]:
    """Which strings are text, by the shape of the file."""
    if options.columns is not None:
        names = set(options.columns)
        return lambda string: any(step in names for step in string.path)
    messages = [path for path in members if len(path) == 1 and not str(path[0]).startswith("@")]
    for key in ("message", "defaultMessage"):
        if messages and () not in members and all(key in members[path] for path in messages):
            return lambda string: string.path[1:] == (key,)
    others = {
        string.start
        for path, languages in members.items()
        if (source := _key_of(languages, options.source))
        and (path[-1:] == ("translation",) or _key_of(languages, options.target))
        for string in languages.values()
        if string is not languages[source] and _is_code(string.path[-1])
    }
    return lambda string: string.start not in others and not any(str(step).startswith("@") for step in string.path)


def _place(string: JsonString, members: Members, text: str, options: ReadOptions) -> tuple[str, Slot]:
    """The existing translation of a string, and where its translation is written.

    In a record with a key per language that is the value of the target language; else the string itself.
    """
    own = string.path[-1] if string.path else ""
    if options.target != "und" and _is_code(own) and is_language(str(own), options.source):
        record = members[string.path[:-1]]
        key = _key_of(record, options.target)
        if key is not None:
            return _value(text, record[key]), Slot(record[key].start, record[key].end)
        if string.path[-2:-1] == ("translation",):
            return "", Slot(string.end, string.end, f", {json.dumps(options.target)}: ")
    return "", Slot(string.start, string.end)


def _key_of(record: dict[str | int, JsonString], language: str) -> str | int | None:
    """The key of a language in a record, or None."""
    return next((key for key in record if _is_code(key) and is_language(str(key), language)), None)


def _is_code(key: str | int) -> bool:
    return isinstance(key, str) and bool(CODE.fullmatch(key))


def _missing_forms(string: JsonString, members: Members, language: str) -> list[str]:
    """Keys of i18next for plural forms that the target language has besides those of the message.

    Args:
        string: A string; only the last form of a message, "other", is completed.
        members: The strings of each object.
        language: The target language.
    """
    stem, _, category = str(string.path[-1] if string.path else "").rpartition("_")
    record = members[string.path[:-1]]
    if category != "other" or language == "und" or f"{stem}_one" not in record:
        return []
    return [name for each in plural_categories(language) if (name := f"{stem}_{each}") not in record]


def is_identifier(value: str) -> bool:
    """Whether a string is an identifier, a path or an address rather than text."""
    rest = _MARKUP.sub("", value)
    if not any(map(str.isalpha, rest)):
        return True
    return rest.isascii() and not any(map(str.isspace, value.strip())) and bool(_IDENTIFIER.search(rest))
