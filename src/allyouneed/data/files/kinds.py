"""Recognition of files that are not plain text, by their content: what a file is, and how to get parallel text from it.

`recognise` is the only function that decides this, from the first bytes of a file. Names of files play no part.
"""

from __future__ import annotations

import re
from typing import NamedTuple


class Kind(NamedTuple):
    """A kind of file that is not read as lines of text.

    Attributes:
        name: What the file is, with an article where needed, for example "a PDF document".
        remedy: What the user can do to get text from it.
        reader: Module of `readers` that reads sentence pairs from it; None if there is none.
    """

    name: str
    remedy: str
    reader: str | None = None


_DECOMPRESS = "Extract the text files from it and give those."
_SAVE_SHEET = "Save the sheet as UTF-8 CSV or tab-separated text and give that."
_SAVE_TEXT = "Save it as plain text, one sentence per line, and give that."
_EXPORT = "Export its rows to TSV, source and target separated by a tab, and give that."
_TOOLKIT = "Convert it with the translate toolkit (pip install translate-toolkit): {}, and read the CSV."
_PANDAS = "Convert it with pandas: {}(FILE).to_json('a.jsonl', orient='records', lines=True)."
_ALIGN = "Align both languages by time, for example with the tools of OPUS, and give parallel text."
_PAIRS = "It has both sides of a corpus: give it where sentence pairs are read, such as --train, --valid or --test."
_DOWNLOAD = "If it was meant to be text, download the file itself, not the page that links to it."

_BY_MAGIC = {
    b"%PDF-": Kind("a PDF document", _SAVE_TEXT),
    b"PAR1": Kind("a Parquet table", _PAIRS, "columnar"),
    b"ARROW1": Kind("an Arrow table", _PAIRS, "columnar"),
    b"\xff\xff\xff\xff": Kind("an Arrow stream", _PAIRS, "columnar"),
    b"FEA1": Kind("a Feather table", _PANDAS.format("read_feather")),
    b"SQLite format 3\0": Kind("an SQLite database", _EXPORT),
    b"\x89HDF\r\n\x1a\n": Kind("an HDF5 file", _EXPORT),
    b"\x93NUMPY": Kind("a NumPy array", _EXPORT),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": Kind(
        "a document of Microsoft Office 97-2003", "Save it as text or CSV, in UTF-8."
    ),
    b"{\\rtf": Kind("an RTF document", _SAVE_TEXT),
    b"7z\xbc\xaf\x27\x1c": Kind("a 7z archive", _DECOMPRESS),
    b"Rar!\x1a\x07": Kind("a RAR archive", _DECOMPRESS),
    b"\x1f\x8b": Kind("compressed twice", "Decompress it once: gunzip."),
    b"\xfd7zXZ\0": Kind("compressed twice", "Decompress it once: unxz."),
    b"\x28\xb5\x2f\xfd": Kind("compressed twice", "Decompress it once: unzstd."),
    b"\x04\x22\x4d\x18": Kind("compressed with LZ4", "Decompress it: unlz4."),
    b"\x1f\x9d": Kind("compressed with compress", "Decompress it: gunzip."),
    b"LZIP": Kind("compressed with lzip", "Decompress it: lzip -d."),
    b"\xde\x12\x04\x95": Kind(
        "a compiled gettext catalogue (MO)",
        _TOOLKIT.format("msgunfmt, then po2csv"),
    ),
    b"\x95\x04\x12\xde": Kind(
        "a compiled gettext catalogue (MO)",
        _TOOLKIT.format("msgunfmt, then po2csv"),
    ),
    b"\x7fELF": Kind("a program", "Give a text file."),
    b"\x89PNG\r\n": Kind("an image", "Give a text file."),
    b"\xff\xd8\xff": Kind("an image", "Give a text file."),
    b"GIF8": Kind("an image", "Give a text file."),
    b"\x80\x02": Kind("a Python pickle", "It is not opened, since it can run code. " + _EXPORT),
    b"\x80\x04\x95": Kind("a Python pickle", "It is not opened, since it can run code. " + _EXPORT),
    b"version https://git-lfs.github.com/spec/": Kind(
        "a Git LFS pointer, not the file itself", "Fetch the file: git lfs pull."
    ),
    b"WEBVTT": Kind("WebVTT subtitles", _ALIGN),
}
_TEXTUAL_MAGIC = (b"%PDF-", b"{\\rtf", b"version https://git-lfs.github.com/spec/", b"WEBVTT")
_BY_ZIP_ENTRY = {
    b"word/": Kind("a Word document (DOCX)", _SAVE_TEXT),
    b"xl/": Kind("an Excel workbook (XLSX)", _PAIRS, "workbook"),
    b"ppt/": Kind("a PowerPoint presentation (PPTX)", _SAVE_TEXT),
    b"mimetypeapplication/vnd.oasis.opendocument.spreadsheet": Kind("an OpenDocument spreadsheet", _SAVE_SHEET),
    b"mimetypeapplication/vnd.oasis.opendocument": Kind("an OpenDocument text", _SAVE_TEXT),
    b"mimetypeapplication/epub": Kind("an e-book (EPUB)", _SAVE_TEXT),
}
_BY_ROOT = {
    "tmx": Kind("a translation memory (TMX)", _PAIRS, "tmx"),
    "xliff": Kind("an XLIFF file", _PAIRS, "xliff"),
    "cesAlign": Kind("a sentence alignment (XCES)", _PAIRS, "xces"),
    "TS": Kind("a Qt translation file (TS)", _TOOLKIT.format("ts2po, then po2csv")),
    "html": Kind("an HTML page", _DOWNLOAD),
    "resources": Kind("Android string resources", _EXPORT),
    "plist": Kind("a property list", _EXPORT),
}
_ROOT = re.compile(  # without nested repetition that could match a text in several ways
    r"\s*(?:(?:<\?(?:[^?]|\?(?!>))*\?>|<!--(?:[^-]|-(?!->))*-->|<!DOCTYPE[^>\[]*(?:\[[^\]]*\]\s*)?>)\s*)*"
    r"<(?:\w+:)?([A-Za-z]\w*)[\s>/]",
    re.IGNORECASE,
)
_DOCTYPE = re.compile(r"\s*(?:<\?xml[^>]*>\s*)?<!DOCTYPE\s+(?:\w+:)?([A-Za-z]\w*)")
_DECLARED = re.compile(r"\s*<(?:\?xml\s|!doctype\s)", re.IGNORECASE)
_PO = re.compile(r'^msgid ".*"\n(?:".*"\n)*(?:msgid_plural ".*"\n(?:".*"\n)*)?msgstr(?:\[0\])? "', re.MULTILINE)
_SUBTITLES = re.compile(r"\s*1\n\d\d?:\d\d:\d\d[,.]\d+ --> \d\d?:\d\d:\d\d")
_JSON_ARRAY = re.compile(r"\[\s*[\[{]")
_JSON_LINES = re.compile(r"\}[ \t\r]*\n\s*\{")
_JSON_OF_OBJECTS = re.compile(r'\{\s*"[^"\n]*"\s*:\s*\{')
_JSON_NESTED = re.compile(r'"[^"\n]*"\s*:\s*\{\s*"[^"\n]*"\s*:\s*\{')
_JSON_DOCUMENT = re.compile(r'\s*(?:\[\s*[\[{]\s*"|\{[ \t\r]*\n\s*"[^"\n]*"\s*:|\[[ \t\r]*\n\s*")')


