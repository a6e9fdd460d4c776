"""The page of a verification: HTML without scripts, in two languages, with the first step that differs side by side."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from allyouneed.offline_page import source_hash
from allyouneed.verification.explain import step_words
from allyouneed.verification.findings import (
    CHOICE,
    FAILED,
    LANGUAGES,
    NOT_APPLICABLE,
    NOTE,
    PASSED,
    SYMPTOM,
    Finding,
    catalogue,
)

if TYPE_CHECKING:
    from allyouneed.verification.result import Verification

_MOST_COLUMNS, _CELL = 48, 14
_MOST_NUMBERS = 12  # columns of a matrix whose cells show their numbers
_MARKS = {FAILED: "✗", SYMPTOM: "✗", CHOICE: "·", NOTE: "!", PASSED: "✓", NOT_APPLICABLE: "–"}
_WORDS = {
    "title": ("Is my Transformer the paper's?", "내 Transformer는 논문과 같은가?"),
    FAILED: ("Mistakes", "실수"),
    SYMPTOM: ("What follows from them", "그 결과"),
    NOTE: ("Notes", "참고"),
    CHOICE: ("Differs from the paper by choice", "논문과 다르게 선택한 것"),
    NOT_APPLICABLE: ("Not applicable", "해당 없음"),
    PASSED: ("Passed", "통과"),
    "first": ("The first step that differs", "처음으로 달라지는 단계"),
    "theirs": ("this module", "이 모듈"),
    "ours": ("the paper, same weights", "논문(같은 가중치)"),
    "difference": ("difference", "차이"),
    "range": ("from {low} to {high}", "{low}부터 {high}까지"),
    "one": (
        "One sentence{head}; rows are {rows}, columns are {columns}. The first two share one colour range.",
        "문장 하나{head}. 행은 {rows}, 열은 {columns}. 앞의 두 그림은 같은 색 범위를 씁니다.",
    ),
    "grey": ("Grey cells are masked.", "회색 칸은 가려진 곳입니다."),
    "head": (" and one head", ", 헤드 하나"),
    "columns": ("Columns {first} to {last} of {all} are shown.", "열 {all}개 중 {first}~{last}번을 보입니다."),
    "factor": ("This module's values are {factor} times the paper's.", "이 모듈의 값은 논문 값의 {factor}배입니다."),
    "query": ("queries", "쿼리"),
    "key": ("keys", "키"),
    "position": ("positions", "위치"),
    "unit": ("units of the vector", "벡터의 성분"),
    "influence": ("What each output depends on", "출력이 좌우되는 목표 토큰"),
    "influence text": (
        "Row t, column j: largest change of output t when target token j is replaced, on a logarithmic scale. "
        "Cells right of the diagonal must be empty: they are the future.",
        "t행 j열은 목표 토큰 j를 바꿨을 때 출력 t의 가장 큰 변화(로그 눈금)입니다. "
        "대각선 오른쪽은 미래이므로 비어 있어야 합니다.",
    ),
    "outputs": ("outputs", "출력"),
    "tokens": ("target tokens", "목표 토큰"),
    "section": ("section {section} of the paper", "논문 {section}절"),
    "remedy": ("Remedy", "해결"),
    "seen": ("Seen in", "사례"),
    "or": ("Or, with the same result for these sizes", "또는(이 크기에서는 같은 결과)"),
    "site": ("Where", "위치"),
    "called": ("How it was called", "호출 방법"),
}


def verification_html(result: Verification, language: str = "en") -> str:
    """Make the page.

    Args:
        result: The verification.
        language: Language that is shown first.

    Returns:
        HTML with a content security policy that allows nothing but its own style.
    """
    style = files(__package__).joinpath("page.css").read_text("utf-8")
    policy = f"default-src 'none'; style-src {source_hash(style)}; base-uri 'none'; form-action 'none'"
    korean = language == "ko"
    switches = "".join(
        f'<input type="radio" name="language" id="{code}"{" checked" if korean == (code == "ko") else ""}>'
        f'<label for="{code}" lang="{code}">{name}</label>'
        for code, name in (("en", "English"), ("ko", "한국어"))
    )
    title = f"{_WORDS['title'][korean]} · {result.module}"
    return (
        f'<!DOCTYPE html>\n<html lang="{language}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{html.escape(title)}</title><style>{style}</style></head>\n<body><header>{switches}</header>\n<main>"
        + "\n".join(_body(result))
        + "</main></body></html>\n"
    )


def notebook_html(result: Verification) -> str:
    """Return the page inside a frame, so that its style does not reach the notebook."""
    page = html.escape(verification_html(result), quote=True)
    return f'<iframe srcdoc="{page}" width="100%" height="640" title="{html.escape(result.module)}"></iframe>'


def _both(text: Callable[[str], str], tag: str = "span") -> str:
    """Return an element per language; the style shows one of them."""
    return "".join(f'<{tag} class="{code}" lang="{code}">{html.escape(text(code))}</{tag}>' for code in LANGUAGES)


def _word(key: str, tag: str = "span", **values: object) -> str:
    return _both(lambda code: _WORDS[key][code == "ko"].format(**values), tag)


def _body(result: Verification) -> Iterator[str]:
    yield f"<p>{_word('title')}</p>"
    verdict = "passed" if result.passed else "failed"
    yield f'<h1 class="{verdict}">{html.escape(result.module)}: {_both(result.verdict)}</h1>'
    yield _both(result.summary, "p")
    yield from _findings(result, FAILED)
    yield from _findings(result, SYMPTOM)
    yield from _comparison(result)
    yield from _influence(result)
    for status in (NOTE, CHOICE, NOT_APPLICABLE, PASSED):
        yield from _findings(result, status)
    called = html.escape(f"{result.convention}; {result.output}; pad_id {result.pad_id}")
    yield f'<p class="small">{_word("called")}: {called}</p>'


def _findings(result: Verification, status: str) -> Iterator[str]:
    findings = result.of(status)
    if findings:
        items = "".join(_finding(finding) for finding in findings)
        yield f'<section><h2>{_word(status)}</h2><ul class="{status.replace(" ", "-")}">{items}</ul></section>'


def _finding(finding: Finding) -> str:
    entry = finding.entry
    parts = [
        f'<li><h3><span class="mark" aria-hidden="true">{_MARKS[finding.status]}</span> {_both(finding.title)}</h3>'
    ]
    if finding.measured:
        parts.append(_both(lambda code: finding.measured.get(code, ""), "p"))
    if finding.site:
        parts.append(f"<p>{_word('site')}: {_both(lambda code: finding.site.get(code, ''))}</p>")
    if finding.status in (FAILED, NOTE, CHOICE):
        parts.append(_both(lambda code: entry.text("why", code), "p"))
    if finding.status in (FAILED, NOTE):
        parts.append(f"<p>{_word('remedy')}: {_both(lambda code: entry.text('remedy', code))}</p>")
        if finding.alternatives:
            named = [catalogue()[name] for name in finding.alternatives]
            parts.append(f"<p>{_word('or')}: {_both(lambda code: '; '.join(e.text('title', code) for e in named))}</p>")
        links = ", ".join(f'<a href="{html.escape(url)}">{html.escape(_short(url))}</a>' for url in entry.seen)
        parts += [f"<p>{_word('seen')}: {links}</p>"] if links else []
    parts.append(f'<p class="small">{_word("section", section=entry.section)}</p></li>')
    return "".join(parts)


def _short(url: str) -> str:
    """Shorten an address of GitHub: owner/name#number."""
    parts = url.removeprefix("https://github.com/").split("/")
    return f"{parts[0]}/{parts[1]}#{parts[-1]}" if len(parts) == 4 else url


