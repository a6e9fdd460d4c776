"""Which pairs can be used, and a report of those that cannot: why, and on which line.

Nothing is dropped in silence (fairseq#2294, OpenNMT-py#1263): every dropped line is counted by reason, a few of each
are shown, and the whole list goes to a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.formats import RawPair, check_file_count, read_lines, read_pairs
from allyouneed.errors import UserError

EXAMPLES = 3
_UNDECODABLE = 0.1  # a larger share of lines that are not UTF-8 means the file is in another encoding
_EXEMPT_FROM_RATIO = 8  # subwords; short sentences may differ much


@dataclass
class CorpusReport:
    """What became of a corpus. dropped: reason -> count and example lines. Of the kept pairs: source_tokens and
    target_tokens, subwords; longest_source, those of the longest source, its end included."""

    files: list[str]
    pairs: int = 0
    kept: int = 0
    source_tokens: int = 0
    target_tokens: int = 0
    longest_source: int = 0
    dropped: dict[str, dict[str, Any]] = field(default_factory=dict)

    def drop(self, pair: RawPair, reason: str) -> None:
        """Counts a pair that is left out, and keeps it as an example if it is one of the first."""
        entry = self.dropped.setdefault(reason, {"count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append({"line": pair.line, "text": f"{pair.source} ||| {pair.target}"[:120]})

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def check_usable(self) -> None:
        """Errors: `UserError` when no pair was kept, or when the file seems to be in another encoding."""
        where = " and ".join(self.files)
        undecodable = self.dropped.get("not UTF-8", {"count": 0})
        if undecodable["count"] > max(1, _UNDECODABLE * self.pairs):
            line = undecodable["examples"][0]["line"]
            raise UserError(
                f"{where}: {undecodable['count']:,} of {self.pairs:,} lines are not UTF-8, the first is line {line}. "
                "Convert the file, for example: iconv -f latin1 -t UTF-8."
            )
        if self.kept == 0:
            reasons = ", ".join(f"{entry['count']:,} {reason}" for reason, entry in self.dropped.items())
            raise UserError(f"{where}: no usable pair ({reasons or 'the file is empty'}).")

    def lines(self) -> Iterator[str]:
        """The report for people, a line at a time."""
        share = self.kept / self.pairs if self.pairs else 0
        yield f"{' '.join(self.files)}: {self.pairs:,} pairs, {self.kept:,} kept ({share:.1%})"
        for reason, entry in sorted(self.dropped.items(), key=lambda item: -item[1]["count"]):
            where = ", ".join(str(example["line"]) for example in entry["examples"])
            more = ", ..." if entry["count"] > EXAMPLES else ""
            yield f"  dropped {entry['count']:,}: {reason} (line {where}{more})"


class PairChecks:
    """Decides for one pair after another whether it can be used. Remembers a hash of each pair, some 80 bytes."""

    def __init__(self, max_length: int, max_ratio: float, duplicates: bool = True):
        self.max_length, self.max_ratio, self.duplicates = max_length, max_ratio, duplicates
        self.seen: set[int] = set()

    def text_fault(self, pair: RawPair) -> str | None:
        """What is wrong with the text, None if nothing is."""
        if pair.fault:
            return pair.fault
        if not pair.source or not pair.target:
            return "empty side"
        if self.duplicates:
            content = f"{pair.source}\t{pair.target}".encode()
            key = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
            if key in self.seen:
                return "duplicate"
            self.seen.add(key)
        return None

    def length_fault(self, source_length: int, target_length: int) -> str | None:
        """What is wrong with the lengths in subwords, None if nothing is."""
        longer, shorter = max(source_length, target_length), min(source_length, target_length)
        if shorter == 0:  # nothing but what SentencePiece takes for a space
            return "empty side"
        if longer > self.max_length:
            return f"too long (over {self.max_length} subwords)"
        if longer > _EXEMPT_FROM_RATIO and longer > self.max_ratio * shorter:
            return f"ratio (one side over {self.max_ratio:g} times the other)"
        return None


def count_pairs(paths: Sequence[Path]) -> int:
    """Lines of a TSV file or of two parallel files, read once.

    Errors: `UserError` as `read_lines`, for more files than two or none, and when two have not as many lines, with both
    counts and the place where they part.
    """
    check_file_count(paths)
    if len(paths) == 1:
        return sum(1 for _ in read_lines(paths[0]))
    lengths = [np.fromiter((len(line) for line in read_lines(path)), dtype=np.int64) for path in paths]
    if len(lengths[0]) == len(lengths[1]):
        return len(lengths[0])
    counts = " and ".join(f"{path} has {len(length):,} lines" for path, length in zip(paths, lengths, strict=True))
    line = first_mismatch(*lengths)
    source, target = (next(islice(read_lines(path), line - 1, None), b"").decode("utf-8", "replace") for path in paths)
    raise UserError(
        f"{counts}: they are not parallel. Lengths stop correlating near line {line:,} "
        f"({source[:60]!r} / {target[:60]!r}): look for a missing or a broken line there."
    )


def first_mismatch(source_lengths: np.ndarray, target_lengths: np.ndarray) -> int:
    """The line, from 1, from which the lengths of two sides no longer go together.

    The mean difference of log lengths is small where lines belong together and larger where they are strangers; the
    place that divides the two best is where the sum of (difference - the mean of both levels) is smallest.
    """
    count = min(len(source_lengths), len(target_lengths))
    if count == 0:
        return 1
    logs = [np.log1p(lengths[:count].astype(float)) for lengths in (source_lengths, target_lengths)]
    difference = logs[0] - logs[1]
    difference = np.abs(difference - np.median(difference))
    strangers = np.abs(logs[0] - np.roll(logs[1], max(1, count // 2)))
    window = max(1, min(20, count // 4))
    friends = min(difference[start : start + window].mean() for start in range(0, max(1, count - window), window))
    threshold = (friends + strangers.mean()) / 2
    sums = np.concatenate([[0.0], np.cumsum(difference - threshold)])
    return min(int(sums.argmin()) + 1, count + 1)


def usable_text(paths: Sequence[Path], columns: tuple[int, int], checks: PairChecks) -> Iterator[RawPair]:
    """Pairs whose text is in order: what subwords are learnt from."""
    return (pair for pair in read_pairs(paths, columns) if checks.text_fault(pair) is None)
