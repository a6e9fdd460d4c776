"""Checksums that text carries within itself: lines of a log, and pages.

Text that earlier versions wrote has none.
"""

from __future__ import annotations

import hashlib
import re
import zlib

_LINE = re.compile(rb', "crc32": (\d+)\}')
_PAGE = re.compile(rb"<!-- sha256 ([0-9a-f]{64}) -->\n")


def seal_line(line: bytes) -> bytes:
    """Add the CRC-32 of a line that is a JSON object with content as its last value, `crc32`."""
    return line[:-1] + b', "crc32": %d}' % zlib.crc32(line)


def intact_lines(content: bytes) -> tuple[list[bytes], int, bool]:
    """Separate the lines of a log that are as `seal_line` made them from damaged ones.

    Args:
        content: Lines, sealed from some line on: earlier versions wrote none that are.

    Returns:
        The lines that are intact or have no checksum, the number of damaged lines, and whether all have a checksum.
    """
    *lines, rest = content.split(b"\n")
    lines = [line for line in lines if line]
    damaged, sealed, kept = int(bool(rest)), 0, list[bytes]()
    for line in lines:
        end = line.rfind(b', "crc32": ')
        found = _LINE.fullmatch(line, max(0, end))
        if (found and zlib.crc32(line[:end] + b"}") == int(found[1])) or not (found or sealed):
            kept.append(line)
        else:
            damaged += 1
        sealed += bool(found)
    return kept, damaged, sealed == len(lines)


def seal_page(page: bytes) -> bytes:
    """Add the SHA-256 of an HTML page as a comment at its end."""
    return page + b"<!-- sha256 %s -->\n" % hashlib.sha256(page).hexdigest().encode()


def page_is_intact(page: bytes) -> bool | None:
    """Return whether a page is as `seal_page` made it; None if it has no checksum."""
    if b"<!-- sha256 " not in page:
        return None if page.rstrip().endswith(b"</html>") else False
    end = page.rfind(b"<!-- sha256 ")
    found = _PAGE.fullmatch(page, end)
    return found is not None and hashlib.sha256(page[:end]).hexdigest().encode() == found[1]