def _comparison(result: Verification) -> Iterator[str]:
    first = result.comparison
    if first is None:
        return
    theirs, ours = _hidden_as_nan(first.theirs), _hidden_as_nan(first.ours)
    if first.step.endswith(".scores"):  # compared where the module does not mask
        ours = torch.where(theirs.isnan(), theirs, ours)
    start = _window(theirs, ours)
    columns = theirs.shape[1]
    shown = slice(start, start + _MOST_COLUMNS)
    theirs, ours = theirs[:, shown], ours[:, shown]
    known = torch.cat([theirs, ours]).nan_to_num()
    limits = float(known.min()), float(known.max())
    difference = theirs - ours
    widest = float(difference.nan_to_num().abs().max())
    head = {code: _WORDS["head"][code == "ko"] if first.labels[0] == "query" else "" for code in LANGUAGES}
    rows, units = (_WORDS[label] for label in first.labels)
    yield f"<section><h2>{_word('first')}: {_both(lambda code: step_words(first.step, code))}</h2>"
    yield _both(
        lambda code: _WORDS["one"][code == "ko"].format(
            head=head[code], rows=rows[code == "ko"], columns=units[code == "ko"]
        ),
        "p",
    )
    if columns > _MOST_COLUMNS:
        yield f"<p>{_word('columns', first=start + 1, last=min(start + _MOST_COLUMNS, columns), all=columns)}</p>"
    if bool(theirs.isnan().any() | ours.isnan().any()):
        yield f"<p>{_word('grey')}</p>"
    if first.factor is not None:
        yield f"<p>{_word('factor', factor=f'{first.factor:.4g}')}</p>"
    yield '<div class="matrices">'
    yield _matrix("theirs", theirs, limits)
    yield _matrix("ours", ours, limits)
    yield _matrix("difference", difference, (-widest, widest))
    yield "</div></section>"


