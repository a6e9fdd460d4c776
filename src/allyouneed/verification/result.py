"""The result of `allyouneed.verify` and its terminal report."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from allyouneed.verification.diagnosis import Diagnosis
from allyouneed.verification.explain import step_words
from allyouneed.verification.findings import (
    CHOICE,
    FAILED,
    NOT_APPLICABLE,
    NOTE,
    PASSED,
    SYMPTOM,
    Comparison,
    Finding,
    catalogue,
)
from allyouneed.verification.verification_page import notebook_html, verification_html

_MARKS = {FAILED: "✗", SYMPTOM: "✗", CHOICE: "·", NOTE: "!", PASSED: "✓", NOT_APPLICABLE: "–"}
_WIDTH = 100
_WORDS = {
    "en": {
        "no mistake": "No mistake found",
        "none by input": "No mistake found by changing the input",
        "found": "{n} found",
        "mistake": "mistake",
        "mistakes": "mistakes",
        FAILED: "Mistakes",
        SYMPTOM: "What follows from them",
        CHOICE: "Differs from the paper by choice",
        NOTE: "Notes",
        PASSED: "Passed",
        NOT_APPLICABLE: "Not applicable",
        "where": "where",
        "measured": "measured",
        "remedy": "remedy",
        "seen": "seen in",
        "or": "or, the same for these sizes",
        "section": "section {section}",
        "unmapped": "Steps were not compared: {reason}. Give weights= or num_heads=.",
        "agrees": "All {n} observed steps agree with the paper's equations, computed with the module's weights",
        "explained": "With these changes, our computation reproduces all {n} observed steps of the module",
        "unexplained": "Not every step is reproduced",
        "time": "The time limit ended the search for mistakes.",
    },
    "ko": {
        "no mistake": "실수를 찾지 못했습니다",
        "none by input": "입력을 바꾸는 검사에서는 실수를 찾지 못했습니다",
        "found": "실수 {n}개를 찾았습니다",
        FAILED: "실수",
        SYMPTOM: "그 결과",
        CHOICE: "논문과 다르게 선택한 것",
        NOTE: "참고",
        PASSED: "통과",
        NOT_APPLICABLE: "해당 없음",
        "where": "위치",
        "measured": "측정",
        "remedy": "해결",
        "seen": "사례",
        "or": "또는, 이 크기에서는 같은 결과",
        "section": "{section}절",
        "unmapped": "단계별로 비교하지 못했습니다: {reason}. weights=나 num_heads=를 주세요.",
        "agrees": "관찰한 {n}개 단계가 모두 모듈의 가중치로 계산한 논문의 식과 일치합니다",
        "explained": "이렇게 바꾸면 우리 계산이 관찰한 {n}개 단계를 모두 재현합니다",
        "unexplained": "재현하지 못한 단계가 있습니다",
        "time": "시간 제한으로 실수 찾기를 마쳤습니다.",
    },
}


@dataclass(frozen=True)
class Verification:
    """Result of `allyouneed.verify`.

    Attributes:
        module: Class name of the module.
        findings: Mistakes and differences of the computation, then the checks of behaviour and training.
        convention: How the module was called.
        output: What it returns: "logits", "log-probabilities" or "probabilities".
        influence: Largest change of output t when target token j is replaced, [target, target].
        comparison: First step that differs, side by side; None if all agree or none could be compared.
        diagnosis: The search for known mistakes; None if the parameters could not be mapped.
        unmapped: Why the parameters could not be mapped, or "".
        pad_id: Id of padding that was used.
    """

    module: str
    findings: list[Finding]
    convention: str
    output: str
    influence: Tensor
    comparison: Comparison | None = None
    diagnosis: Diagnosis | None = None
    unmapped: str = ""
    pad_id: int = 0

    @property
    def passed(self) -> bool:
        """Whether no mistake was found."""
        return not self.of(FAILED)

    def of(self, status: str) -> list[Finding]:
        """Return the findings of a status."""
        return [finding for finding in self.findings if finding.status == status]

    def summary(self, language: str = "en") -> str:
        """Return what the comparison step by step showed, as one sentence."""
        words = _WORDS[language]
        if self.diagnosis is None:
            return words["unmapped"].format(reason=self.unmapped)
        count = len(self.diagnosis.compared)
        if self.diagnosis.unexplained:
            return words["unexplained"] + (f". {words['time']}" if self.diagnosis.exhausted else ".")
        return words["explained" if self.diagnosis.variations else "agrees"].format(n=count) + "."

    def verdict(self, language: str = "en") -> str:
        """Return the first line of the report."""
        words, count = _WORDS[language], len(self.of(FAILED))
        if not count:
            return words["no mistake" if self.diagnosis is not None else "none by input"]
        number = f"{count} {words['mistake' if count == 1 else 'mistakes']}" if language == "en" else str(count)
        return words["found"].format(n=number)

    def report(self, language: str = "en") -> str:
        """Return the report as text.

        Args:
            language: "en" or "ko".
        """
        words = _WORDS[language]
        lines = [f"{self.module}: {self.verdict(language)}.", *_wrapped(self.summary(language), "")]
        for status in (FAILED, SYMPTOM, NOTE, CHOICE, NOT_APPLICABLE, PASSED):
            findings = self.of(status)
            if findings:
                lines += ["", words[status]]
                for finding in findings:
                    lines += self._lines(finding, language)
        return "\n".join([*lines, "", f"({self.convention}; {self.output}; pad_id {self.pad_id})"])

    def _lines(self, finding: Finding, language: str) -> Iterator[str]:
        words = _WORDS[language]
        section = words["section"].format(section=finding.entry.section)
        yield f"  {_MARKS[finding.status]} {finding.title(language)} ({section})"
        if finding.status == PASSED:
            return
        told = {"where": finding.site.get(language, ""), "measured": finding.measured.get(language, "")}
        if finding.status not in (NOT_APPLICABLE, SYMPTOM):
            yield from _wrapped(finding.entry.text("why", language), "      ")
        if finding.status in (FAILED, NOTE):
            told |= {"remedy": finding.entry.text("remedy", language)}
            told |= {"or": ", ".join(catalogue()[name].text("title", language) for name in finding.alternatives)}
            told |= {"seen": " ".join(finding.entry.seen)}
        for key, value in told.items():
            if value:
                yield from _wrapped(f"{words[key]}: {value}", "      ")

    def as_dict(self, language: str = "en") -> dict[str, Any]:
        """Return everything as a JSON-compatible dictionary; numbers that are NaN or infinite are None."""
        first = self.comparison
        return _finite({
            "module": self.module,
            "passed": self.passed,
            "verdict": self.verdict(language),
            "summary": self.summary(language),
            "convention": self.convention,
            "output": self.output,
            "pad_id": self.pad_id,
            "findings": [finding.as_dict(language) for finding in self.findings],
            "first_difference": None if first is None else {
                "step": first.step,
                "words": step_words(first.step, language),
                "factor": first.factor,
                "theirs": first.theirs.tolist(),
                "ours": first.ours.tolist(),
            },
            "steps_compared": list(self.diagnosis.compared) if self.diagnosis else [],
            "influence": self.influence.tolist(),
        })  # fmt: skip

    def html(self, language: str = "en") -> str:
        """Return a self-contained page without scripts.

        Args:
            language: Language that is shown first; the page has both.
        """
        return verification_html(self, language)

    def _repr_html_(self) -> str:
        return notebook_html(self)

    def __str__(self) -> str:
        return self.report()


def _finite(value: Any) -> Any:
    """Replace numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
