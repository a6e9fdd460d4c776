"""Content of a paragraph in order, whatever the format: text of runs, kept content, and elements around runs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from lxml import etree


class Text(NamedTuple):
    """Text of a run.

    Attributes:
        text: The text.
        properties: Properties of the run.
        origin: The run and the element of the text.
    """

    text: str
    properties: etree._Element | None
    origin: tuple[etree._Element | None, etree._Element]


class Alone(NamedTuple):
    """Content that is kept whole.

    Attributes:
        elements: Elements in order, each with the run that it is in; None for elements beside runs.
        text: What readers see of it.
        literal: For characters that are kept, such as line ends in cells, these characters.
        splits: Whether it separates texts, as a tab does.
    """

    elements: tuple[tuple[etree._Element | None, etree._Element], ...] = ()
    text: str = ""
    literal: str = ""
    splits: bool = False


class Open(NamedTuple):
    """Start of an element around runs, or of a range between two markers.

    Attributes:
        name: Identifies the end; unique within the paragraph.
        wrapper: The element around the runs; None for a range.
        inside: The element that contains the runs: the wrapper or a descendant.
        markers: What starts a range.
    """

    name: object
    wrapper: etree._Element | None = None
    inside: etree._Element | None = None
    markers: Alone = Alone()


class Close(NamedTuple):
    """End of what an `Open` of the same name starts; the markers end a range."""

    name: object
    markers: Alone = Alone()


Atom = Text | Alone | Open | Close


def matched(atoms: Iterable[Atom]) -> list[Atom]:
    """Turn the markers of ranges that are not properly nested into content that stands alone."""
    found = list(atoms)
    matched: set[int] = set()
    wrappers: list[int] = []
    ranges: list[dict[object, int]] = [{}]  # open ranges within each open wrapper, in order
    for index, atom in enumerate(found):
        if isinstance(atom, Open):
            if atom.wrapper is not None:
                wrappers.append(index)
                ranges.append({})
            else:
                ranges[-1].pop(atom.name, None)
                ranges[-1][atom.name] = index
        elif isinstance(atom, Close):
            if wrappers and _name(found[wrappers[-1]]) == atom.name:
                matched |= {wrappers.pop(), index}
                ranges.pop()
            elif atom.name in ranges[-1]:
                name: object = None
                while name != atom.name:
                    name, start = ranges[-1].popitem()
                matched |= {start, index}
    return [
        atom.markers if isinstance(atom, Open | Close) and index not in matched else atom
        for index, atom in enumerate(found)
    ]


def merged(atoms: list[Atom]) -> list[Atom]:
    """Make adjacent kept content one code, so that its order cannot change, unless several of it show."""
    found: list[Atom] = []
    for atom in atoms:
        last = found[-1] if found else None
        if (
            isinstance(atom, Alone)
            and isinstance(last, Alone)
            and not (atom.literal or last.literal)
            and not (atom.text and last.text)
        ):
            found[-1] = Alone(last.elements + atom.elements, last.text + atom.text, "", last.splits or atom.splits)
        else:
            found.append(atom)
    return found


def _name(atom: Atom) -> object:
    return atom.name if isinstance(atom, Open | Close) else None