def _hidden_as_nan(x: Tensor) -> Tensor:
    """Mark masked scores, which are -∞ or a large negative number, as missing."""
    x = x.double()
    return torch.where(x.isfinite() & (x.abs() < 1e4), x, torch.full_like(x, math.nan))


def _window(theirs: Tensor, ours: Tensor) -> int:
    """Return the first column to show: near the largest difference."""
    worst = int((theirs - ours).nan_to_num().abs().amax(0).argmax())
    return max(0, min(worst - _MOST_COLUMNS // 2, theirs.shape[1] - _MOST_COLUMNS))


def _matrix(key: str, x: Tensor, limits: tuple[float, float]) -> str:
    low, high = limits
    text = f"{low:.3g}", f"{high:.3g}"
    caption = f"<figcaption>{_word(key)}<br>{_word('range', low=text[0], high=text[1])}</figcaption>"
    return f"<figure>{_svg(x, lambda value: _colour(value, limits), _WORDS[key][0])}{caption}</figure>"


def _svg(x: Tensor, colour: Callable[[float], str], label: str) -> str:
    """Draw a matrix; one with few columns shows its numbers."""
    rows, columns = x.shape
    numbers = columns <= _MOST_NUMBERS
    width, height = (42, 22) if numbers else (_CELL, _CELL)
    cells = []
    for i, row in enumerate(x.tolist()):
        for j, value in enumerate(row):
            fill, text = colour(value), "–" if math.isnan(value) else f"{value:.3g}"
            place = f'x="{j * width}" y="{i * height}" width="{width}" height="{height}"'
            cells.append(f'<rect {place} fill="{fill}"><title>{i + 1}, {j + 1}: {text}</title></rect>')
            if numbers:
                ink = "#ffffff" if _is_dark(fill) else "#111111"
                at = f'x="{(j + 0.5) * width}" y="{(i + 0.7) * height}"'
                cells.append(f'<text {at} fill="{ink}" font-size="10.5" text-anchor="middle">{text}</text>')
    size = f'width="{columns * width}" height="{rows * height}" viewBox="0 0 {columns * width} {rows * height}"'
    return f'<svg {size} role="img" aria-label="{html.escape(label)}">{"".join(cells)}</svg>'


def _is_dark(fill: str) -> bool:
    red, green, blue = (int(fill[i : i + 2], 16) for i in (1, 3, 5))
    return 0.299 * red + 0.587 * green + 0.114 * blue < 130


def _colour(value: float, limits: tuple[float, float]) -> str:
    """Blue below 0, white at 0, red above, by the larger limit; grey if missing."""
    if math.isnan(value):
        return "#b8b8b8"
    largest = max(abs(limits[0]), abs(limits[1]), 1e-30)
    share = max(-1.0, min(1.0, value / largest))
    strong = (178, 24, 43) if share > 0 else (33, 102, 172)
    mixed = (round(255 + (channel - 255) * abs(share)) for channel in strong)
    return "#" + "".join(f"{channel:02x}" for channel in mixed)


def _influence(result: Verification) -> Iterator[str]:
    x = result.influence.double()
    largest = float(x.nan_to_num().max())
    if largest <= 0:
        return
    scaled = torch.where(x > 1e-12 * largest, 1 + (x / largest).log10() / 12, torch.zeros_like(x))
    drawing = _svg_of_values(x, scaled)
    yield f"<section><h2>{_word('influence')}</h2>{_word('influence text', 'p')}"
    yield f"<figure>{drawing}<figcaption>↓ {_word('outputs')} · → {_word('tokens')}</figcaption></figure></section>"


def _svg_of_values(values: Tensor, scaled: Tensor) -> str:
    shades = iter(scaled.flatten().tolist())
    return _svg(values, lambda _: _colour(next(shades), (0.0, 1.0)), _WORDS["influence"][0])
