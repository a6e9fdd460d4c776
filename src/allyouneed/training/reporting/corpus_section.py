"""The report's section on the text: counts, forecast, histograms, findings and examples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from allyouneed.data.inspection.findings import Finding
from allyouneed.training.forecast import Forecast
from allyouneed.training.reporting.curves import Html, is_number, join, markup, show

_APART = ("dropped", "repaired", "findings", "histograms")  # entries of a report that are not single numbers
_LABELS = 6  # along the horizontal axis of a histogram
_VISIBLE = 0.3  # height of a single pair, as a power of ten


def corpus_section(corpus: dict[str, Any], forecasts: Sequence[dict[str, Any]] = ()) -> Html:
    """Show counts for each part of the corpus, the forecast, histograms, and examples.

    Args:
        corpus: Statistics of the parts of the corpus, by name.
        forecasts: Forecasts of the run, of which the last one is shown.
    """
    keys = dict.fromkeys(key for of in corpus.values() for key in of if key not in _APART)
    rows = [[key.replace("_", " "), *(of.get(key) for of in corpus.values())] for key in keys]
    examples = []
    for done, preposition in (("dropped", "from"), ("repaired", "in")):
        found = [(part, reason, each) for part, of in corpus.items() for reason, each in of.get(done, {}).items()]
        for reason in dict.fromkeys(reason for _, reason, _ in found):
            counts = {part: each["count"] for part, also, each in found if also == reason}
            rows.append([f"{done}: {reason}", *(counts.get(part, 0) for part in corpus)])
        examples += [
            markup(
                "details",
                markup("summary", f"{done} {preposition} {part}: {reason}"),
                definitions([(f"line {example['line']}", example["text"]) for example in each["examples"]]),
            )
            for part, reason, each in found
        ]
    noticed = [_finding(part, Finding(**entry)) for part, of in corpus.items() for entry in of.get("findings", ())]
    return join(*map(_forecast, forecasts[-1:]), table(rows, ["", *corpus]), _histograms(corpus), *noticed, *examples)


def table(rows: Sequence[Sequence[object]], head: list[str] | None = None) -> Html:
    """Make a table of names and values with right-aligned numbers; empty without rows."""

    def cell(value: object) -> Html:
        return markup("td", show(value), class_="number" if is_number(value) else "text")

    top = markup("thead", markup("tr", *(markup("th", name, scope="col") for name in head))) if head else ""
    body = (markup("tr", markup("th", name, scope="row"), *map(cell, values)) for name, *values in rows)
    return markup("div", markup("table", top, markup("tbody", *body)), class_="wide") if rows else Html("")


def definitions(pairs: list[tuple[str, object]]) -> Html:
    """Make a list of names and texts; the writing direction is detected for each text."""
    return markup("dl", *(join(markup("dt", name), markup("dd", text, dir="auto")) for name, text in pairs))


def _forecast(record: dict[str, Any]) -> Html:
    facts = {key: value for key, value in record.items() if key != "event"}
    return join(*(markup("p", line) for line in Forecast(**facts).lines()))


def _finding(part: str, finding: Finding) -> Html:
    """Show what is wrong with a part of the corpus, with examples."""
    examples = definitions([(f"line {example['line']}", example["text"]) for example in finding.examples])
    summary = markup("summary", f"{part}: {finding.summary()}")
    return markup("details", summary, markup("p", finding.remedy) if finding.remedy else "", examples)


def _histograms(corpus: dict[str, Any]) -> Html:
    """Show the histograms of the training text, of all its corpora in sum."""
    shown = [of["histograms"] for part, of in corpus.items() if of.get("histograms") and part.startswith("train")]
    figures = [_histogram(name, histogram) for name, histogram in (shown[-1].items() if shown else ())]
    return markup("div", *figures, class_="charts") if figures else Html("")


def _histogram(title: str, histogram: dict[str, Any]) -> Html:
    """Make a figure of bars: kept pairs, and dropped pairs in front, on a logarithmic axis."""
    edges, kept, dropped = histogram["edges"], histogram["kept"], histogram["dropped"]
    used = [index for index in range(len(kept)) if kept[index] + dropped[index]]
    if not used:
        return Html("")
    first, last = used[0], used[-1] + 1
    top = math.ceil(math.log10(max(max(kept), max(dropped)) + 1)) + _VISIBLE
    width = 100 / (last - first)
    bars = []
    for counts, hue, inset in ((kept, "a", 0.06), (dropped, "b", 0.3)):
        heights = [100 * (math.log10(count) + _VISIBLE) / top if count else 0 for count in counts[first:last]]
        path = "".join(
            f"M{(index + inset) * width:.2f},100v{-height:.2f}h{(1 - 2 * inset) * width:.2f}v{height:.2f}z"
            for index, height in enumerate(heights)
            if height
        )
        bars.append(markup("path", class_=f"bar {hue}", d=path))
    ticks = range(math.floor(top - _VISIBLE) + 1)
    grid = "".join(f"M0,{100 - 100 * (tick + _VISIBLE) / top:.2f}H100" for tick in ticks)
    summary = f"{title}: {sum(kept):,} pairs kept, {sum(dropped):,} dropped"
    drawing = markup(
        "svg", markup("path", class_="grid", d=grid), *bars,
        viewBox="0 0 100 100", preserveAspectRatio="none", role="img", aria_label=summary,
    )  # fmt: skip
    step = max(1, math.ceil((last - first) / _LABELS))
    labels = [
        *(
            markup("span", show(10**tick), class_="y", style=f"top:{100 - 100 * (tick + _VISIBLE) / top:.2f}%")
            for tick in ticks
        ),
        *(
            markup("span", show(edges[index]), class_="x", style=f"left:{(index - first) * width:.2f}%")
            for index in range(first, last + 1, step)
        ),
    ]
    legend = markup(
        "div",
        markup("span", "kept ", markup("b", show(sum(kept))), class_="key a"),
        markup("span", "dropped ", markup("b", show(sum(dropped))), class_="key b"),
        class_="legend soft",
    )
    caption = markup("figcaption", markup("h3", title, " ", markup("small", "pairs")), legend)
    return markup("figure", caption, markup("div", drawing, *labels, class_="frame"), class_="chart")
