"""PDF: its text is translated into a Word document or an HTML page, because pages of PDF have no text to replace."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from io import BytesIO
from zipfile import ZIP_DEFLATED, ZipFile, ZipInfo

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.office_language import script_class, with_region
from allyouneed.documents.formats.office.xml_entry import xml_text
from allyouneed.documents.formats.pdf.layout import read_lines
from allyouneed.documents.formats.pdf.paragraphs import Paragraph, paragraphs
from allyouneed.documents.segments import Parts, Segment, plain_text
from allyouneed.errors import UserError

_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
_OFFICE = "http://schemas.openxmlformats.org"
_WORD = f'xmlns:w="{_OFFICE}/wordprocessingml/2006/main"'
_TYPE = "application/vnd.openxmlformats-officedocument.wordprocessingml"
_PARTS = {
    "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_OFFICE}/package/2006/content-types"><Default Extension="rels"'
    ' ContentType="application/vnd.openxmlformats-package.relationships+xml"/><Override PartName="/word/document.xml"'
    f' ContentType="{_TYPE}.document.main+xml"/><Override PartName="/word/styles.xml"'
    f' ContentType="{_TYPE}.styles+xml"/></Types>',
    "_rels/.rels": f'{_HEAD}<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship Id="r1" Type='
    f'"{_OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>',
    "word/_rels/document.xml.rels": f'{_HEAD}<Relationships xmlns="{_OFFICE}/package/2006/relationships"><Relationship'
    f' Id="r1" Type="{_OFFICE}/officeDocument/2006/relationships/styles" Target="styles.xml"/></Relationships>',
}
_HEADING_SIZES = (32, 28, 24)  # half points


class PdfText:
    """The text of a PDF document, which is written in another format.

    Args:
        found: The paragraphs.
        options: Options of reading; the suffix of the output, ".html" or ".docx", is the format.
    """

    def __init__(self, found: Sequence[Paragraph], options: ReadOptions):
        self._found, self._options = found, options
        self.segments: Sequence[Segment] = [Segment((each.text,), f"page {each.page}") for each in found]
        self._is_html = options.output_suffix in (".html", ".htm")
        self.suffix: str | None = options.output_suffix if self._is_html else ".docx"
        kind = "an HTML page" if self._is_html else "a Word document"
        self.notes: Sequence[str] = [
            f"the text is written as {kind}; pictures, layout, rotated text, page numbers and repeated headers are not"
            " kept"
        ]

    def write(self, translations: Sequence[Parts | None]) -> bytes:
        """Return the text, translated, as a Word document or an HTML page."""
        texts = [
            paragraph.text if translation is None else plain_text(translation)
            for paragraph, translation in zip(self._found, translations, strict=True)
        ]
        is_source = all(each is None for each in translations)
        language = self._options.source if is_source else self._options.target
        write = _html if self._is_html else _docx
        return write(list(zip(self._found, texts, strict=True)), language)


def read(data: bytes, options: ReadOptions) -> PdfText:
    """Read the text of a PDF document.

    Raises:
        UserError: If the document is protected or damaged, or has no text.
    """
    found = paragraphs(read_lines(data, options.name))
    if not found:
        raise UserError(f"{options.name}: no text, only pictures. Recognise the text first, for example with ocrmypdf.")
    return PdfText(found, options)


def _html(texts: Sequence[tuple[Paragraph, str]], language: str) -> bytes:
    lines = []
    for paragraph, text in texts:
        tag = f"h{paragraph.level}" if paragraph.level else "p"
        content = escape(xml_text(text), quote=False)
        is_bold = paragraph.is_bold and not paragraph.level
        lines.append(f"<{tag}>{f'<b>{content}</b>' if is_bold else content}</{tag}>")
    attribute = f' lang="{escape(language)}"' if language != "und" else ""
    title = escape(xml_text(texts[0][1]), quote=False)
    head = f'<head>\n<meta charset="utf-8">\n<title>{title}</title>\n</head>'
    body = "\n".join(lines)
    return f"<!DOCTYPE html>\n<html{attribute}>\n{head}\n<body>\n{body}\n</body>\n</html>\n".encode()


def _docx(texts: Sequence[tuple[Paragraph, str]], language: str) -> bytes:
    body = []
    for paragraph, text in texts:
        style = f'<w:pPr><w:pStyle w:val="Heading{paragraph.level}"/></w:pPr>' if paragraph.level else ""
        bold = "<w:rPr><w:b/></w:rPr>" if paragraph.is_bold and not paragraph.level else ""
        content = escape(xml_text(text), quote=False)
        body.append(f'<w:p>{style}<w:r>{bold}<w:t xml:space="preserve">{content}</w:t></w:r></w:p>')
    document = f"{_HEAD}<w:document {_WORD}><w:body>{''.join(body)}</w:body></w:document>"
    file = BytesIO()
    with ZipFile(file, "w", ZIP_DEFLATED) as archive:
        for name, content in {**_PARTS, "word/document.xml": document, "word/styles.xml": _styles(language)}.items():
            info = ZipInfo(name)  # with a fixed date: the same text gives the same file
            info.compress_type = ZIP_DEFLATED
            archive.writestr(info, content)
    return file.getvalue()


def _styles(language: str) -> str:
    code = f'<w:lang w:{script_class(language)}="{escape(with_region(language))}"/>' if language != "und" else ""
    headings = "".join(
        f'<w:style w:type="paragraph" w:styleId="Heading{level}"><w:name w:val="heading {level}"/>'
        '<w:basedOn w:val="Normal"/><w:next w:val="Normal"/><w:pPr><w:keepNext/><w:spacing w:before="240"/>'
        f'<w:outlineLvl w:val="{level - 1}"/></w:pPr><w:rPr><w:b/><w:sz w:val="{size}"/></w:rPr></w:style>'
        for level, size in enumerate(_HEADING_SIZES, 1)
    )
    return (
        f'{_HEAD}<w:styles {_WORD}><w:docDefaults><w:rPrDefault><w:rPr><w:sz w:val="22"/>{code}</w:rPr>'
        '</w:rPrDefault><w:pPrDefault><w:pPr><w:spacing w:after="160"/></w:pPr></w:pPrDefault></w:docDefaults>'
        '<w:style w:type="paragraph" w:default="1" w:styleId="Normal"><w:name w:val="Normal"/></w:style>'
        f"{headings}</w:styles>"
    )
