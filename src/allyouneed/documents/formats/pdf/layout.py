"""Lines of text of a PDF document, read in a separate process.

PDF is a program for drawing pages: a small file can need any amount of time and memory. The process that reads it is
therefore limited, and may be stopped by the operating system without harm.
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from typing import NamedTuple

from pdfminer.high_level import extract_pages
from pdfminer.layout import LAParams, LTChar, LTTextBox
from pdfminer.pdfdocument import PDFPasswordIncorrect

from allyouneed.errors import UserError

MAX_MEMORY = 4 * 1024**3  # bytes
MAX_SECONDS = 300  # of the processor
_PROTECTED, _UNREADABLE = 3, 4  # exit codes


class Line(NamedTuple):
    """A line of text.

    Attributes:
        text: Its text.
        page: Number of its page, from 1.
        block: Number of its block of text on the page; blocks and lines are in reading order.
        left: Distance of its start from the left edge of the page, in points.
        right: Distance of its end.
        bottom: Distance of its lower edge from the lower edge of the page.
        size: Size of its font.
        is_bold: Whether most of it is in bold type.
    """

    text: str
    page: int
    block: int
    left: float
    right: float
    bottom: float
    size: float
    is_bold: bool


def read_lines(data: bytes, name: str) -> list[Line]:
    """Return the lines of a PDF document.

    Args:
        data: The file.
        name: Its name, for messages.

    Raises:
        UserError: If the document is protected or damaged, or needs too much time or memory.
    """
    code = f"from {__name__} import main; main({MAX_MEMORY}, {MAX_SECONDS})"
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, input=data, capture_output=True, check=False)
    if result.returncode == _PROTECTED:
        raise UserError(f"{name}: protected by a password. Save the document without a password.")
    if result.returncode == _UNREADABLE:
        reason = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise UserError(f"{name}: not a readable PDF document ({reason}). Print or export it to PDF again.")
    if result.returncode:
        raise UserError(
            f"{name}: reading it needs more than {MAX_MEMORY // 1024**3} GiB of memory or {MAX_SECONDS} seconds."
            " Split the document."
        )
    return [Line(*json.loads(line)) for line in result.stdout.splitlines()]


def main(memory: int, seconds: int) -> None:
    """Read a PDF document from standard input and print its lines as JSON.

    Args:
        memory: Limit of the process, in bytes.
        seconds: Limit of processor time.
    """
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    try:
        for line in _lines(sys.stdin.buffer.read()):
            print(json.dumps(line))
    except PDFPasswordIncorrect:
        sys.exit(_PROTECTED)
    except MemoryError:
        sys.exit(1)
    except Exception as error:  # the parser raises errors of many kinds for damaged files
        print(" ".join(str(error).split()) or type(error).__name__, file=sys.stderr)
        sys.exit(_UNREADABLE)


def _lines(data: bytes) -> Iterator[Line]:
    for number, page in enumerate(extract_pages(BytesIO(data), laparams=LAParams()), 1):
        boxes = (element for element in page if isinstance(element, LTTextBox))
        for block, box in enumerate(boxes):
            for line in box:
                characters = [each for each in line if isinstance(each, LTChar) and each.upright]
                text = line.get_text().strip()
                if text and characters:
                    bold = sum("bold" in each.fontname.lower() for each in characters)
                    yield Line(
                        text,
                        number,
                        block,
                        left=round(line.x0 - page.x0, 1),
                        right=round(line.x1 - page.x0, 1),
                        bottom=round(line.y0 - page.y0, 1),
                        size=round(statistics.median(each.size for each in characters), 1),
                        is_bold=2 * bold > len(characters),
                    )
