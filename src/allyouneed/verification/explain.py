"""Words for steps and differences, and findings from a diagnosis."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import torch
from torch import Tensor

from allyouneed.verification.diagnosis import Agreement, Comparer, Diagnosis, factor, family
from allyouneed.verification.findings import CHOICE, FAILED, NOTE, Comparison, Finding, catalogue
from allyouneed.verification.plan import Plan, Variation
from allyouneed.verification.weights import Order, Weights, shared_layers

_STATUS = {"fault": FAILED, "choice": CHOICE, "note": NOTE}
_SIDES = {"encoder": ("encoder", "인코더"), "decoder": ("decoder", "디코더")}
_SUBLAYERS = {
    "self": ("self-attention", "셀프 어텐션"),
    "cross": ("encoder-decoder attention", "인코더-디코더 어텐션"),
    "ffn": ("feed-forward", "피드포워드"),
}
_STEPS = {
    "input": ("input", "입력"),
    "memory": ("input of keys and values", "키와 값의 입력"),
    "queries": ("queries", "쿼리"),
    "keys": ("keys", "키"),
    "values": ("values", "값"),
    "scores": ("scores", "점수"),
    "weights": ("attention weights", "어텐션 가중치"),
    "concat": ("concatenated heads", "이어 붙인 헤드"),
    "output": ("output", "출력"),
    "inner": ("x W₁ + b₁", "x W₁ + b₁"),
    "hidden": ("max(0, x W₁ + b₁)", "max(0, x W₁ + b₁)"),
    "norm_input": ("input of the norm", "정규화의 입력"),
    "norm_output": ("output of the norm", "정규화의 출력"),
}
_KINDS = {
    "encoder": ("encoder self-attention", "인코더 셀프 어텐션"),
    "decoder": ("decoder self-attention", "디코더 셀프 어텐션"),
    "cross": ("encoder-decoder attention", "인코더-디코더 어텐션"),
}
_PLURAL = {"queries", "keys", "values", "scores", "weights", "concat", "tokens", "logits"}
_WHOLE = {
    "source.tokens": ("source embeddings", "소스 임베딩"),
    "target.tokens": ("target embeddings", "목표 임베딩"),
    "output.input": ("decoder's output", "디코더의 출력"),
    "logits": ("logits", "로짓"),
}


def step_words(step: str, language: str = "en") -> str:
    """Name a step: "decoder.0.self.scores" -> "decoder layer 1, self-attention: scores"."""
    index = 1 if language == "ko" else 0
    if step in _WHOLE:
        return _WHOLE[step][index]
    parts = step.split(".")
    side = _SIDES.get(parts[0], (parts[0], parts[0]))[index]
    last = _STEPS.get(parts[-1], (parts[-1], parts[-1]))[index]
    if len(parts) < 4:
        return f"{side}: {last}"
    sublayer = _SUBLAYERS[parts[2]][index]
    number = int(parts[1]) + 1
    return (
        f"{side} {number}층, {sublayer}: {last}" if language == "ko" else f"{side} layer {number}, {sublayer}: {last}"
    )


def factor_words(value: float | None, sizes: Mapping[str, int], language: str = "en") -> str:
    """Describe a factor, as a root of a size of the model if it is one: 2.828 -> "√d_k = √8 = 2.83 times too large"."""
    if value == 0:
        return "모두 0" if language == "ko" else "0 throughout"
    if value is None or abs(value - 1) < 1e-3 or value < 0:
        return ""
    large = value > 1
    ratio = value if large else 1 / value
    name = ""
    for label, size in sizes.items():
        for form, number in ((f"√{label} = √{size} = ", math.sqrt(size)), (f"{label} = ", float(size))):
            if not name and size > 1 and abs(ratio / number - 1) < 1e-3:
                name = form
    if language == "ko":
        return f"{name}{ratio:.3g}배 {'큼' if large else '작음'}"
    return f"{name}{ratio:.3g} times too {'large' if large else 'small'}"


def findings_of(diagnosis: Diagnosis, comparer: Comparer) -> Iterator[Finding]:
    """Yield a finding for each known mistake that was needed, and for each unexplained step."""
    known = catalogue()
    for (variation, agreement), alternatives in zip(diagnosis.variations, diagnosis.alternatives, strict=True):
        entry = known[variation.name]
        other = tuple(name for name in alternatives if known[name].level == entry.level or entry.level != "fault")
        yield Finding(
            entry,
            _STATUS[entry.level],
            {language: _measured(agreement, comparer, language) for language in ("en", "ko")},
            agreement.distance,
            _sites(variation),
            agreement.step,
            other,
        )
    families: dict[str, list[Agreement]] = {}
    for agreement in diagnosis.unexplained:
        families.setdefault(family(agreement.step), []).append(agreement)
    for first, *others in families.values():
        measured = {language: _measured(first, comparer, language) for language in ("en", "ko")}
        also = {}
        if others:
            also = {lang: "; ".join(step_words(each.step, lang) for each in (first, *others)) for lang in measured}
        yield Finding(known["unexplained"], FAILED, measured, first.distance, also, first.step)


def _sites(variation: Variation) -> dict[str, str]:
    """Name the layer, or the kinds of attention, that a mistake concerns, unless it concerns all."""
    kinds = variation.kinds if 0 < len(variation.kinds) < len(_KINDS) else ()
    words = {language: ", ".join(_KINDS[kind][i] for kind in kinds) for i, language in enumerate(("en", "ko"))}
    part = variation.part
    if part.count(".") == 1 and kinds:  # one layer, one kind of attention
        part, words = f"{part}.{'cross' if kinds == ('cross',) else 'self'}", {"en": "", "ko": ""}
    told = _part_words(part)
    if not told:
        return words if kinds else {}
    return {language: f"{words[language]}{', ' * bool(words[language])}{only}" for language, only in told.items()}


def _part_words(part: str) -> dict[str, str]:
    """Describe a part, see `plan.Plan.local`: "encoder.1.self" -> "encoder layer 2, self-attention only"."""
    if not part:
        return {}
    side, number, sublayer = (*part.split("."), "*", "*")[:3]
    english, korean = _SIDES.get(side, ("", ""))
    if number != "*":
        english, korean = f"{english} layer {int(number) + 1}", f"{korean} {int(number) + 1}층"
    within = _SUBLAYERS.get(sublayer, ("", ""))
    return {
        "en": f"{', '.join(filter(None, (english, within[0])))} only",
        "ko": f"{', '.join(filter(None, (korean, within[1])))}에서만",
    }


def layer_findings(weights: Weights, order: Order) -> Iterator[Finding]:
    """Yield the findings about layers that share their weights, do not run, or run in another order."""
    known = catalogue()
    shared = shared_layers(weights)
    if shared:
        listed = _layers_words(shared)
        yield Finding(known["layers-shared"], FAILED, listed)
    for side, ran in order.items():
        count = len(getattr(weights, side))
        idle = [(side, number) for number in range(count) if number not in ran]
        if idle:
            yield Finding(known["layers-idle"], FAILED, _layers_words(idle))
        if list(ran) != sorted(ran):
            numbers = ", ".join(str(number + 1) for number in ran)
            english, korean = _SIDES[side]
            measured = {
                "en": f"{english} layers run in the order {numbers}",
                "ko": f"{korean} 층의 실행 순서: {numbers}",
            }
            yield Finding(known["layers-order"], FAILED, measured)


def _layers_words(layers: list[tuple[str, int]]) -> dict[str, str]:
    return {
        "en": ", ".join(f"{_SIDES[side][0]} layer {number + 1}" for side, number in layers),
        "ko": ", ".join(f"{_SIDES[side][1]} {number + 1}층" for side, number in layers),
    }


def _measured(agreement: Agreement, comparer: Comparer, language: str) -> str:
    where = step_words(agreement.step, language)
    if agreement.step == "sizes":
        return "크기가 맞지 않음" if language == "ko" else "the sizes do not fit"
    theirs = comparer.steps[agreement.step]
    ours = agreement.ours
    heads, attention = comparer.weights.heads, comparer.weights.encoder[0].attention
    sizes = {"d_k": len(attention.query.weight) // heads, "h": heads, "d_model": comparer.weights.d_model}
    scaled = None
    if ours is not None and ours.shape == theirs.shape:
        kept = comparer.kept(agreement.step, ours)
        scaled = factor(ours[kept], theirs[kept])
    words = factor_words(scaled, sizes, language)
    many = agreement.step.rpartition(".")[2] in _PLURAL
    if words:
        return f"{where}, {words}" if language == "ko" else f"{where} {'are' if many else 'is'} {words}"
    if math.isinf(agreement.distance) and ours is not None and ours.shape == theirs.shape:
        return f"{where}에 NaN이 있음" if language == "ko" else f"{where} {'have' if many else 'has'} NaN"
    if math.isinf(agreement.distance):
        shapes = f"{list(theirs.shape)}, {list(ours.shape) if ours is not None else '?'}"
        return f"{where}: 모양이 다름({shapes})" if language == "ko" else f"{where}: another shape ({shapes})"
    share = f"{agreement.distance:.2g}"
    if language == "ko":
        return f"{where}, 가장 큰 값 대비 차이 {share}"
    return f"{where} {'differ' if many else 'differs'} by {share} of the largest value"


def structure_findings(weights: Weights, plan: Plan, found: Collection[str] = ()) -> Iterator[Finding]:
    """Yield the differences that are visible in the parameters; found: mistakes that are reported already."""
    known = catalogue()
    for name in weights.notes:
        yield Finding(known[name], _STATUS[known[name].level])
    if plan.norm == "pre":
        yield Finding(known["pre-norm"], CHOICE)
    if plan.norm == "pre" and (weights.encoder_norm is None or weights.decoder_norm is None):
        yield Finding(known["final-norm-absent"], NOTE)
    if plan.positions == "learned":
        yield Finding(known["learned-positions"], CHOICE)
    moved = {"embedding-norm", "final-norm-missing"} & set(found)
    if weights.encoder_norm is not None and plan.norm != "pre" and not moved:
        yield Finding(known["final-norm"], CHOICE)
    if weights.encoder[0].attention.query.bias is not None:
        yield Finding(known["biases"], CHOICE)
    if len(weights.tied) < 3:
        yield Finding(known["untied"], CHOICE)


def comparison_of(diagnosis: Diagnosis, comparer: Comparer) -> Comparison | None:
    """Return the first step that differs, as matrices of one sentence (and head), or None if all agree."""
    first = diagnosis.first
    if first is None or first.complete or first.ours is None or first.step not in comparer.steps:
        return None
    theirs, ours = comparer.steps[first.step], first.ours
    if theirs.shape != ours.shape:
        return None
    kept = comparer.kept(first.step, ours)
    row, head = _worst(torch.where(kept, theirs - ours, torch.zeros_like(ours)))
    labels = ("query", "key") if theirs.dim() == 4 else ("position", "unit")
    scaled = factor(ours[kept], theirs[kept])
    index = (row, head) if theirs.dim() == 4 else (row,)
    real = kept[index][:, 0]  # without the rows of padding
    return Comparison(first.step, theirs[index][real], ours[index][real], scaled, labels)


def _worst(difference: Tensor) -> tuple[int, int]:
    """Return sentence and head with the largest difference."""
    difference = torch.nan_to_num(difference.abs(), posinf=0.0)
    if difference.dim() < 4:
        return int(difference.flatten(1).amax(1).argmax()), 0
    index = int(difference.amax((2, 3)).argmax())
    return index // difference.shape[1], index % difference.shape[1]
