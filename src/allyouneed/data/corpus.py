"""Corpus checks, and a report of the dropped pairs with reasons and line numbers.

No pair is dropped silently (fairseq#2294, OpenNMT-py#1263): dropped pairs are counted by reason, the first few of each
are shown, and all of them are listed in a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from allyouneed.data.files.encoding import MAX_BAD_SHARE, advice, guess_encoding, is_utf8
from allyouneed.data.files.formats import RawPair, open_parts
from allyouneed.data.files.lines import read_lines
from allyouneed.data.files.selection import AnyColumns
from allyouneed.data.files.tables import position, shown_position
from allyouneed.data.inspection.findings import EXAMPLES, finding_lines
from allyouneed.errors import UserError
from allyouneed.progress import RateLines

Count = Annotated[int, Field(strict=True, ge=0)]
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\u00ad \u3000"  # spaces, joiners and marks without a width
_MOST_NAMED = 3  # files in a line of the report
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
        repaired: Count and example lines of the repaired pairs, by what was repaired.
        histograms: Kept and dropped pairs by their lengths, see `cleaning/histograms.py`.
        findings: Faults of the corpus as a whole, see `data/inspection`.
    """

    files: list[str]
    pairs: Count = 0
    kept: Count = 0
    source_tokens: Count = 0
    target_tokens: Count = 0
    longest_source: Count = 0
    dropped: dict[str, dict[str, Any]] = field(default_factory=dict)
    repaired: dict[str, dict[str, Any]] = field(default_factory=dict)
    histograms: dict[str, Any] = field(default_factory=dict)
    findings: list[dict[str, Any]] = field(default_factory=list)

    def drop(self, pair: RawPair, reason: str) -> None:
        """Count a dropped pair, and keep the first few of each reason as examples."""
        _count(self.dropped, reason, pair)

    def repair(self, pair: RawPair, what: str) -> None:
        """Count a repaired pair, as it was before, and keep the first few of each repair as examples."""
        _count(self.repaired, what, pair)

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
        files = " ".join(self.files[:_MOST_NAMED])
        others = f" and {len(self.files) - _MOST_NAMED:,} other files" if len(self.files) > _MOST_NAMED else ""
        yield f"{files}{others}: {self.pairs:,} pairs, {self.kept:,} kept ({share:.1%})"
        for done, entries in (("dropped", self.dropped), ("repaired", self.repaired)):
            for reason, entry in sorted(entries.items(), key=lambda item: -item[1]["count"]):
                where = ", ".join(shown_position(example["line"]) for example in entry["examples"])
                more = ", ..." if entry["count"] > EXAMPLES else ""
                yield f"  {done} {entry['count']:,}: {reason} (line {where}{more})"
        yield from finding_lines(self.findings)


def _count(entries: dict[str, dict[str, Any]], name: str, pair: RawPair) -> None:
    entry = entries.setdefault(name, {"count": 0, "examples": []})
    entry["count"] += 1
    if len(entry["examples"]) < EXAMPLES:
        entry["examples"].append({"line": position(pair), "text": f"{pair.source} ||| {pair.target}"[:120]})


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


def count_pairs(paths: Sequence[Path], columns: AnyColumns = (1, 2), say: Callable[[str], None] | None = None) -> int:
    """Count the pairs of a corpus, in one pass; a header is not counted.

    Args:
        paths: Its files.
        columns: Columns or languages of source and target.
        say: Receives a line of progress every 10 seconds, for kinds of files that take long.

    Raises:
        UserError: As for `read_pairs`, if many rows of a table have another number of columns than the others, or if
            the number of lines of two files differs. The message has both counts and the line from which the files
            seem to differ.
    """
    counted = RateLines(say, "counting the pairs", 0, "pairs").counted if say else iter
    return sum(part.count(counted) for part in open_parts(paths, columns))
