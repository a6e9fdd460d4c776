"""Findings: what is wrong with the content of a corpus, as opposed to single pairs that cannot be used."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from allyouneed.data.files.tables import RawPair, position, shown_position
from allyouneed.errors import UserError

EXAMPLES = 3
_WIDTH = 120  # characters of an example
_MOST = 0.5  # share of the examined pairs from which a finding is refused
_FEW = 20  # pairs; the content of smaller corpora is reported and never refused


@dataclass(frozen=True)
class Finding:
    """A fault in the content of a corpus.

    Attributes:
        fault: What is wrong, as a phrase after the number of pairs: "source and target are equal".
        count: Number of affected pairs.
        of: Number of examined pairs.
        examples: Line and text of the first affected pairs.
        remedy: What to do, as a sentence.
        refused: Whether training is refused if most pairs are affected.
    """

    fault: str
    count: int
    of: int
    examples: list[dict[str, Any]] = field(default_factory=list)
    remedy: str = ""
    refused: bool = True

    @property
    def is_most(self) -> bool:
        """Whether most of the examined pairs are affected."""
        return self.count > _MOST * self.of

    def as_dict(self) -> dict[str, Any]:
        """Convert to a dictionary for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """Return the counts, the fault and the first lines in one phrase."""
        numbers = ", ".join(shown_position(example["line"]) for example in self.examples)
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count:,} of {self.of:,} pairs: {self.fault}" + (f" (line {numbers}{more})" if numbers else "")

    def check(self, where: str) -> None:
        """Refuse the corpus if it is not usable.

        Raises:
            UserError: If most pairs are affected, and the fault makes training pointless.
        """
        if self.refused and self.is_most and self.of >= _FEW:
            raise UserError(f"{where}: {self.summary()}. {self.remedy} To train anyway: --set data.faults=warn")


def examples_of(pairs: Sequence[RawPair]) -> list[dict[str, Any]]:
    """Return the lines and the texts of the first pairs, as `CorpusReport` has them."""
    return [{"line": position(pair), "text": f"{pair.source} ||| {pair.target}"[:_WIDTH]} for pair in pairs[:EXAMPLES]]


def finding_lines(findings: Sequence[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of a readable report about findings as dictionaries."""
    for entry in findings:
        finding = Finding(**entry)
        yield f"  warning: {finding.summary()}." + (f" {finding.remedy}" if finding.remedy else "")
