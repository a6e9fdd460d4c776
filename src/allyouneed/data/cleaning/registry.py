"""The checks by name: what each is for, and in which set it is."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import NamedTuple

from allyouneed.errors import UserError

STANDARD, WEB = "standard", "web"
UNLIKELY = "least likely"  # reason of pairs that a model finds the least likely


class Check(NamedTuple):
    """A named check of sentence pairs.

    Attributes:
        finds: What the check finds, as the reason for which a pair is dropped or repaired.
        repairs: Whether it repairs pairs instead of dropping them.
        library: Module of the extra `corpora` that the check needs, or None.
    """

    finds: str
    repairs: bool = False
    library: str | None = None


CHECKS = {
    "encoding": Check("text decoded with the wrong encoding", repairs=True, library="ftfy"),
    "entities": Check("HTML entities", repairs=True),
    "control": Check("control characters", repairs=True),
    "script": Check("wrong script"),
    "language": Check("wrong language", library="py3langid"),
    "copies": Check("copy of the source"),
    "ratio": Check("unusual ratio of lengths"),
    "numbers": Check("different numbers"),
    "letters": Check("hardly any letters"),
    "repetition": Check("repeated words"),
    "duplicates": Check("duplicate"),
    "near_duplicates": Check("near duplicate", library="rensa"),
}
SETS = {STANDARD: ("control", "duplicates"), WEB: tuple(CHECKS)}
_OTHER_CHECKS = {  # reasons of checks that are always done, up to a parenthesis
    UNLIKELY: "model",
    "empty side": "empty",
    "too long": "max_length",
    "ratio": "max_ratio",
    "in the validation text": "drop_overlap",
    "source is held out for validation": "held_out",
    "duplicate of a pair in an earlier corpus": "duplicates",
}
_CHECK_OF = {**{check.finds: name for name, check in CHECKS.items()}, **_OTHER_CHECKS}


def check_of(reason: str) -> str:
    """Return the name of the check that drops pairs for a reason; "file" for rows that cannot be read."""
    return _CHECK_OF.get(reason.partition(" (")[0], "file")


def chosen_checks(names: Iterable[str]) -> tuple[str, ...]:
    """Return the checks that a setting `data.cleaning` names, in the order in which they are done.

    Args:
        names: Names of sets and checks; with a leading "-", those that are left out of the ones before.

    Raises:
        UserError: If a check needs a library that is not installed.
    """
    chosen: set[str] = set()
    for name in names:
        members = SETS.get(name.removeprefix("-"), (name.removeprefix("-"),))
        chosen = chosen.difference(members) if name.startswith("-") else chosen.union(members)
    for name in sorted(chosen):
        library = CHECKS[name].library
        if library is not None and find_spec(library) is None:
            raise UserError(
                f"data.cleaning: the check {name} needs {library}. Install it with pip install 'allyouneed[corpora]', "
                f"or leave the check out: data.cleaning={','.join([*names, '-' + name])}"
            )
    return tuple(name for name in CHECKS if name in chosen)
