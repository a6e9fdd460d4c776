"""Headers and footers of printed worksheets, whose codes begin with "&" (ECMA-376 part 1, section 18.3.1.46)."""

from __future__ import annotations

import re

from lxml import etree

from allyouneed.documents.formats.office.xml_entry import Unit, local_name, xml_text
from allyouneed.documents.segments import Code, Parts

_CODE = re.compile(r'&(?:"[^"]*"|K[0-9A-Fa-f]{6}|K\d{2}[+-]\d{3}|\d{1,3}|[A-Za-z])')
_SHOWN = {"&P": "1", "&N": "1", "&D": "1", "&T": "1"}


def page_text_units(root: etree._Element, sheet: str) -> list[Unit]:
    """Return the left, central and right parts of headers and footers with text."""
    units = []
    for element in (child for each in root.iter("{*}headerFooter") for child in each if local_name(child)):
        sections = [section for section in re.split(r"(?=&[LCR])", element.text or "") if section]
        for index, section in enumerate(sections):
            parts = _parts(section)
            if any(isinstance(part, str) and part.strip() for part in parts):
                units.append(_unit(element, sections, index, parts, f"sheet {sheet}, {local_name(element)}"))
    return units


def _unit(element: etree._Element, sections: list[str], index: int, parts: Parts, where: str) -> Unit:
    def put(translation: Parts) -> None:
        sections[index] = ""
        for part in translation:
            text = part.raw if isinstance(part, Code) else xml_text(part).replace("&", "&&")
            is_size = re.search(r"&\d+$", sections[index]) is not None and text[:1].isdecimal()
            sections[index] += f" {text}" if is_size else text  # a digit would belong to the font size
        element.text = "".join(sections)

    return Unit(parts, where, put)


def _parts(section: str) -> Parts:
    parts: list[str | Code] = []
    position = 0
    for number, match in enumerate(_CODE.finditer(section.replace("&&", "\0\0")), 1):
        parts += [section[position : match.start()], Code(match[0], pair=number, text=_SHOWN.get(match[0], ""))]
        position = match.end()
    parts.append(section[position:])
    return tuple(part.replace("&&", "&") if isinstance(part, str) else part for part in parts if part)
