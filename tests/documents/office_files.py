"""Small office documents for tests, written without the readers under test."""

from __future__ import annotations

import zipfile
from io import BytesIO

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
A = "http://schemas.openxmlformats.org/drawingml/2006/main"
P = "http://schemas.openxmlformats.org/presentationml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
WP = "http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"
_TYPES = "http://schemas.openxmlformats.org/package/2006/content-types"
_RELATIONSHIPS = "http://schemas.openxmlformats.org/package/2006/relationships"
_OFFICE = "application/vnd.openxmlformats-officedocument"
_HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'


def zipped(entries: dict[str, str | bytes], stored: tuple[str, ...] = ()) -> bytes:
    """Return a zip archive."""
    file = BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content, zipfile.ZIP_STORED if name in stored else None)
    return file.getvalue()


def entry(data: bytes, name: str) -> str:
    """Return an entry of a zip archive as text."""
    with zipfile.ZipFile(BytesIO(data)) as archive:
        return archive.read(name).decode("utf-8")


def package(main: str, kinds: dict[str, str], parts: dict[str, str | bytes], links: dict[str, list[str]]) -> bytes:
    """Return a package of Office Open XML.

    Args:
        main: Name of the main part.
        kinds: Content types by part name, without prefix and suffix.
        parts: Contents by name; text gets an XML declaration.
        links: Targets of relationships by part name; their identifiers are r1, r2, ...
    """
    overrides = "".join(
        f'<Override PartName="/{name}" ContentType="{_OFFICE}.{kind}+xml"/>' for name, kind in kinds.items()
    )
    entries: dict[str, str | bytes] = {
        "[Content_Types].xml": f'{_HEAD}<Types xmlns="{_TYPES}">{overrides}</Types>',
        "_rels/.rels": _relationships([(main, "officeDocument")]),
    }
    for name, targets in links.items():
        folder, _, file = name.rpartition("/")
        kinds_of = [(f"/{target}", kinds.get(target, "x").rpartition(".")[2]) for target in targets]
        entries[f"{folder}/_rels/{file}.rels"] = _relationships(kinds_of)
    entries |= {name: _HEAD + part if isinstance(part, str) else part for name, part in parts.items()}
    return zipped(entries)


def _relationships(targets: list[tuple[str, str]]) -> str:
    each = "".join(
        f'<Relationship Id="r{i}" Type="{R}/{kind}" Target="{target}"/>' for i, (target, kind) in enumerate(targets, 1)
    )
    return f'{_HEAD}<Relationships xmlns="{_RELATIONSHIPS}">{each}</Relationships>'


def docx(body: str, **parts: str) -> bytes:
    """Return a Word document; further parts such as `header1` or `footnotes` by name, each with paragraphs."""
    roots = {"header": "hdr", "footer": "ftr", "footnotes": "footnotes", "styles": "styles", "comments": "comments"}
    contents = {"word/document.xml": f"<w:document {_NAMESPACES}><w:body>{body}</w:body></w:document>"}
    kinds = {"word/document.xml": "wordprocessingml.document.main"}
    for name, content in parts.items():
        kind = name.rstrip("0123456789")
        kinds[f"word/{name}.xml"] = f"wordprocessingml.{kind}"
        contents[f"word/{name}.xml"] = f"<w:{roots[kind]} {_NAMESPACES}>{content}</w:{roots[kind]}>"
    return package("word/document.xml", kinds, dict(contents), {"word/document.xml": list(kinds)[1:]})


_NAMESPACES = f'xmlns:w="{W}" xmlns:r="{R}" xmlns:wp="{WP}" xmlns:a="{A}"'


def run(text: str, properties: str = "") -> str:
    """Return a run of a Word document."""
    format_of = f"<w:rPr>{properties}</w:rPr>" if properties else ""
    return f'<w:r>{format_of}<w:t xml:space="preserve">{text}</w:t></w:r>'


def pptx(slides: list[str], **more: str) -> bytes:
    """Return a presentation; the slides are in the package in reverse order."""
    names = [f"ppt/slides/slide{len(slides) - i}.xml" for i in range(len(slides))]
    kinds = {"ppt/presentation.xml": "presentationml.presentation.main"}
    kinds |= dict.fromkeys(sorted(names), "presentationml.slide")
    order = {name: i for i, name in enumerate(sorted(names), 1)}
    identifiers = "".join(f'<p:sldId id="{256 + i}" r:id="r{order[name]}"/>' for i, name in enumerate(names))
    space = f'xmlns:p="{P}" xmlns:a="{A}" xmlns:r="{R}"'
    parts: dict[str, str | bytes] = {
        "ppt/presentation.xml": f"<p:presentation {space}><p:sldIdLst>{identifiers}</p:sldIdLst></p:presentation>"
    }
    parts |= {
        name: f"<p:sld {space}><p:cSld>{slide}</p:cSld></p:sld>" for name, slide in zip(names, slides, strict=True)
    }
    links = {"ppt/presentation.xml": sorted(names)}
    for name, content in more.items():
        path = f"ppt/{name}/{name}1.xml"
        kinds[path] = "drawingml.chart" if name == "chart" else f"presentationml.{name}"
        parts[path] = content if name == "chart" else f"<p:{name} {space}>{content}</p:{name}>"
        links.setdefault(names[0], []).append(path)
    return package("ppt/presentation.xml", kinds, parts, links)


_ODF = "urn:oasis:names:tc:opendocument:xmlns:"
_ODF_PREFIXES = ("office", "text", "table", "style", "meta", "presentation")
ODF_NAMESPACES = " ".join(
    [
        *(f'xmlns:{prefix}="{_ODF}{prefix}:1.0"' for prefix in _ODF_PREFIXES),
        f'xmlns:draw="{_ODF}drawing:1.0"',
        f'xmlns:svg="{_ODF}svg-compatible:1.0"',
        f'xmlns:fo="{_ODF}xsl-fo-compatible:1.0"',
        'xmlns:dc="http://purl.org/dc/elements/1.1/"',
        'xmlns:xlink="http://www.w3.org/1999/xlink"',
    ]
)


def odf(body: str, kind: str = "text", styles: str = "", **parts: str) -> bytes:
    """Return an OpenDocument file: its body, its automatic styles, and further entries such as `styles` and `meta`."""
    content = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<office:document-content {ODF_NAMESPACES}>'
        f"<office:automatic-styles>{styles}</office:automatic-styles>"
        f"<office:body><office:{kind}>{body}</office:{kind}></office:body></office:document-content>"
    )
    more = {
        f"{name}.xml": f"<office:document-{name} {ODF_NAMESPACES}>{part}</office:document-{name}>"
        for name, part in parts.items()
    }
    mime_type = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": mime_type, "content.xml": content, **more}, stored=("mimetype",))
