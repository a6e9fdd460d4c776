"""Paragraphs of WordprocessingML, DrawingML and SpreadsheetML (ECMA-376 part 1, sections 17.3, 21.1.2 and 18.4)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from copy import deepcopy
from itertools import count

from lxml import etree

from allyouneed.documents.formats.office.paragraph_atoms import Alone, Atom, Close, Open, Text
from allyouneed.documents.formats.office.run_paragraph import Dialect, Key
from allyouneed.documents.formats.office.xml_entry import local_name

WORD = frozenset(
    (
        "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
        "http://purl.oclc.org/ooxml/wordprocessingml/main",
    )
)
DRAWING = frozenset(
    ("http://schemas.openxmlformats.org/drawingml/2006/main", "http://purl.oclc.org/ooxml/drawingml/main")
)
_XML_SPACE = "{http://www.w3.org/XML/1998/namespace}space"
_NO_BREAK_HYPHEN = "\u2011"
_WRAPPERS = frozenset(("hyperlink", "ins", "moveTo", "smartTag", "customXml", "dir", "bdo"))
_RANGE = re.compile(r"(bookmark|commentRange|perm)(Start|End)")
_STALE = frozenset(("proofErr", "lastRenderedPageBreak", "softHyphen"))  # they describe the text that was
_SPACES = frozenset(("tab", "br", "cr", "ptab"))
_TABS = frozenset(("tab", "ptab"))
_SHOWN = frozenset(("sdt", "fldSimple", "oMath", "oMathPara"))
_CHOICES = frozenset(("dataBinding", "dropDownList", "comboBox", "date", "checkbox"))
_INVISIBLE_CHILDREN = frozenset(("lang", "noProof", "rPrChange"))
_INVISIBLE_ATTRIBUTES = frozenset(("lang", "altLang", "dirty", "err", "smtClean", "smtId", "noProof", "bmk", "hint"))
_ESCAPES = re.compile(r"(\r\n|\n|_x[0-9A-Fa-f]{4}_)")


def _word_atoms(paragraph: etree._Element) -> Iterator[Atom]:
    return iter(_with_fields(_word_content(paragraph, count())))


def _word_content(element: etree._Element, numbers: Iterator[int]) -> Iterator[Atom]:
    for child in element:
        name = local_name(child)
        if not name or name in _STALE or name.endswith("Pr"):
            continue
        if name == "r":
            yield from _word_run(child)
        elif marker := _RANGE.fullmatch(name):
            label, markers = (marker[1], _attribute(child, "id")), Alone(((None, child),))
            yield Open(label, markers=markers) if marker[2] == "Start" else Close(label, markers)
        elif (inside := _inside(child)) is not None:
            number = next(numbers)
            yield Open(number, child, inside)
            yield from _word_content(inside, numbers)
            yield Close(number)
        else:
            yield Alone(((None, child),), _text_in(child) if name in _SHOWN else "")


def _word_run(run: etree._Element) -> Iterator[Atom]:
    properties = _child(run, "rPr")
    is_hidden = properties is not None and _is_on(_child(properties, "vanish"))
    for child in run:
        name = local_name(child)
        if not name or name == "rPr" or name in _STALE:
            continue
        if is_hidden:
            yield Alone(((run, child),))
        elif name == "t":
            is_kept = child.get(_XML_SPACE) == "preserve"
            text = child.text or ""
            if text := text if is_kept else text.strip(" \t\r\n"):
                yield Text(text, properties, (run, child))
        elif name == "noBreakHyphen":
            yield Text(_NO_BREAK_HYPHEN, properties, (run, child))
        elif name == "ruby":
            yield Alone(((run, child),), "".join(map(_text_in, child.iterchildren("{*}rubyBase"))))
        else:
            yield Alone(((run, child),), " " if name in _SPACES else "", splits=name in _TABS)


def _with_fields(atoms: Iterator[Atom]) -> list[Atom]:
    """Make each field one code, or a pair of codes around the text of a hyperlink."""
    found: list[Atom] = []
    starts: list[int] = []
    for atom in atoms:
        kind = _field_character(atom)
        found.append(atom)
        if kind == "begin":
            starts.append(len(found) - 1)
        elif kind == "end" and starts:
            start = starts.pop()
            field = found[start:]
            if _is_balanced(field):
                found[start:] = _field(field)
    return found


def _field(atoms: list[Atom]) -> list[Atom]:
    """Return the atoms of a field from its first to its last character."""
    separator = next((i for i, atom in enumerate(atoms) if _field_character(atom) == "separate"), len(atoms) - 1)
    code, result = atoms[: separator + 1], atoms[separator + 1 : -1]
    instruction = "".join(
        element.text or "" for atom in code if isinstance(atom, Alone) for _, element in atom.elements
    ).split()
    if instruction[:1] == ["HYPERLINK"] and all(isinstance(atom, Alone) for atom in code):
        start = _kept(code)
        label = ("field", id(start.elements[0][1]))
        return [Open(label, markers=start), *result, Close(label, _kept(atoms[-1:]))]
    text = "".join(atom.text for atom in result if isinstance(atom, Text | Alone))
    return [Alone(_kept(atoms).elements, text)]


def _kept(atoms: list[Atom]) -> Alone:
    """Return the elements of atoms as one; an element around runs contains what is in it."""
    elements: list[tuple[etree._Element | None, etree._Element]] = []
    within: list[object] = []
    for atom in atoms:
        if isinstance(atom, Open) and atom.wrapper is not None:
            elements += [(None, atom.wrapper)] if not within else []
            within.append(atom.name)
        elif isinstance(atom, Close) and within and within[-1] == atom.name:
            within.pop()
        elif not within:
            if isinstance(atom, Text):
                elements.append(atom.origin)
            else:
                elements += atom.elements if isinstance(atom, Alone) else atom.markers.elements
    return Alone(tuple(elements))


def _is_balanced(atoms: list[Atom]) -> bool:
    """Return whether no element around runs begins or ends within."""
    depth = 0
    for atom in atoms:
        if isinstance(atom, Open) and atom.wrapper is not None:
            depth += 1
        elif isinstance(atom, Close) and isinstance(atom.name, int):
            depth -= 1
            if depth < 0:
                return False
    return depth == 0


def _field_character(atom: Atom) -> str | None:
    if isinstance(atom, Alone) and len(atom.elements) == 1 and local_name(atom.elements[0][1]) == "fldChar":
        return _attribute(atom.elements[0][1], "fldCharType")
    return None


def _inside(element: etree._Element) -> etree._Element | None:
    """Return the element whose runs are part of the sentence; None if the element is kept whole."""
    name = local_name(element)
    if name in _WRAPPERS or (name == "fldSimple" and (_attribute(element, "instr") or "").split()[:1] == ["HYPERLINK"]):
        return element
    if name == "sdt":
        properties = _child(element, "sdtPr")
        if properties is None or not any(local_name(child) in _CHOICES for child in properties):
            return _child(element, "sdtContent")
    return None


def _word_key(properties: etree._Element | None) -> Key:
    children = () if properties is None else (c for c in properties if local_name(c) not in _INVISIBLE_CHILDREN)
    return tuple(_frozen(child) for child in children if local_name(child))


def _put_word_text(parent: etree._Element, text: str, properties: etree._Element | None) -> None:
    run = _add_run(parent, properties)
    for index, piece in enumerate(text.split(_NO_BREAK_HYPHEN)):
        if index:
            _add(run, "noBreakHyphen")
        if piece:
            _add_text(run, piece)


def _drawing_atoms(paragraph: etree._Element) -> Iterator[Atom]:
    for child in paragraph:
        name = local_name(child)
        if name == "r":
            element = _child(child, "t")
            for piece in re.split("(\t)", element.text or "") if element is not None else ():
                if piece == "\t":
                    yield Alone((), " ", piece, splits=True)
                elif piece:
                    yield Text(piece, _child(child, "rPr"), (child, element))
        elif name and not name.endswith("Pr"):
            yield Alone(((None, child),), " " if name == "br" else _text_in(child) if name == "fld" else "")


def _drawing_key(properties: etree._Element | None) -> Key:
    if properties is None:
        return ()
    attributes = sorted((k, v) for k, v in properties.attrib.items() if k not in _INVISIBLE_ATTRIBUTES)
    return (*attributes, *(_frozen(child) for child in properties if local_name(child)))


def _put_drawing_text(parent: etree._Element, text: str, properties: etree._Element | None) -> None:
    _add(_add_run(parent, properties), "t").text = text


def _cell_atoms(cell: etree._Element) -> Iterator[Atom]:
    """Yield text and line breaks of a cell; reading aids (`rPh`) are for the text that was."""
    for child in cell:
        name = local_name(child)
        element = child if name == "t" else _child(child, "t") if name == "r" else None
        if element is None or not element.text:
            continue
        for piece in _ESCAPES.split(element.text):
            if _ESCAPES.fullmatch(piece):
                yield Alone((), " ", piece)
            elif piece:
                yield Text(piece, _child(child, "rPr") if name == "r" else None, (None, element))


def _put_cell_text(parent: etree._Element, text: str, properties: etree._Element | None) -> None:
    _add_text(_add_run(parent, properties), text)


def _finish_cell(cell: etree._Element) -> None:
    """Write text without formatting as one element, as spreadsheet programs do."""
    runs = [child for child in cell if local_name(child) == "r"]
    if all(_child(run, "rPr") is None for run in runs):
        text = "".join(_text_in(run) for run in runs)
        for run in runs:
            cell.remove(run)
        _add_text(cell, text)
        cell.insert(0, cell[-1])


def _add_run(parent: etree._Element, properties: etree._Element | None) -> etree._Element:
    run = _add(parent, "r")
    if properties is not None:
        copy = deepcopy(properties)
        copy.tail = None
        run.append(copy)
    return run


def _add(parent: etree._Element, name: str) -> etree._Element:
    return etree.SubElement(parent, f"{{{etree.QName(parent).namespace}}}{name}")


def _add_text(parent: etree._Element, text: str) -> None:
    element = _add(parent, "t")
    element.text = text
    if text != text.strip() or "  " in text or "\n" in text:
        element.set(_XML_SPACE, "preserve")


def _frozen(element: etree._Element) -> Key:
    """Return an element's content in comparable form."""
    attributes = tuple(sorted((k, v) for k, v in element.attrib.items() if k.rpartition("}")[2] != "hint"))
    return (element.tag, attributes, tuple(_frozen(child) for child in element if local_name(child)))


def _child(element: etree._Element, name: str) -> etree._Element | None:
    return next((child for child in element if local_name(child) == name), None)


def _attribute(element: etree._Element, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), None)


def _is_on(switch: etree._Element | None) -> bool:
    return switch is not None and _attribute(switch, "val") not in ("0", "false", "off")


def _text_in(element: etree._Element) -> str:
    return "".join(each.text or "" for each in element.iter("{*}t"))


WORD_PARAGRAPH = Dialect(_word_atoms, _put_word_text, _word_key)
DRAWING_PARAGRAPH = Dialect(_drawing_atoms, _put_drawing_text, _drawing_key, frozenset(("endParaRPr",)))
CELL = Dialect(_cell_atoms, _put_cell_text, _word_key, frozenset(("phoneticPr",)), _finish_cell)
