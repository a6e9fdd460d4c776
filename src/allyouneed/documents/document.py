"""The interface of document formats, and their registry.

A format is a module in one of the packages in `formats`, with a function `read(data, options) -> Document`. Adding one
means writing the module and an entry in `FORMATS`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import PurePath
from typing import NamedTuple, Protocol

from allyouneed.documents.segments import Parts, Segment
from allyouneed.errors import UserError
from allyouneed.zip_files import IN_MEMORY, ZipLimits


class Document(Protocol):
    """A document that was read.

    Attributes:
        segments: Translatable segments, in document order.
        notes: What the user should know, such as text that cannot be translated; one sentence each.
        suffix: Suffix of the written file if it is not that of the document, such as ".docx" for a PDF document.
    """

    segments: Sequence[Segment]
    notes: Sequence[str]
    suffix: str | None

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the document with translations in place of its segments.

        Args:
            translations: The translation of each segment; None leaves a segment as it is. The sources themselves give
                the document as it was, byte for byte (office documents and e-books: equal in content).
        """


@dataclass(frozen=True)
class ReadOptions:
    """Options of reading a document.

    Attributes:
        name: Name of the file, for messages.
        source: Code of the source language.
        target: Code of the target language.
        paragraphs: Whether consecutive lines of plain text form a paragraph.
        ignored: In XML and HTML, further elements that are not translated.
        splitting: In XML, elements that separate segments.
        inline: In XML, elements that are within segments.
        outline: In XML, whether all other elements separate segments unless they are beside text. Else all are inline.
        columns: In a table, the columns to translate, by number from 1 or by name; None for the default.
        output_suffix: Suffix of the output file, for formats that are written in another; "" for the default.
        limits: Limits on documents that are ZIP archives.
    """

    name: str
    source: str = "und"
    target: str = "und"
    paragraphs: bool = False
    ignored: frozenset[str] = frozenset()
    splitting: frozenset[str] = frozenset()
    inline: frozenset[str] = frozenset()
    outline: bool = True
    columns: tuple[str, ...] | None = None
    output_suffix: str = ""
    limits: ZipLimits = IN_MEMORY


class Format(NamedTuple):
    """A document format.

    Attributes:
        title: Its name, for messages.
        suffixes: File name suffixes in lower case.
        module: Module of `formats` that reads and writes it.
        pattern: For suffixes that several formats share, a regular expression that the beginning of a file of this
            format contains. Formats with a pattern are tried first.
        is_text: Whether its files can be written to a terminal.
    """

    title: str
    suffixes: tuple[str, ...]
    module: str
    pattern: bytes | None = None
    is_text: bool = True


FORMATS = (
    Format("plain text", (".txt", ".text"), "text.plain_text"),
    Format("HTML", (".html", ".htm", ".xhtml", ".xht"), "markup.html"),
    Format("Markdown", (".md", ".markdown", ".mdown", ".mkd"), "text.markdown"),
    Format("XML", (".xml", ".dbk", ".docbook", ".dita"), "markup.xml"),
    Format("Word document", (".docx", ".docm", ".dotx", ".dotm"), "office.docx", is_text=False),
    Format("Excel workbook", (".xlsx", ".xlsm", ".xltx", ".xltm"), "office.xlsx", is_text=False),
    Format("OpenDocument text", (".odt", ".ott", ".fodt"), "office.odf", is_text=False),
    Format("OpenDocument presentation", (".odp", ".otp", ".fodp"), "office.odf", is_text=False),
    Format("OpenDocument spreadsheet", (".ods", ".ots", ".fods"), "office.odf", is_text=False),
    Format("OpenDocument drawing", (".odg", ".otg", ".fodg"), "office.odf", is_text=False),
    Format("EPUB book", (".epub",), "office.epub", is_text=False),
    Format("PDF document", (".pdf",), "pdf.document", is_text=False),
    Format(
        "PowerPoint presentation", (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx", ".potm"), "office.pptx", is_text=False
    ),
    Format("gettext catalogue", (".po", ".pot"), "catalogues.po"),
    Format("XLIFF", (".xlf", ".xliff", ".mxliff", ".sdlxliff", ".mqxliff"), "catalogues.xliff"),
    Format("XLIFF", (".xml",), "catalogues.xliff", rb"<xliff[\s>]"),
    Format("TMX", (".tmx",), "catalogues.tmx"),
    Format("Java properties", (".properties",), "catalogues.properties"),
    Format("Apple strings", (".strings",), "catalogues.apple_strings"),
    Format("SubRip subtitles", (".srt",), "text.subtitles"),
    Format("WebVTT subtitles", (".vtt",), "text.subtitles"),
    Format("Android strings", (".xml",), "catalogues.android", rb"<resources[\s>]"),
    Format("Apple strings", (".stringsdict",), "catalogues.stringsdict"),
    Format("Apple strings", (".strings",), "catalogues.stringsdict", rb"<plist[\s>]"),
    Format("CSV", (".csv",), "text.table"),
    Format("TSV", (".tsv", ".tab"), "text.table"),
    Format("JSON", (".json", ".jsonl", ".ndjson", ".arb"), "text.json_text"),
)
_BEGINNING = 4096  # bytes that tell formats with one suffix apart


def is_document(name: str) -> bool:
    """Return whether a format has the suffix of a file."""
    return any(PurePath(name).suffix.lower() in each.suffixes for each in FORMATS)


def format_of(name: str, data: bytes = b"") -> Format:
    """Return the format of a file by its name, and by its content if several formats share the suffix.

    Raises:
        UserError: If no format has the suffix.
    """
    suffix = PurePath(name).suffix.lower()
    beginning = data[:_BEGINNING].replace(b"\0", b"")  # in UTF-16, every other byte
    for each in sorted(FORMATS, key=lambda each: each.pattern is None):
        if suffix in each.suffixes and (each.pattern is None or re.search(each.pattern, beginning)):
            return each
    known = ", ".join(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))
    raise UserError(f"{name}: this file type is not supported. Supported are {known}.")


def read_document(data: bytes, options: ReadOptions) -> Document:
    """Read a document.

    Raises:
        UserError: If the format is unknown, its libraries are not installed, or the document is damaged.
    """
    format_ = format_of(options.name, data)
    try:
        module = import_module(f"allyouneed.documents.formats.{format_.module}")
    except ModuleNotFoundError as error:
        raise UserError(
            f"{options.name}: {format_.title} needs the package {error.name}: pip install 'allyouneed[documents]'."
        ) from error
    return module.read(data, options)
