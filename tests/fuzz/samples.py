"""A small file of each format that is read, and the parts of the program that read it."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import random
from collections import defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import openpyxl

from allyouneed.documents.document import format_of, is_document
from allyouneed.errors import UserError
from tests.data import test_damaged_files
from tests.documents.office_files import ODF_NAMESPACES, docx, odf, pptx, run
from tests.documents.test_bilingual import TMX, XLIFF_1, XLIFF_2
from tests.documents.test_epub import book
from tests.documents.test_odf import BOLD
from tests.documents.test_pdf import PAGE, pdf
from tests.documents.test_po import CATALOGUE
from tests.documents.test_resources import ANDROID, DICT, PROPERTIES, STRINGS
from tests.documents.test_subtitles import SRT, VTT
from tests.documents.test_table import CSV
from tests.fuzz import checks
from tests.translation.terminology.test_glossary_files import TBX_2, TBX_3

_LARGEST_FILE = 60_000  # bytes of a file of a folder
TEXT = """Hello {name}, you have {{count, number}} new messages (%d of %(total)s), see https://example.com/a?b=1&c=2.
  A <b>bold</b> word; `code`, $t(key), %{user}, {x}|{y} and {n, plural, one {# file} other {# files}}. Mail a@b.org!\r
{% if user %}Price: 3.50 €, 100 % sure{% endif %} <%= name %> { $user } %-5.2lf %@ &amp; /usr/share/doc 👍🏽 漢字.
Dear sir, this line was wrapped in an editor that breaks lines after
sixty-eight characters or so. It's "quoted" and (bracketed).\n"""
MARKDOWN = """---
title: A title
---
# Heading *one* #

A paragraph with `code`, [a link](http://a.b "title"), ![alt](x.png) and <b>markup</b>\\
broken. Auto <http://x.y> &copy; \\* **bold _nested_**~~gone~~

> A quote
> - item one
>   1. nested

| a | b |
|---|:-:|
| c | d \\| e |

```python
print("kept")
```

    indented

<div>html *text*</div>

[ref]: http://a.b 'Title'
"""
HTML = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A title</title>
<meta name="description" content="What it's about"><style>b { c }</style><script>var a = "<b>";</script></head>
<body><h1 title='tip'>One <em>two</em></h1><p>Hello <a href="x?a=1&amp;b">you</a>, <code>x</code> &nbsp;and
<span translate=no>Rex</span><br>line<!-- c --> <img alt="a picture" src=x></p><ul><li>a<li>b</ul>
<table><tr><td>cell<td>2</table><pre>kept
</pre><input type=submit value="Send"><svg><text>x</text></svg></body></html>
"""
XML = """<?xml version="1.0" encoding="utf-8"?>
<!DOCTYPE book [<!ENTITY brand "ACME"><!ELEMENT book ANY>]>
<book xmlns:x="urn:x"><title>A &brand; title</title><para>Text with <em>inline</em> <x:b a='1'>markup</x:b>.</para>
<!-- comment --><?pi data?><![CDATA[raw <b>text</b>]]><code>kept</code>
<list><item>one</item><item>two</item></list></book>
"""
JSON = """{"a": ["x y", {"b_one": "one \\u00fc", "b_other": "many"}], "c": {"message": "m n"},
 "d": {"e": {"f": "deep text", "g": 1e9, "h": null}}, "@e": "no", "url": "http://a.b"}"""
VUE = '{"en": {"a": {"b": "Hello {name} | Hellos"}}, "de": {"a": {"b": ""}}}'
LINES = '{"translation": {"en": "a b", "de": ""}}\n{"translation": {"en": "c d"}}\n'
ODF = (
    '<text:h>A <text:span text:style-name="B">bold</text:span> title</text:h><text:p>Two<text:s text:c="3"/>words'
    "<text:tab/>tab<text:note><text:note-body><text:p>note</text:p></text:note-body></text:note> "
    '<text:bookmark-start text:name="x"/>mark<text:bookmark-end text:name="x"/><text:line-break/>'
    '<text:a xlink:href="http://a">link</text:a></text:p><table:table table:name="T"><table:table-row>'
    '<table:table-cell office:value-type="string"><text:p>cell</text:p></table:table-cell></table:table-row>'
    "</table:table>"
)
FLAT = (
    f'<office:document {ODF_NAMESPACES} office:mimetype="application/vnd.oasis.opendocument.text"><office:body>'
    f"<office:text>{ODF}</office:text></office:body></office:document>"
)
SLIDE = (
    "<p:spTree><p:sp><p:txBody><a:p><a:r><a:t>Title</a:t></a:r><a:br/><a:r><a:rPr b='1'/><a:t>bold</a:t></a:r></a:p>"
    "<a:p><a:fld id='1' type='slidenum'><a:t>1</a:t></a:fld></a:p></p:txBody></p:sp></p:spTree>"
)


XCES = """<?xml version="1.0"?>
<!DOCTYPE cesAlign PUBLIC "-//CES//DTD XML cesAlign//EN" "">
<cesAlign><linkGrp fromDoc="de/1.xml" toDoc="en/1.xml">
<link xtargets="1 2;1"/><link xtargets=";2"/><link xtargets="3;2 3"/></linkGrp></cesAlign>"""


class Target(NamedTuple):
    """A part of the program that reads files, with files that it reads.

    Attributes:
        kind: The check that feeds it, see `CHECKS`.
        name: Name of its files.
        samples: Their contents.
        more: Further files, which are read when they are used.
    """

    kind: str
    name: str
    samples: list[bytes]
    more: list[Path]

    def sample(self, chance: random.Random) -> bytes:
        """Return one of the files."""
        return chance.choice(self.more).read_bytes() if self.more and chance.random() < 0.7 else self.samples[0]


Check = Callable[[str, bytes, Path], str]
CHECKS: dict[str, Check] = {
    "document": checks.check_document,
    "training": checks.check_training,
    "glossary": checks.check_glossary,
    "protection": checks.check_protection,
    "markup": checks.check_markup,
}


def targets(folder: Path | None = None) -> list[Target]:
    """Return all targets.

    Args:
        folder: A folder whose documents are damaged as well.
    """
    more = _files(folder) if folder else {}
    documents = [
        Target("document", name, [data], more.get(_format(name, data), [])) for name, data in _documents().items()
    ]
    training = [Target("training", name, [data], []) for name, data in _training().items()]
    glossaries = [Target("glossary", name, [data], []) for name, data in _glossaries().items()]
    texts = [path for paths in more.values() for path in paths if path.suffix in (".txt", ".md", ".po", ".html")]
    pages = [path for paths in more.values() for path in paths if path.suffix in (".html", ".xml", ".xhtml")]
    protection = Target("protection", "a.txt", [TEXT.encode()], texts)
    markup = [Target("markup", "a.html", [HTML.encode()], pages), Target("markup", "a.xml", [XML.encode()], pages)]
    return [*documents, *training, *glossaries, protection, *markup]


def _files(folder: Path) -> dict[str, list[Path]]:
    """Return the documents in a folder by format; large ones are left out."""
    found = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and is_document(path.name) and path.stat().st_size <= _LARGEST_FILE:
            with open(path, "rb") as file:
                found[_format(path.name, file.read(5000))].append(path)
    return found


def _format(name: str, data: bytes) -> str:
    """Return the format of a file, with its suffix where one reader has several."""
    try:
        title = format_of(name, data).title
    except UserError:
        return ""
    return f"{title} {Path(name).suffix}" if title in ("JSON", "HTML") else title


@cache
def _documents() -> dict[str, bytes]:
    texts = {
        "a.txt": TEXT,
        "a.html": HTML,
        "a.xhtml": HTML.replace("<br>", "<br/>"),
        "a.md": MARKDOWN,
        "a.xml": XML,
        "a.fodt": FLAT,
        "a.po": CATALOGUE,
        "1.xlf": XLIFF_1,
        "2.xlf": XLIFF_2,
        "xliff.xml": XLIFF_2,
        "a.tmx": TMX,
        "a.properties": PROPERTIES,
        "a.strings": STRINGS,
        "strings.xml": ANDROID,
        "a.stringsdict": DICT,
        "plist.strings": DICT,
        "a.srt": SRT,
        "a.vtt": VTT,
        "a.csv": CSV,
        "a.tsv": CSV.replace(",", "\t"),
        "a.json": JSON,
        "vue.json": VUE,
        "a.jsonl": LINES,
        "a.arb": '{"@@locale": "en", "hello": "Hello {name}", "@hello": {"description": "greeting"}}',
    }
    return {name: text.encode() for name, text in texts.items()} | {
        "a.docx": docx(f"<w:p>{run('Hello ')}{run('bold', '<w:b/>')}</w:p>", header1=f"<w:p>{run('head')}</w:p>"),
        "a.pptx": pptx([SLIDE, SLIDE], notesSlide=SLIDE),
        "a.xlsx": _workbook(),
        "a.odt": odf(ODF, styles=BOLD, meta="<office:meta><dc:title>T</dc:title></office:meta>"),
        "a.odp": odf(f'<draw:page draw:name="p"><draw:text-box>{ODF}</draw:text-box></draw:page>', "presentation"),
        "a.ods": odf(ODF, "spreadsheet"),
        "a.odg": odf(f"<draw:page><draw:text-box>{ODF}</draw:text-box></draw:page>", "drawing"),
        "a.epub": book(),
        "a.pdf": pdf([PAGE, PAGE]),
    }


@cache
def _training() -> dict[str, bytes]:
    kinds = {kind.replace(" ", "-"): test_damaged_files.original(kind) for kind in test_damaged_files.KINDS}
    pairs = b"Ein Hund rennt.\tA dog runs.\nZwei Katzen\ttwo cats\n" * 5
    return kinds | {
        "a.tsv": pairs,
        "a.tsv.gz": gzip.compress(pairs),
        "a.tsv.bz2": bz2.compress(pairs),
        "a.tsv.xz": lzma.compress(pairs),
        "deep.json": json.dumps({"data": {"train": test_damaged_files.ROWS}}).encode(),
        "alignment.xml": XCES.encode(),
        "a.de+a.en": b"Ein Hund rennt.\nZwei Katzen\nA dog runs.\ntwo cats\n",  # halved into parallel files
    }


@cache
def _glossaries() -> dict[str, bytes]:
    texts = {
        "a.tsv": "de\tfr\ten\nHund\tchien\tdog\nkalt\tfroid\tcold\n",
        "b.tsv": 'dog\tHund\n5" disk\t5-Zoll-Diskette\n漢字\tZeichen\n가방\tTasche\n',
        "a.csv": 'dog,Hund,en,de\n"hello, you","hallo, du",en,de\n',
        "b.csv": "source;target\ndog;Hund\n",
        "a.tbx": TBX_2,
        "b.tbx": TBX_3,
    }
    return {name: text.encode() for name, text in texts.items()}


def _workbook() -> bytes:
    sheet = openpyxl.Workbook()
    for row in (["Name", "Text"], ["x_1", "A dog runs."], [3, "Rich text"], ["=A1", None]):
        sheet.active.append(row)
    file = io.BytesIO()
    sheet.save(file)
    return file.getvalue()
