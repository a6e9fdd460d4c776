"""TermBase eXchange (ISO 30042), versions 2 and 3, read with lxml."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from lxml import etree

from allyouneed.errors import UserError
from allyouneed.languages import primary, stored_language_code
from allyouneed.translation.terminology.glossary import Entry

_CONCEPTS = ("{*}termEntry", "{*}conceptEntry")
_SECTIONS = ("langSet", "langSec")
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"
_LONGEST_TERM = 1000  # characters


def read_tbx(path: Path, source: str, target: str) -> list[Entry]:
    """Read the terms of a TBX file: every term of a concept in the source language, with its first translation.

    Terms that are marked as deprecated or superseded are found in the source but not used as translations; preferred
    terms come first. The document type is not loaded, and entities are not expanded.

    Raises:
        UserError: If the file cannot be read or is not TBX.
    """
    entries = []
    options = {"resolve_entities": False, "load_dtd": False, "no_network": True, "remove_comments": True}
    try:
        with open(path, "rb") as file:
            for _, concept in etree.iterparse(file, tag=_CONCEPTS, **options):
                entries += _entries(concept, primary(source), primary(target))
                concept.clear()
                while concept.getprevious() is not None:
                    del concept.getparent()[0]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({(error.strerror or str(error)).lower()}).") from error
    except etree.XMLSyntaxError as error:
        reason = " ".join(error.msg.split())
        raise UserError(f"{path}, line {error.lineno}: not TBX ({reason}). Export the termbase again.") from error
    return entries


def _entries(concept: etree._Element, source: str, target: str) -> list[Entry]:
    translations = [term for rank, term in sorted(_terms(concept, target), key=lambda each: each[0]) if rank < 2]
    if not translations:
        return []
    return [Entry(term, translations[0]) for _, term in _terms(concept, source)]


def _terms(concept: etree._Element, language: str) -> list[tuple[int, str]]:
    """Return the terms of a concept in a language with their ranks: 0 preferred, 1 admitted, 2 deprecated."""
    found = []
    for section in concept.iter(*(f"{{*}}{name}" for name in _SECTIONS)):
        if primary(stored_language_code(section.get(_LANGUAGE, section.get("lang", "")))) != language:
            continue
        for term in section.iter("{*}term"):
            text = unicodedata.normalize("NFC", " ".join("".join(term.itertext()).split()))
            if text and len(text) <= _LONGEST_TERM:
                found.append((_rank(term), text))
    return found


def _rank(term: etree._Element) -> int:
    """Return the rank of a term by its administrative status."""
    group = next(term.iterancestors("{*}tig", "{*}ntig", "{*}termSec"), None)
    notes = [] if group is None else [note.text or "" for note in group.iter("{*}termNote")]
    if any("deprecated" in note or "superseded" in note for note in notes):
        return 2
    return 0 if any("preferred" in note for note in notes) else 1
