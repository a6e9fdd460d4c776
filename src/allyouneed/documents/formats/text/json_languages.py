"""JSON files with a part per language, such as `{"en": {"menu": {"open": "Open"}}, "de": {}}`.

The texts of the source language's part are translated into the part of the target language: in place of what it has, or
as new members, which are laid out like those of the source.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from allyouneed.documents.formats.catalogues.languages import is_language
from allyouneed.documents.formats.text.json_values import JsonString, JsonValue, Path
from allyouneed.documents.formats.text.patching import Edit, patched

CODE = re.compile(r"[a-z]{2,3}(?:[-_]\w+)*")
_PART = re.compile(r'"([a-z]{2,3}(?:[-_]\w+)*)"\s*:\s*\{')


class NewMember(NamedTuple):
    """A member that the target's part lacks.

    Attributes:
        parent: Path of the object that it is added to.
        like: Path of the member of the source.
    """

    parent: Path
    like: Path


def has_parts(text: str, source: str, target: str) -> bool:
    """Return whether objects seem to be keyed by both languages; languages may be unknown ("und")."""
    names = {match[1] for match in _PART.finditer(text)}
    return all(any(is_language(name, language) for name in names) for language in (source, target))


class LanguageParts:
    """The parts of a file.

    Args:
        text: The file.
        strings: Its strings.
        values: Its objects and arrays by their paths.
        source: The source language.
        target: The target language.
    """

    def __init__(
        self,
        text: str,
        strings: Sequence[JsonString],
        values: Mapping[Path, JsonValue],
        source: str,
        target: str,
    ):
        self._text, self._values = text, values
        self._strings = {string.path: string for string in strings}
        self._targets: dict[Path, Path] = {}  # the path of the target's part by that of the source
        self._others: set[Path] = set()
        parts: dict[Path, list[str]] = defaultdict(list)
        for path in values:
            if path and isinstance(path[-1], str) and CODE.fullmatch(path[-1]):
                parts[path[:-1]].append(path[-1])
        for parent, names in parts.items():
            ones = [name for name in names if is_language(name, source)]
            others = [name for name in names if is_language(name, target) and name not in ones]
            if ones and others:
                self._targets[*parent, ones[0]] = (*parent, others[0])
                self._others |= {(*parent, name) for name in names if name != ones[0]}
        self._depth = max(map(len, self._targets), default=0)

    def is_other(self, path: Path) -> bool:
        """Return whether a string is in the part of another language than the source."""
        return any(path[:depth] in self._others for depth in range(1, min(len(path), self._depth + 1)))

    def counterpart(self, string: JsonString) -> JsonString | NewMember | None:
        """Return the string in the target's part, or what to add to it.

        None if the string is in no part, or a member of the same name follows.
        """
        path = string.path
        if self._strings[path] != string:
            return None
        depth = next((n for n in range(1, min(len(path), self._depth + 1)) if path[:n] in self._targets), 0)
        if not depth:
            return None
        target, rest = self._targets[path[:depth]], path[depth:]
        if found := self._strings.get((*target, *rest)):
            return found
        for length in range(len(rest) - 1, -1, -1):
            parent = (*target, *rest[:length])
            if parent in self._values:
                member = NewMember(parent, path[: depth + length + 1])
                like = self._value(member)
                is_inside = like is not None and like.key <= string.start < like.end
                return member if is_inside and self._text[self._values[parent].start] == "{" else None
        return None

    def edits(self, added: Mapping[NewMember, Sequence[Edit]]) -> Iterator[Edit]:
        """Yield the edits that add members.

        Args:
            added: The edits of each member's text in the source.
        """
        by_parent: dict[Path, list[str]] = defaultdict(list)
        for member, edits in added.items():
            like = self._value(member)
            if like is None:
                continue
            moved = [Edit(edit.start - like.key, edit.end - like.key, edit.text) for edit in edits]
            copy = patched(self._text[like.key : like.end], moved)
            by_parent[member.parent].append(self._space_before(like.key) + copy)
        for parent, members in by_parent.items():
            value = self._values[parent]
            end = value.end - 1
            space = self._space_before(end)
            last = end - len(space)
            if last > value.start + 1:
                comma = "" if self._text[last - 1] == "," else ","
                yield Edit(last, last, comma + ",".join(members))
            else:
                original = next(member.like[:-1] for member in added if member.parent == parent)
                closing = self._space_before(self._values[original].end - 1)
                yield Edit(value.start + 1, end, ",".join(members) + closing)

    def _value(self, member: NewMember) -> JsonString | JsonValue | None:
        return self._strings.get(member.like) or self._values.get(member.like)

    def _space_before(self, position: int) -> str:
        start = position
        while start and self._text[start - 1].isspace():
            start -= 1
        return self._text[start:position]
