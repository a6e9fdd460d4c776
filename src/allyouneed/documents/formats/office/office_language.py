"""Language attributes of office documents: spelling programs check a translation in its own language."""

from __future__ import annotations

from babel.core import get_global
from lxml import etree

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.office.xml_entry import local_name
from allyouneed.languages import primary

_STYLE = "urn:oasis:names:tc:opendocument:xmlns:style:1.0"
_FO = "urn:oasis:names:tc:opendocument:xmlns:xsl-fo-compatible:1.0"
_DC = "http://purl.org/dc/elements/1.1/"
_UNDETERMINED = "und"
_EAST_ASIAN = frozenset(("zh", "ja", "ko", "yue"))
_RIGHT_TO_LEFT = frozenset(("ar", "fa", "he", "ur", "ps", "sd", "ug", "yi", "dv", "ckb", "ks"))
_DRAWN = frozenset(("rPr", "endParaRPr", "defRPr"))


def with_region(code: str) -> str:
    """Return a language code with a region, as office programs need it: `de-DE` for `de`."""
    if "-" in code:
        return code
    parts = get_global("likely_subtags").get(code, "").split("_")
    return f"{code}-{parts[-1]}" if len(parts) > 1 and len(parts[-1]) == 2 else code


def script_class(code: str) -> str:
    """Return under which attribute office programs look for a language: "eastAsia", "bidi" or "val"."""
    language = primary(code)
    return "eastAsia" if language in _EAST_ASIAN else "bidi" if language in _RIGHT_TO_LEFT else "val"


def localize(root: etree._Element, options: ReadOptions) -> bool:
    """Set language attributes of the source language, and the default language, to the target language.

    Returns:
        Whether something changed.
    """
    if options.target == _UNDETERMINED:
        return False
    target, changed = with_region(options.target), False
    for element in root.iter("{*}lang", *(f"{{*}}{name}" for name in _DRAWN)):
        if local_name(element) == "lang" and "val" in element.attrib:  # of a chart
            if _is_source(element.get("val"), options):
                element.set("val", target)
                changed = True
        elif local_name(element) == "lang":
            namespace = element.tag.rpartition("}")[0] + "}"
            attribute = namespace + script_class(options.target)
            is_default = any(local_name(each) == "docDefaults" for each in element.iterancestors())
            replaced = [name for name, value in element.attrib.items() if _is_source(value, options)]
            if (is_default or replaced) and element.get(attribute) != target:
                element.set(attribute, target)
                changed = True
        elif _is_source(element.get("lang"), options):
            element.set("lang", target)
            changed = True
    return changed


def _is_source(code: str | None, options: ReadOptions) -> bool:
    return bool(code) and options.source != _UNDETERMINED and primary(code or "") == primary(options.source)


def localize_odf(root: etree._Element, options: ReadOptions) -> bool:
    """Set the language of OpenDocument styles as `localize` does for Office Open XML.

    Returns:
        Whether something changed.
    """
    if options.target == _UNDETERMINED:
        return False
    language, _, country = with_region(options.target).partition("-")
    ending = {"eastAsia": "-asian", "bidi": "-complex", "val": ""}[script_class(options.target)]
    changed = False
    for properties in root.iter(f"{{{_STYLE}}}text-properties"):
        is_default = local_name(properties.getparent()) == "default-style"
        is_source = any(
            _is_source(properties.get(f"{{{_STYLE if each else _FO}}}language{each}"), options)
            for each in ("", "-asian", "-complex")
        )
        if is_default or is_source:
            namespace = _STYLE if ending else _FO
            properties.set(f"{{{namespace}}}language{ending}", language)
            properties.set(f"{{{namespace}}}country{ending}", country or "none")
            changed = True
    for element in root.iter(f"{{{_DC}}}language"):
        if local_name(element.getparent()) == "meta":
            element.text, changed = with_region(options.target), True
    return changed
