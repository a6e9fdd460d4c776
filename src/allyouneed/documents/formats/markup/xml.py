"""XML: text is translated; elements beside text are inline, and the others separate segments. Entities are kept."""

from __future__ import annotations

import re
from xml.parsers.expat import ExpatError, ParserCreate, errors

from allyouneed.documents.document import ReadOptions
from allyouneed.documents.formats.markup.html import MarkupFile
from allyouneed.documents.formats.markup.markup_structure import KEPT_IN_XML, MarkupRules
from allyouneed.documents.formats.text.encoded_text import decode
from allyouneed.errors import UserError

_DECLARED = re.compile(rb"^\s*<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)
_BEGINNING = 1024


def read(data: bytes, options: ReadOptions) -> MarkupFile:
    """Read an XML file.

    Raises:
        UserError: If it is not well-formed.
    """
    match = _DECLARED.search(data[:_BEGINNING])
    encoded = decode(data, options.name, match[1].decode("ascii") if match else None)
    check_well_formed(encoded.text, options.name)
    ignored = options.ignored | KEPT_IN_XML
    rules = MarkupRules(
        True, False, ignored, options.splitting, options.inline, options.outline, options.source, options.target
    )
    return MarkupFile(encoded, rules)


def check_well_formed(text: str, name: str) -> None:
    """Check that XML is well-formed. Entities are not expanded, and nothing outside the file is read.

    Raises:
        UserError: If it is not.
    """
    parser = ParserCreate("utf-8")  # takes precedence over the declaration
    parser.DefaultHandler = lambda data: None  # without it, entities are expanded
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except ExpatError as error:
        reason = errors.messages.get(error.code, "malformed")
        raise UserError(f"{name}, line {error.lineno:,}: not well-formed XML ({reason}). Correct it there.") from error
