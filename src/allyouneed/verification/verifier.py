"""`allyouneed.verify`: compares any PyTorch Transformer with the paper's."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from allyouneed.errors import UserError
from allyouneed.verification.adapter import Subject, find_subject
from allyouneed.verification.behaviour import DEPENDENCE, behaviour, unused_parameters
from allyouneed.verification.building import build_module
from allyouneed.verification.calling import Forward
from allyouneed.verification.computation import Batch
from allyouneed.verification.diagnosis import Comparer, Diagnosis, diagnose
from allyouneed.verification.explain import comparison_of, findings_of, layer_findings, structure_findings
from allyouneed.verification.findings import FAILED, NOTE, SYMPTOM, Comparison, Finding, checks
from allyouneed.verification.naming import find_weights
from allyouneed.verification.owners import Unmapped
from allyouneed.verification.plan import Plan
from allyouneed.verification.recording import record
from allyouneed.verification.result import Verification
from allyouneed.verification.training_check import Loss, Step, check_loss, check_step
from allyouneed.verification.weights import Order, Weights, in_order

# Largest relative difference that counts as rounding, by the module's own type. Buffers, for example sinusoids, keep
# its precision when a copy is converted to float64.
_TOLERANCE = {torch.bfloat16: 2e-2, torch.float16: 2e-3, torch.float32: 2e-5, torch.float64: 2e-5}
_SINGLE = 2e-4  # if the module cannot be computed in float64


def verify(
    module: nn.Module | Callable[..., nn.Module],
    *,
    forward: Forward | None = None,
    loss: Loss | None = None,
    step: Step | None = None,
    weights: Mapping[str, str | Tensor] | None = None,
    num_heads: int | None = None,
    pad_id: int | None = None,
    bos_id: int | None = None,
    vocab_size: int | None = None,
    target_vocab_size: int | None = None,
) -> Verification:
    """Compare a Transformer with the paper's: what its output depends on, and each step of its computation.

    The module's parameters are found by name, and section 3 is computed with them. Where a step differs, known
    mistakes are applied to our computation until it reproduces the module; these are the mistakes it has. The module
    itself is not changed. Everything is computed on the CPU.

    Args:
        module: An encoder-decoder that maps source and target ids to logits, or a class or function that makes one.
            Required parameters with telling names, such as `vocab_size` and `d_model`, get small sizes.
        forward: How to call it: forward(module, source, target) with ids [batch, length], padded at the end, returns
            logits [batch, target, vocab]. Default: found by trial from the parameters of `module.forward`.
        loss: Loss to check, called as loss(logits, labels).
        step: Training step to check, called as step(module, source, target); returns the loss.
        weights: Names of parameters that are not found: our name (of `allyouneed.Transformer`) -> the module's name,
            or a tensor.
        num_heads: Number of heads. Default: an attribute of the module.
        pad_id: Id of padding. Default: an attribute of the module, or 0.
        bos_id: Id of the start token. Default: the smallest id that is not padding.
        vocab_size: Source vocabulary size. Default: rows of the source embedding.
        target_vocab_size: Target vocabulary size. Default: rows of the target embedding.

    Returns:
        The findings, with `passed`, `report()`, `html()` and `as_dict()`.

    Raises:
        UserError: If the module cannot be called; the message lists what was tried.

    Example:
        verification = allyouneed.verify(my_transformer, pad_id=0)
        print(verification.report())
    """
    made, arguments = _module(module)
    if any(parameter.device.type != "cpu" for parameter in made.parameters()):
        made = copy.deepcopy(made).cpu()
    was_training = made.training
    try:
        subject = find_subject(made.eval(), forward, pad_id, bos_id, vocab_size, target_vocab_size)
        given = any(isinstance(each, Tensor) for each in (weights or {}).values())
        exact = subject.in_double(distinct=not given)
        seen = behaviour(subject, exact)
        findings = list(seen.findings)
        if loss is not None:
            findings += check_loss(subject, loss)
        if step is not None:
            findings += check_step(subject, step)
        white = _compare(exact, _tolerance(made, exact), num_heads, weights)
        if subject.kind == "probabilities":
            findings.append(Finding(checks()["probabilities"], NOTE))
        findings = [_as_symptom(finding) if white.explains else finding for finding in findings]
    finally:
        made.train(was_training)
    return Verification(
        type(made).__name__,
        [*white.findings, *findings],
        subject.convention.describe() + (f", made with {arguments}" if arguments else ""),
        subject.kind,
        influence=seen.influence,
        comparison=white.comparison,
        diagnosis=white.diagnosis,
        unmapped=white.unmapped,
        pad_id=subject.pad_id,
    )


def _module(module: nn.Module | Callable[..., nn.Module]) -> tuple[nn.Module, str]:
    """Return the module, and how it was made."""
    if isinstance(module, nn.Module):
        return module, ""
    if not callable(module):
        raise UserError(
            "verify needs a torch.nn.Module or a function that makes one, "
            f"not an object of type {type(module).__name__}."
        )
    return build_module(module)


@dataclass
class _White:
    """Results of the comparison step by step."""

    findings: list[Finding] = field(default_factory=list)
    comparison: Comparison | None = None
    diagnosis: Diagnosis | None = None
    unmapped: str = ""

    @property
    def explains(self) -> bool:
        """Whether known mistakes reproduce the module, so that its behaviour follows from them."""
        complete = self.diagnosis is not None and not self.diagnosis.unexplained
        return complete and any(finding.status == FAILED for finding in self.findings)


def _as_symptom(finding: Finding) -> Finding:
    """Mark a failed check of what an output depends on."""
    follows = finding.status == FAILED and finding.name in DEPENDENCE
    return replace(finding, status=SYMPTOM) if follows else finding


def _tolerance(module: nn.Module, exact: Subject) -> float:
    own = next((_TOLERANCE.get(x.dtype, _SINGLE) for x in module.parameters()), _SINGLE)
    single = any(x.dtype != torch.float64 for x in exact.module.parameters())
    return max(own, _SINGLE) if single else own


def _compare(
    subject: Subject, tolerance: float, num_heads: int | None, names: Mapping[str, str | Tensor] | None
) -> _White:
    try:
        readings = _readings(subject, num_heads, names)
    except Unmapped as unclear:
        return _White(unmapped=str(unclear))
    except (RuntimeError, AssertionError) as error:  # shapes that do not fit the guessed roles
        return _White(unmapped=f"the parameters' shapes do not fit their names ({error})")
    if torch.equal(*(weights.encoder[0].attention.key.weight for weights in readings)):
        readings = readings[:1]
    with torch.no_grad():
        recorded = [_recorded(subject, weights, tolerance) for weights in readings]
        recorded.sort(key=lambda each: -len(each[0].agreement(each[1]).matched))
        comparer, plan, order = recorded[0]
        weights = comparer.weights
        diagnosis = diagnose(comparer, plan)
    findings = [*layer_findings(readings[0], order), *findings_of(diagnosis, comparer)]
    findings += structure_findings(weights, plan, [finding.name for finding in findings])
    return _White(findings, comparison_of(diagnosis, comparer), diagnosis)


def _readings(subject: Subject, num_heads: int | None, names: Mapping[str, str | Tensor] | None) -> list[Weights]:
    """Find the parameters' roles for both layouts of fused projections, at first among all parameters.

    A parameter that is made and not called can be the mistake itself, or have no role: it is left out only if the roles
    are unclear with it.
    """
    try:
        return [find_weights(subject.module, num_heads, names, per_head) for per_head in (False, True)]
    except Unmapped:
        unused = unused_parameters(subject)
        if not unused:
            raise
        return [find_weights(subject.module, num_heads, names, per_head, unused) for per_head in (False, True)]


def _recorded(subject: Subject, weights: Weights, tolerance: float) -> tuple[Comparer, Plan, Order]:
    """Run the module on a padded batch and record its steps."""
    source, target = subject.sample(3, 7, 6)
    source[1, 5:], target[2, 4:] = subject.pad_id, subject.pad_id
    batch = Batch(source, target, subject.pad_id)
    recording = record(subject.module, weights, batch, lambda: subject(source, target))
    order = recording.order
    if any(ran != tuple(range(len(getattr(weights, side)))) for side, ran in order.items()):
        weights = in_order(weights, order)
        recording = record(subject.module, weights, batch, lambda: subject(source, target))
    comparer = Comparer(weights, batch, recording.steps, tolerance, log_probabilities=subject.kind != "logits")
    plan = Plan()
    if recording.pre_norm:
        plan = replace(plan, norm="pre")
    if weights.source_positions is not None:
        plan = replace(plan, positions="learned")
    return comparer, plan, order
