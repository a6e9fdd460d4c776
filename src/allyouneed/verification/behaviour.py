"""Black-box checks: what an output depends on, measured by changing the input.

Dimensions: batch; source, target: positions; vocab.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from allyouneed.verification.adapter import Subject
from allyouneed.verification.findings import FAILED, NOT_APPLICABLE, NOTE, PASSED, Finding, checks
from allyouneed.verification.recording import Functions, slow_attention

SOURCE, TARGET = 7, 6
# Checks of what an output depends on, which follow from the computation alone.
DEPENDENCE = ("future", "past", "batch", "source padding", "target padding", "source", "source order", "target order")


@dataclass(frozen=True)
class Behaviour:
    """Results of the black-box checks.

    Attributes:
        findings: One finding per check.
        influence: Largest change of output t when target token j is replaced, [target, target].
    """

    findings: list[Finding]
    influence: Tensor


@dataclass(frozen=True)
class _Scale:
    """Size of the outputs and of their rounding."""

    largest: float
    unit: float
    threshold: float

    def words(self, value: float) -> dict[str, str]:
        """Describe a change in units of rounding and relative to the output."""
        if value != value:
            return {"en": "the output is NaN", "ko": "출력이 NaN"}
        if value == 0:
            return {"en": "no change at all", "ko": "전혀 달라지지 않음"}
        units, share = f"{value / self.unit:.2g}", value / self.largest
        part = f"{share:.1%}" if share >= 0.001 else f"{share:.1e}"
        return {
            "en": f"largest change {value:.2g}: {part} of the largest output, {units} units of rounding",
            "ko": f"가장 큰 변화 {value:.2g}: 가장 큰 출력 대비 {part}, 반올림 단위의 {units}배",
        }


def behaviour(subject: Subject, exact: Subject) -> Behaviour:
    """Run all black-box checks.

    Args:
        subject: The module as given.
        exact: The module in float64, if it runs in it.

    Returns:
        The findings, in the order of the report.
    """
    with torch.no_grad(), slow_attention():
        repeatable = _determinism(subject)
        with Functions(without_dropout=repeatable.status == FAILED):
            scale = _scale(exact)
            influence = _influence(exact)
            findings = [*_future(influence, scale), *_independence(exact, scale), *_order(exact, scale)]
        findings = [*findings, repeatable, _training(exact), _half(subject), _all_padding(exact), _unused(exact)]
    return Behaviour(findings, influence)


def _scale(subject: Subject) -> _Scale:
    x = subject(*subject.sample(3, SOURCE, TARGET))
    largest = max(float(x.abs().max()), 1e-30)
    eps = torch.finfo(x.dtype).eps
    return _Scale(largest, eps * largest, (1e-6 if x.dtype == torch.float64 else 1e-4) * largest)


def _finding(name: str, value: float, scale: _Scale, failed: bool) -> Finding:
    status = FAILED if failed or value != value else PASSED
    return Finding(checks()[name], status, scale.words(value), value)


def _change(x: Tensor, y: Tensor) -> float:
    return float((x - y).abs().max()) if x.numel() else 0.0


def _replaced(ids: Tensor, column: int, vocab: int, avoid: tuple[int, ...]) -> Tensor:
    """Replace a column by other tokens."""
    changed = ids.clone()
    new = (changed[:, column] + 1) % vocab
    for _ in avoid:
        new = torch.where(torch.isin(new, torch.tensor(avoid)), (new + 1) % vocab, new)
    changed[:, column] = new
    return changed


def _influence(subject: Subject) -> Tensor:
    source, target = subject.sample(3, SOURCE, TARGET, seed=2)
    base = subject(source, target)
    avoid = (subject.pad_id, subject.bos_id)
    columns = []
    for j in range(TARGET):
        changed = subject(source, _replaced(target, j, subject.target_vocab, avoid))
        columns.append((changed - base).abs().amax((0, 2)))
    return torch.stack(columns, 1)


def _future(influence: Tensor, scale: _Scale) -> Iterator[Finding]:
    ahead = float(influence.triu(1).max())
    yield _finding("future", ahead, scale, ahead > scale.threshold)
    past = _smallest_past(influence)
    yield _finding("past", past, scale, past <= scale.threshold)


def _smallest_past(influence: Tensor) -> float:
    """Return the smallest influence of an earlier or the same token."""
    seen = [float(influence[t, j]) for t in range(len(influence)) for j in range(t + 1)]
    return min(seen)


def _independence(subject: Subject, scale: _Scale) -> Iterator[Finding]:
    source, target = subject.sample(3, SOURCE, TARGET, seed=3)
    base = subject(source, target)
    alone = _change(subject(source[:1], target[:1]), base[:1])
    yield _finding("batch", alone, scale, alone > scale.threshold)

    padded = source.clone()
    padded[:, 4:] = subject.pad_id
    change = _change(subject(padded, target), subject(source[:, :4], target))
    yield _finding("source padding", change, scale, change > scale.threshold)

    padded = target.clone()
    padded[:, 4:] = subject.pad_id
    change = _change(subject(source, padded)[:, :4], subject(source, target[:, :4]))
    yield _finding("target padding", change, scale, change > scale.threshold)


def _order(subject: Subject, scale: _Scale) -> Iterator[Finding]:
    source, target = subject.sample(3, SOURCE, TARGET, seed=4)
    base = subject(source, target)
    other = subject(subject.sample(3, SOURCE, TARGET, seed=5)[0], target)
    change = _change(other, base)
    yield _finding("source", change, scale, change <= scale.threshold)
    change = _change(subject(source.flip(1), target), base)
    yield _finding("source order", change, scale, change <= scale.threshold)
    swapped = target.clone()
    swapped[:, [1, 2]] = target[:, [2, 1]]
    differ = target[:, 1] != target[:, 2]
    change = _change(subject(source, swapped)[differ, -1], base[differ, -1])
    yield _finding("target order", change, scale, bool(differ.any()) and change <= scale.threshold)


def _determinism(subject: Subject) -> Finding:
    sample = subject.sample(2, SOURCE, TARGET)
    with Functions() as functions:
        first = subject(*sample)
    change = max(_change(subject(*sample), first) for _ in range(2))
    measured = _scale(subject).words(change)
    if functions.active_dropout:
        measured = {
            "en": f"{measured['en']}; {functions.active_dropout} dropout calls were active in evaluation mode",
            "ko": f"{measured['ko']}; 평가 모드에서 드롭아웃 호출 {functions.active_dropout}개가 켜져 있음",
        }
    return Finding(
        checks()["deterministic"],
        FAILED if (change > 0 and functions.active_dropout) or change > 1e-3 else PASSED,
        measured,
        change,
    )


def _training(subject: Subject) -> Finding:
    """Compare training mode, with every dropout switched off, with evaluation mode."""
    sample = subject.sample(3, SOURCE, TARGET)
    with Functions(without_dropout=True):
        evaluated = subject(*sample)
        module = copy.deepcopy(subject.module).train()
        for each in module.modules():
            if isinstance(each, nn.modules.dropout._DropoutNd):
                each.p = 0.0
            elif isinstance(getattr(each, "dropout", None), float):
                setattr(each, "dropout", 0.0)  # noqa: B010 - unknown to type checkers
        try:
            change = _change(subject.with_module(module)(*sample), evaluated)
        except Exception as error:
            return _not_applicable("training", error)
    scale = _scale(subject)
    return _finding("training", change, scale, change > scale.threshold)


def _half(subject: Subject) -> Finding:
    """Run in float16 with padding, so that masks are used: as a whole, else under autocast."""
    source, target = subject.sample(3, SOURCE, TARGET)
    source[1:, 5:] = subject.pad_id
    try:
        x = subject.with_module(copy.deepcopy(subject.module).half())(source, target).float()
    except Exception as error:
        if "overflow" in str(error):
            return _overflow(error, subject)
        try:
            with torch.autocast(source.device.type, torch.float16):
                x = subject(source, target).float()
        except Exception as mixed:
            return _overflow(mixed, subject) if "overflow" in str(mixed) else _not_applicable("half", mixed)
    broken = int((~x.isfinite()).sum())
    if broken:
        measured = {
            "en": f"{broken} of {x.numel()} outputs are NaN or infinite",
            "ko": f"출력 {x.numel()}개 중 {broken}개가 NaN이나 무한대",
        }
        return Finding(checks()["half"], _half_status(subject), measured, float("nan"))
    difference = _change(x, subject(source, target).float())
    measured = {
        "en": f"finite; differs from the module's own precision by {difference:.2g}",
        "ko": f"유한함; 원래 정밀도와의 차이 {difference:.2g}",
    }
    return Finding(checks()["half"], PASSED, measured, difference)


def _overflow(error: Exception, subject: Subject) -> Finding:
    reason = str(error).splitlines()[0]
    return Finding(checks()["half"], _half_status(subject), {"en": reason, "ko": reason})


def _half_status(subject: Subject) -> str:
    """Return "failed" for a module in half precision; "note" for one that works in its own precision."""
    own = {parameter.dtype for parameter in subject.module.parameters()}
    return FAILED if torch.float16 in own or torch.bfloat16 in own else NOTE


def _unused(subject: Subject) -> Finding:
    """List the parameters that do not take part in the computation of the output."""
    unused = unused_parameters(subject)
    if unused is None:
        return Finding(checks()["unused"], NOT_APPLICABLE)
    listed = ", ".join(unused[:6]) + (f" (+{len(unused) - 6})" if len(unused) > 6 else "")
    return Finding(checks()["unused"], NOTE if unused else PASSED, {"en": listed, "ko": listed} if unused else {})


def unused_parameters(subject: Subject) -> list[str] | None:
    """Name the parameters that get no gradient from the output; None if the output has no gradient at all."""
    with torch.enable_grad():
        x = subject(*subject.sample(2, SOURCE, TARGET))
        named = [(name, p) for name, p in subject.module.named_parameters() if p.requires_grad]
        if not x.requires_grad or not named:
            return None
        gradients = torch.autograd.grad(x.sum(), [p for _, p in named], allow_unused=True)
    return [name for (name, _), gradient in zip(named, gradients, strict=True) if gradient is None]


def _all_padding(subject: Subject) -> Finding:
    source, target = subject.sample(2, SOURCE, TARGET)
    source[1] = subject.pad_id
    try:
        x = subject(source, target)
    except Exception as error:
        return _not_applicable("all padding", error)
    broken = int((~x[1].isfinite()).sum())
    measured = {
        "en": f"{broken} of {x[1].numel()} outputs are NaN or infinite",
        "ko": f"출력 {x[1].numel()}개 중 {broken}개가 NaN이나 무한대",
    }
    return Finding(checks()["all padding"], NOTE if broken else PASSED, measured, float(broken))


def _not_applicable(name: str, error: Exception) -> Finding:
    reason = f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
    return Finding(checks()[name], NOT_APPLICABLE, {"en": reason, "ko": reason})
