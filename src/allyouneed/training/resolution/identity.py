"""Identity of a run: its text, languages and origin by content, compared when a command is repeated.

Files may be renamed, moved, compressed or decompressed: text is compared by the SHA-256 of its decompressed content,
and bundles by that of their manifest. Settings are compared separately, by their values (see `resolve.py`).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from allyouneed.bundle import find_bundle
from allyouneed.config import recipe_names
from allyouneed.data.corpora import Corpus, is_weighted
from allyouneed.data.directions import shown
from allyouneed.data.files.compression import damage_reported, decompressed
from allyouneed.data.files.opening import stored_in
from allyouneed.errors import UserError
from allyouneed.files import MANIFEST, sha256
from allyouneed.languages import stored_language_code
from allyouneed.training.request import Request
from allyouneed.training.resolution.checksums import KnownChecksums

_CHECKSUMS = re.compile(r"( [0-9a-f]{64})+$")
_OPTIONS = {
    **{"start from": "--start-from", "teacher": "teacher", "train": "--train", "valid": "--valid"},
    "tokenizer": "--tokenizer",
}


def identity(
    request: Request, started: Mapping[str, Any] | None = None, known: KnownChecksums | None = None
) -> dict[str, Any]:
    """Describe a request, as `run.json` stores it.

    Args:
        request: The request.
        started: The description with which the run was started; its checksums of unchanged content are taken over.
        known: Checksums of unchanged files, which are not read; those of the others are added.

    Returns:
        Text and bundles as "name checksum", the languages, the recipe, and the overrides as given.

    Raises:
        UserError: If a file is missing, is not a regular file, or is damaged.
    """
    started, recipe, known = started or {}, request.recipe, known or KnownChecksums()
    if recipe is not None and recipe not in recipe_names() and Path(recipe).is_file():
        recipe = f"{recipe} {sha256(Path(recipe))}"
    return {
        "train": _described_corpora(request.train, started.get("train"), known),
        "valid": _described_corpora(request.valid or (), started.get("valid"), known),
        "languages": list(request.languages),
        "recipe": recipe,
        "settings": list(request.settings),
        **({"weights": [corpus.weight for corpus in request.train]} if is_weighted(request.train) else {}),
        **({"tokenizer": [f"{each.name} {checksum(each)}" for each in request.tokenizer]} if request.tokenizer else {}),
        **({"directions": [list(each.direction or ()) for each in request.train]} if request.directions else {}),
        **({"start from": bundle_identity(request.start_from)} if request.start_from else {}),
        **({"teacher": bundle_identities(request.teachers)} if request.teachers else {}),
    }


def bundle_identity(run: Path) -> str:
    """Describe a bundle by its path and content; raises `UserError` if there is no bundle."""
    return f"{run} {checksum(find_bundle(run) / MANIFEST)}"


def bundle_identities(runs: Sequence[Path]) -> str | list[str]:
    """Describe several bundles as a list, and one as `bundle_identity` does, as in runs of earlier versions."""
    described = [bundle_identity(run) for run in runs]
    return described[0] if len(described) == 1 else described


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file; raises `UserError` if it is missing or is not a regular file."""
    _check_file(path)
    return sha256(path)


def _check_file(path: Path) -> None:
    if not path.exists():
        raise UserError(f"{path}: no such file.")
    if not path.is_file():
        raise UserError(f"{path}: not a regular file. Give a file that can be read several times.")


def same_content(one: object, other: object) -> bool:
    """Return whether two descriptions, "name checksum" or lists of them, have the same content; names may differ."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_content, one, other))
    if isinstance(one, str) and isinstance(other, str):
        return one == other or bool(_checksums(one) & _checksums(other))
    return one == other


def differences(started: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[str]:
    """Yield the differences between two descriptions, settings and recipe excepted: "--to = en, now fr".

    Args:
        started: The description with which the run was started, possibly by an earlier version.
        described: The description of the repeated command.
    """
    for key, option in _OPTIONS.items():
        before, now = started.get(key) or [], described.get(key) or []
        if not same_content(before, now):
            names = _names(before), _names(now)
            other = "the same with other content" if names[0] == names[1] else names[1]
            yield f"{option} = {names[0]}, now {other}"
    for option, before, now in zip(("--from", "--to"), started["languages"], described["languages"], strict=True):
        if stored_language_code(before) != stored_language_code(now):
            yield f"{option} = {before}, now {now}"
    directions = [[shown(each) for each in facts.get("directions", ())] for facts in (started, described)]
    if directions[0] != directions[1]:
        before, now = (", ".join(each) or "none" for each in directions)
        yield f"--directions = {before}, now {now}"
    weights = [each.get("weights") or [1.0] for each in (started, described)]
    if weights[0] != weights[1]:
        before, now = (",".join(f"{weight:g}" for weight in each) for each in weights)
        yield f"--weights = {before}, now {now}"


def _described_corpora(corpora: Sequence[Corpus], started: object, known: KnownChecksums) -> list[Any]:
    """Describe text by names and content: a list for each corpus, of a single corpus only its items."""
    contents = dict(tokens[-2:] for tokens in map(str.split, _flat(started)) if len(tokens) > 2)
    described = [[_described_file(path, contents, known) for path in corpus.paths] for corpus in corpora]
    return described[0] if len(described) == 1 else described


def _described_file(path: Path, contents: Mapping[str, str], known: KnownChecksums) -> str:
    """Describe a file as "name checksum"; a compressed one also by its content, "name checksum checksum"."""

    def compute(path: Path) -> str:
        whole = sha256(path)
        with open(path, "rb") as file, damage_reported(path):
            content = decompressed(file, path)
            if content is file:
                return whole
            return f"{whole} {contents.get(whole) or hashlib.file_digest(content, 'sha256').hexdigest()}"

    stored = stored_in(path)  # of an entry of an archive, the archive
    _check_file(stored)
    return f"{path.name} {known.of(stored, compute)}"


def _flat(described: object) -> Iterator[str]:
    if isinstance(described, list):
        for each in described:
            yield from _flat(each)
    elif isinstance(described, str):
        yield described


def _names(described: object) -> str:
    """Return the names in a description, without checksums."""
    return ", ".join(name_of(entry) for entry in _flat(described)) or "none"


def name_of(entry: str) -> str:
    """Return the name in a description "name checksum"."""
    return _CHECKSUMS.sub("", entry)


def _checksums(entry: str) -> set[str]:
    """Return the checksums of a description: of a compressed file, that of the file and that of its content."""
    return set(entry.removeprefix(name_of(entry)).split())
