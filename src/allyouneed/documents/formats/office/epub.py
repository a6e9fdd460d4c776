"""EPUB books, versions 2 and 3: chapters, tables of contents, title and description."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import unquote

from lxml import etree

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.markup import html
from allyouneed.documents.formats.office.container_document import ContainerDocument, EntryDocument
from allyouneed.documents.formats.office.xml_entry import Unit, XmlEntry, local_name, parse_xml, text_unit
from allyouneed.documents.formats.office.zip_container import ZipContainer
from allyouneed.documents.segments import Parts, Segment
from allyouneed.errors import UserError

_CONTAINER, _ENCRYPTION = "META-INF/container.xml", "META-INF/encryption.xml"
_FONT_OBFUSCATION = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")
_CHAPTERS = ("application/xhtml+xml", "text/html", "text/x-oeb1-document")
_CONTENTS = "application/x-dtbncx+xml"
_PROPERTIES = ("title", "subject", "description")
_HTML_TAG = re.compile(rb"<html\b[^>]{0,4000}>", re.IGNORECASE)
_LANGUAGE = re.compile(rb"""(\s(?:xml:)?lang\s*=\s*)(?:"[^"]*"|'[^']*')""", re.IGNORECASE)


def read(data: bytes, options: ReadOptions) -> ContainerDocument:
    """Read a book.

    Raises:
        UserError: If the file is damaged, protected or something else.
    """
    container = ZipContainer(data, options.name, options.limits)
    packages = _packages(container)
    if not packages:
        raise UserError(f"{options.name}: a zip archive, but not an EPUB book. Give the file the suffix of its format.")
    protected = _protected(container)
    entries: dict[str, EntryDocument] = {}
    for package in packages:
        found = _package_entries(container, package, options)
        if locked := protected & found.keys():
            raise UserError(
                f"{options.name}: {min(locked)} is protected by digital rights management and cannot be translated."
            )
        entries |= {name: _entry(container, name, kind, options) for name, kind in found.items()}
    return ContainerDocument(container, entries)


def _entry(container: ZipContainer, name: str, kind: str, options: ReadOptions) -> EntryDocument:
    if kind in _CHAPTERS:
        return _Chapter(container.read(name), name, options)
    units = _contents_units if kind == _CONTENTS else _property_units
    return XmlEntry(
        container.read(name),
        f"{options.name}, {name}",
        units,
        lambda root: _localize(root, options),
        keeps_entities=True,
    )


class _Chapter:
    """A chapter: an XHTML file whose language becomes the target language."""

    def __init__(self, data: bytes, name: str, options: ReadOptions):
        path = PurePosixPath(f"{options.name}, {name}").with_suffix(".xhtml")
        self._markup = html.read(data, replace(options, name=str(path)))
        self._target = options.target
        self.segments: Sequence[Segment] = [
            replace(segment, where=f"{name}, {segment.where}") for segment in self._markup.segments
        ]

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the chapter with translations."""
        data = self._markup.write(translations)
        tag = _HTML_TAG.search(data) if self._target != "und" else None
        if tag is None:
            return data
        return data[: tag.start()] + _LANGUAGE.sub(rb'\g<1>"%s"' % self._target.encode(), tag[0]) + data[tag.end() :]


def _protected(container: ZipContainer) -> set[str]:
    """Return the entries that are encrypted; fonts may be obfuscated in any book."""
    found = set()
    root = (
        parse_xml(container.read(_ENCRYPTION), f"{container.name}, {_ENCRYPTION}") if _ENCRYPTION in container else None
    )
    for data in root.iter("{*}EncryptedData") if root is not None else ():
        method, reference = data.find(".//{*}EncryptionMethod"), data.find(".//{*}CipherReference")
        if reference is not None and (method is None or method.get("Algorithm") not in _FONT_OBFUSCATION):
            found.add(unquote(reference.get("URI", "")))
    return found


def _packages(container: ZipContainer) -> list[str]:
    if _CONTAINER not in container:
        return []
    root = parse_xml(container.read(_CONTAINER), f"{container.name}, {_CONTAINER}").getroot()
    paths = [each.get("full-path", "") for each in root.iter("{*}rootfile")]
    return list(dict.fromkeys(path for path in paths if path.endswith(".opf"))) or paths[:1]


def _package_entries(container: ZipContainer, package: str, options: ReadOptions) -> dict[str, str]:
    """Return media types of the entries with text, in reading order, the package itself first."""
    root = parse_xml(container.read(package), f"{options.name}, {package}", keeps_entities=True).getroot()
    folder = posixpath.dirname(package)
    items = {}
    for item in root.iter("{*}item"):
        path = unquote(item.get("href", "").partition("#")[0])
        name = posixpath.normpath(posixpath.join(folder, path))
        if name in container:
            items[item.get("id", "")] = name, item.get("media-type", "")
    spine = [items[each.get("idref")] for each in root.iter("{*}itemref") if each.get("idref") in items]
    texts = [(name, kind) for name, kind in [*spine, *items.values()] if kind in (*_CHAPTERS, _CONTENTS)]
    return {package: "package", **dict(texts)}


def _property_units(root: etree._Element) -> list[Unit]:
    return [
        text_unit(each, f"{local_name(each)} of the book")
        for metadata in root.iter("{*}metadata")
        for each in metadata.iter("*")
        if local_name(each) in _PROPERTIES and not len(each) and (each.text or "").strip()
    ]


def _contents_units(root: etree._Element) -> list[Unit]:
    return [
        text_unit(each, f"table of contents, entry {number}")
        for number, each in enumerate(root.iter("{*}text"), 1)
        if not len(each) and (each.text or "").strip()
    ]


def _localize(root: etree._Element, options: ReadOptions) -> bool:
    """Set the language of the book to the target language; return whether that changed something."""
    languages = [each for metadata in root.iter("{*}metadata") for each in metadata.iter("{*}language")]
    if options.target == "und" or not languages:
        return False
    languages[0].text = options.target
    return True
