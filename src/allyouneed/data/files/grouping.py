"""Several files as one corpus: contents of folders and archives, and which plain files are parallel.

Plain files are parallel if their paths differ in the language only, as in `train.de` and `train.en`,
`europarl.de-en.de.gz` and `europarl.de-en.en.gz`, or `de/news.txt` and `en/news.txt`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePath

from allyouneed.data.files.headers import side_of
from allyouneed.data.files.named_corpora import fetch, is_named
from allyouneed.data.files.opening import is_zip
from allyouneed.data.files.selection import Selection, closeness
from allyouneed.errors import UserError
from allyouneed.languages import canonical_code
from allyouneed.untrusted import cannot_read
from allyouneed.zip_files import open_zip

SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_COMPRESSED = {".gz", ".bz2", ".xz", ".zst", ".lzma"}
_NO_TEXT = {  # files that accompany a corpus
    *(".md", ".html", ".htm", ".pdf", ".png", ".py", ".sh", ".toml", ".yml", ".yaml", ".lock", ".ids", ".idx", ".dtd"),
    *(".sha256", ".md5", ".sha1", ".license", ".cff", ".bib", ".mo", ".pot", ".ini", ".cfg"),
}
_NO_TEXT_NAMES = {
    *("readme", "license", "licence", "copying", "changelog", "authors", "notice", "citation", "makefile"),
    *("dataset_info", "dataset_dict", "dataset_infos", "state", "sha256sums", "md5sums", "checksums", "__macosx"),
}
_WORDS = re.compile(r"[._\-\s/\\]+")
_NO_CODES = {"txt", "raw", "tok", "src", "tgt", "trg", "ref", "new", "old", "bpe", "in", "to"}


def contents(path: Path, split: str | None = None) -> list[Path]:
    """Return the files of a folder or named corpus, with its subfolders, that can have text; of a file, itself.

    Args:
        path: The folder or file.
        split: The part of a data set that is read if the folder has several: "train", "validation" or "test".

    Raises:
        UserError: If the folder has no such files, or other parts only.
    """
    if is_named(path):
        return contents(fetch(path))
    if not path.is_dir():
        return [path]
    try:
        files = sorted(file for file in path.rglob("*") if file.is_file() and _has_text(file.relative_to(path)))
    except OSError as error:
        raise cannot_read(path, error, "Give a file.") from error
    files = [file for file in files if not _is_left_out(file)]
    if not files:
        raise UserError(f"{path}: a folder without files of text. Give the files, or their folder.")
    found = {name: [file for file in files if split_of(file.relative_to(path)) == name] for name in SPLITS}
    if split is None or not any(found.values()) or not (found[split] or any(map(found.get, SPLITS))):
        return files
    rest = [file for file in files if split_of(file.relative_to(path)) is None]
    chosen = found[split] or (rest if split == "train" else [])
    if not chosen:
        names = ", ".join(name for name, its in found.items() if its)
        raise UserError(f"{path}: a data set without the part {split}; it has {names}. Give the files of a part.")
    return chosen


def split_of(path: PurePath) -> str | None:
    """Return the part of a data set that the name of a file or of its folder denotes; None if it does not."""
    for name in (path.name, *(parent.name for parent in path.parents)):
        words = [word.lower() for word in _WORDS.split(name)]
        for split, synonyms in SPLITS.items():
            if any(word in synonyms for word in words):
                return split
    return None


def entries(archive: Path) -> list[Path]:
    """Return the paths of the files in a ZIP archive that can have text.

    Raises:
        UserError: If the archive is damaged, or has none.
    """
    with open_zip(archive, str(archive)) as opened:
        names = [entry.filename for entry in opened.infolist() if not entry.is_dir()]
    files = [archive / name for name in names if _has_text(PurePath(name)) and not PurePath(name).is_absolute()]
    if not files:
        raise UserError(f"{archive}: an archive without files of text. Give another file.")
    return files


def expanded(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files in place of folders and archives; archives of documents, such as workbooks, are files."""
    for path in paths:
        if path.is_dir():
            yield from expanded(contents(path))
        elif is_zip(path) and not _is_document(path):
            yield from entries(path)
        else:
            yield path


def _is_document(path: Path) -> bool:
    """Return whether a ZIP archive is an office document or an e-book."""
    with open_zip(path, str(path)) as opened:
        names = opened.namelist()
    return "[Content_Types].xml" in names or names[:1] == ["mimetype"]


def parallel_files(
    files: Sequence[Path], languages: tuple[str, str] | None
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Find parallel files among plain files, each with one side of a corpus.

    Args:
        files: The files. Without languages in their names, each two that follow each other are parallel.
        languages: Languages of source and target; None to take files with two languages in the order of the files.

    Returns:
        Pairs of source and target, and the files that are left.
    """
    groups: dict[str, dict[str, Path]] = {}
    for file in files:
        for rest, language in _readings(file):
            groups.setdefault(rest, {}).setdefault(language, file)
    pairs, used = list[tuple[Path, Path]](), set[Path]()
    for group in groups.values():
        codes = list(group)
        chosen = Selection(languages).choose(codes) if languages else (codes[0], codes[1]) if len(codes) == 2 else None
        if chosen and used.isdisjoint(group[code] for code in chosen):
            pairs.append((group[chosen[0]], group[chosen[1]]))
            used.update(pairs[-1])
    left = [file for file in files if file not in used]
    if not groups and len(left) % 2 == 0:
        return list(zip(left[::2], left[1::2], strict=True)), []
    return pairs, left


def without_language(path: Path, language: str) -> str:
    """Return a path with `*` in place of a language: what it shares with the same file in another language."""
    readings = ((rest, code) for rest, code in _readings(path) if closeness(language, code) is not None)
    return next((rest for rest, _ in readings), str(path))


def language_in(word: str) -> str | None:
    """Return a word of a path if it is a language code, such as "de", "pt_BR" or "zh-Hans"; None if it is not."""
    word = word.replace("@", "-")
    return word if word.lower() not in _NO_CODES and canonical_code(word) and side_of(word) else None


def _readings(path: Path) -> Iterator[tuple[str, str]]:
    """Yield what is left of a path without one language code in it, and the code, the most telling one first."""
    suffix = "".join(suffix for suffix in path.suffixes if suffix in _COMPRESSED)
    words = re.split(r"([._])", path.name.removesuffix(suffix))
    for index in range(len(words) - 1, -1, -2):
        if code := language_in(words[index]):
            yield f"{path.parent}/{''.join(words[:index])}*{''.join(words[index + 1 :])}", code
    parts = path.parts
    for index in range(len(parts) - 2, -1, -1):
        if code := language_in(parts[index]):
            yield "/".join((*parts[:index], "*", *parts[index + 1 :])), code


def _has_text(path: PurePath) -> bool:
    name = path.name.lower()
    stem = name.partition(".")[0]
    is_hidden = any(part.startswith((".", "__")) for part in path.parts)
    suffixes = [suffix for suffix in PurePath(name).suffixes if suffix not in _COMPRESSED]
    return not (is_hidden or stem in _NO_TEXT_NAMES or (suffixes[-1:] and suffixes[-1] in _NO_TEXT))


def _is_left_out(file: Path) -> bool:
    """Return whether a saved data set does not count a file among its own."""
    if file.suffix != ".arrow":
        return False
    state = file.parent / "state.json"
    try:
        own = json.loads(state.read_bytes())["_data_files"]
        return file.name not in {each["filename"] for each in own}
    except (OSError, ValueError, KeyError, TypeError):
        return file.name.startswith(("cache-", "tmp"))
