"""Text of the quality benchmark: Multi30k in any two languages, and training pairs that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.data.files.lines import read_text
from allyouneed.files import write_file

HELD_OUT, VALID = "held-out", "val"


def text_files(data: Path, name: str, languages: Sequence[str]) -> list[Path]:
    """Return the files of both sides, for example `val.lc.norm.tok.en.gz` and `val.lc.norm.tok.fr.gz`."""
    return [_file(data, f"{name}.lc.norm.tok.{language}") for language in languages]


def names_of_test_sets(data: Path, languages: Sequence[str]) -> list[str]:
    """Return the names of the test sets that have both languages."""
    found = [
        {path.name.partition(".")[0] for path in data.glob(f"test_*.lc.norm.tok.{language}*")} for language in languages
    ]
    return sorted(set.intersection(*found))


def hold_out(files: Sequence[Path], count: int, folder: Path) -> dict[str, list[Path]]:
    """Divide training text into training pairs and held-out pairs.

    The held-out pairs are at equal distances through the text, so that they depend on nothing but `count`, and are the
    same for all languages. Pairs that share a side with one of them are in neither part.

    Args:
        files: Source and target.
        count: Number of pairs to hold out; 0 leaves the text as it is.
        folder: Folder for the parts.

    Returns:
        The files of `train` and, if pairs are held out, of `held-out`.
    """
    if not count:
        return {"train": list(files)}
    pairs = list(zip(*(_stripped(file) for file in files), strict=True))
    if count > len(pairs) // 2:
        raise SystemExit(f"--held-out {count:,}: the training text has {len(pairs):,} pairs; hold out at most half.")
    chosen = [pairs[(2 * number + 1) * len(pairs) // (2 * count)] for number in range(count)]
    sides = [set(side) for side in zip(*chosen, strict=True)]
    kept = [pair for pair in pairs if all(text not in side for text, side in zip(pair, sides, strict=True))]
    return {name: _write(folder, name, files, part) for name, part in (("train", kept), (HELD_OUT, chosen))}


def _write(folder: Path, name: str, files: Sequence[Path], pairs: Sequence[tuple[str, ...]]) -> list[Path]:
    paths = [folder / f"{name}.{file.name.removesuffix('.gz').rpartition('.')[2]}" for file in files]
    for path, side in zip(paths, zip(*pairs, strict=True), strict=True):
        write_file(path, "".join(f"{text}\n" for text in side))
    return paths


def _stripped(file: Path) -> list[str]:
    return [line.strip() for line in read_text(file)]


def _file(data: Path, name: str) -> Path:
    for path in (data / f"{name}.gz", data / name):
        if path.exists():
            return path
    raise SystemExit(f"{data / name}.gz: no such file. DATA needs NAME.lc.norm.tok.LANGUAGE.gz for both languages.")
