"""Corpus checks, and a report of the dropped pairs with reasons and line numbers.

No pair is dropped silently (fairseq#2294, OpenNMT-py#1263): dropped pairs are counted by reason, the first few of each
are shown, and all of them are listed in a file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from allyouneed.data.files.encoding import MAX_BAD_SHARE, advice, guess_encoding, is_utf8
from allyouneed.data.files.formats import RawPair, check_file_count, read_pairs, read_sides
from allyouneed.data.files.lines import read_lines
from allyouneed.data.files.tables import Table
from allyouneed.data.inspection.findings import EXAMPLES, finding_lines
from allyouneed.errors import UserError

_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\u00ad \u3000"  # spaces, joiners and marks without a width
_EXEMPT_FROM_RATIO = 8  # tokens; the lengths of short sentences may differ by more


@dataclass
class CorpusReport:
    """Statistics of a corpus.

    Attributes:
        files: Paths of the corpus.
        pairs: Number of pairs read.
        kept: Number of usable pairs.
        source_tokens: Source tokens of the kept pairs.
        target_tokens: Target tokens of the kept pairs.
        longest_source: Tokens of the longest kept source sentence, including EOS.
        dropped: Count and example lines of the dropped pairs, by reason.
        findings: Faults of the corpus as a whole, see `data/inspection`.
    """

    files: list[str]
    pairs: int = 0
    kept: int = 0
    source_tokens: int = 0
    target_tokens: int = 0
    longest_source: int = 0
    dropped: dict[str, dict[str, Any]] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, pair: RawPair, reason: str) -> None:
        """Count a dropped pair, and keep the first few of each reason as examples."""
        entry = self.dropped.setdefault(reason, {"count": 0, "examples": []})
        entry["count"] += 1
        if len(entry["examples"]) < EXAMPLES:
            entry["examples"].append({"line": pair.line, "text": f"{pair.source} ||| {pair.target}"[:120]})

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)

    def check_usable(self) -> None:
        """Check that the corpus can be used.

        Raises:
            UserError: If no pair was kept, or the file seems to have another encoding.
        """
        where = " and ".join(self.files)
        undecodable = self.dropped.get("not UTF-8", {"count": 0})
        if undecodable["count"] > max(1, MAX_BAD_SHARE * self.pairs):
            line = undecodable["examples"][0]["line"]
            raise UserError(
                f"{where}: {undecodable['count']:,} of {self.pairs:,} lines are not UTF-8, the first is line {line}; "
                f"{_encoding_advice(self.files)}"
            )
        if self.kept == 0:
            reasons = ", ".join(f"{entry['count']:,} {reason}" for reason, entry in self.dropped.items())
            raise UserError(f"{where}: no usable pairs ({reasons or 'the file is empty'}).")

    def lines(self) -> Iterator[str]:
        """Yield the lines of a readable report."""
        share = self.kept / self.pairs if self.pairs else 0
        yield f"{' '.join(self.files)}: {self.pairs:,} pairs, {self.kept:,} kept ({share:.1%})"
        for reason, entry in sorted(self.dropped.items(), key=lambda item: -item[1]["count"]):
            where = ", ".join(str(example["line"]) for example in entry["examples"])
            more = ", ..." if entry["count"] > EXAMPLES else ""
            yield f"  dropped {entry['count']:,}: {reason} (line {where}{more})"
        yield from finding_lines(self.findings)


def _encoding_advice(files: Sequence[str]) -> str:
    """Describe the probable encoding of the first file that is not UTF-8."""
    for path in map(Path, files):
        if bad := list(islice((line for line in read_lines(path) if not is_utf8(line)), 100)):
            return advice(path, guess_encoding(bad))
    return advice(Path(files[0]), None)


class PairChecks:
    """Checks for sentence pairs.

    Args:
        max_length: Maximum tokens of a sentence.
        max_ratio: Maximum ratio of the lengths of both sides.
    """

    def __init__(self, max_length: int, max_ratio: float):
        self.max_length, self.max_ratio = max_length, max_ratio

    def text_fault(self, pair: RawPair) -> str | None:
        """Return the reason why the text of a pair cannot be used, or None."""
        if pair.fault:
            return pair.fault
        if not pair.source.strip(_INVISIBLE) or not pair.target.strip(_INVISIBLE):
            return "empty side"
        return None

    def length_fault(self, source_length: int, target_length: int) -> str | None:
        """Return the reason why the lengths of a pair, in tokens, are not acceptable, or None."""
        longer, shorter = max(source_length, target_length), min(source_length, target_length)
        if shorter == 0:  # only characters that SentencePiece treats as spaces
            return "empty side"
        if longer > self.max_length:
            return f"too long (over {self.max_length} subwords)"
        if longer > _EXEMPT_FROM_RATIO and longer > self.max_ratio * shorter:
            return f"ratio (one side over {self.max_ratio:g} times the other)"
        return None


def count_pairs(paths: Sequence[Path]) -> int:
    """Count the pairs of a table or of two parallel files, in one pass; a header is not counted.

    Raises:
        UserError: As for `read_pairs`, if many rows of a table have another number of columns than the others, or if
            the number of lines of two files differs. The message has both counts and the line from which the files
            seem to differ.
    """
    check_file_count(paths)
    if len(paths) == 1:
        return Table(paths[0]).count()
    sides, is_header = read_sides(*paths)
    lengths = [np.fromiter(map(len, side), dtype=np.int64) for side in sides]
    if len(lengths[0]) == len(lengths[1]):
        return len(lengths[0]) - is_header
    counts = " and ".join(f"{path} has {len(length):,} lines" for path, length in zip(paths, lengths, strict=True))
    line = first_mismatch(*lengths)
    source, target = (next(islice(read_lines(path), line - 1, None), b"").decode("utf-8", "replace") for path in paths)
    raise UserError(
        f"{counts}: the files are not parallel. Line lengths stop correlating near line {line:,} "
        f"({source[:60]!r} / {target[:60]!r}). Look for a missing or split line there."
    )


def first_mismatch(source_lengths: np.ndarray, target_lengths: np.ndarray) -> int:
    """Estimate the line from which the lengths of both sides no longer correlate.

    The difference of log lengths is on average small where lines correspond, and larger where they do not. The estimate
    is the minimum of the cumulative sum of (difference - threshold), with a threshold midway between both averages.

    Args:
        source_lengths: Length of each source line, shape [source_lines].
        target_lengths: Length of each target line, shape [target_lines].

    Returns:
        Line number, from 1.
    """
    count = min(len(source_lengths), len(target_lengths))
    if count == 0:
        return 1
    logs = [np.log1p(lengths[:count].astype(float)) for lengths in (source_lengths, target_lengths)]
    difference = logs[0] - logs[1]
    difference = np.abs(difference - np.median(difference))
    unrelated = np.abs(logs[0] - np.roll(logs[1], max(1, count // 2)))
    window = max(1, min(20, count // 4))
    related = min(difference[start : start + window].mean() for start in range(0, max(1, count - window), window))
    threshold = (related + unrelated.mean()) / 2
    sums = np.concatenate([[0.0], np.cumsum(difference - threshold)])
    return min(int(sums.argmin()) + 1, count + 1)


def usable_text(paths: Sequence[Path], columns: tuple[int, int], checks: PairChecks) -> Iterator[RawPair]:
    """Yield the pairs whose text is usable; the tokenizer is trained on these."""
    return (pair for pair in read_pairs(paths, columns) if checks.text_fault(pair) is None)