def recognise(head: bytes) -> Kind | None:
    """Recognise a file that is not lines of text by its first bytes; None for text and for unknown binary data.

    Args:
        head: The beginning of the file after decompression, at best some ten thousand bytes.
    """
    for magic, kind in _BY_MAGIC.items():
        if head.startswith(magic) and (b"\0" in head or not magic.isascii() or magic in _TEXTUAL_MAGIC):
            return kind
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return next(
            (kind for entry, kind in _BY_ZIP_ENTRY.items() if entry in head), Kind("a ZIP archive", _DECOMPRESS)
        )
    if head[257:262] == b"ustar":
        return Kind("a tar archive", _DECOMPRESS)
    return _markup(head.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace").replace("\r\n", "\n"))


def _markup(text: str) -> Kind | None:
    """Recognise documents that are text, but whose lines are not sentences."""
    start = text.lstrip()[:1]
    first_line = text.lstrip().partition("\n")[0]
    if start == "<" and (root := _ROOT.match(text) or _DOCTYPE.match(text)):  # a long DTD may precede the root
        name = root[1]
        kind = _BY_ROOT.get("html" if name.lower() == "html" else name)
        declared = _DECLARED.match(text) is not None
        is_one_line = "\t" in first_line or f"</{name}>" in first_line  # a sentence that contains markup
        if kind and (declared or kind.reader or not is_one_line):
            return kind
        if declared:
            return Kind(f"an XML document ({name})", _EXPORT)
    if ("msgid" in text) and _PO.search(text.replace("\r", "\n")):
        return Kind("a gettext catalogue (PO)", _PAIRS, "po")
    if _SUBTITLES.match(text):
        return Kind("SubRip subtitles (SRT)", _ALIGN)
    if start in ("[", "{") and "\t" not in first_line and _is_json_document(text):
        return Kind("a JSON document", _PAIRS, "json_document")
    return None


def _is_json_document(text: str) -> bool:
    """Return whether JSON is one document, not lines of objects."""
    if _JSON_DOCUMENT.match(text):
        return True
    if "\n" not in text.strip() and (_JSON_OF_OBJECTS.match(text.lstrip()) or _JSON_NESTED.search(text)):
        return True  # one line for all records
    is_object = text.lstrip().startswith('{"')
    return is_object and _JSON_ARRAY.search(text) is not None and _JSON_LINES.search(text) is None
