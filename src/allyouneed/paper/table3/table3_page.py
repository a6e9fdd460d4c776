"""Table 3 as printed, and the page that sets ours beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results import Results, as_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PaperRow(NamedTuple):
    """Perplexity per word piece and BLEU on newstest2013, parameters in millions."""

    perplexity: float
    bleu: float
    parameters: int


PAPER = {
    "base": PaperRow(4.92, 25.8, 65),
    "A-heads-1": PaperRow(5.29, 24.9, 65),
    "A-heads-4": PaperRow(5.00, 25.5, 65),
    "A-heads-16": PaperRow(4.91, 25.8, 65),
    "A-heads-32": PaperRow(5.01, 25.4, 65),
    "B-key-16": PaperRow(5.16, 25.1, 58),
    "B-key-32": PaperRow(5.01, 25.4, 60),
    "C-layers-2": PaperRow(6.11, 23.7, 36),
    "C-layers-4": PaperRow(5.19, 25.3, 50),
    "C-layers-8": PaperRow(4.88, 25.5, 80),
    "C-model-256": PaperRow(5.75, 24.5, 28),
    "C-model-1024": PaperRow(4.66, 26.0, 168),
    "C-ff-1024": PaperRow(5.12, 25.4, 53),
    "C-ff-4096": PaperRow(4.75, 26.2, 90),
    "D-dropout-0.0": PaperRow(5.77, 24.6, 65),
    "D-dropout-0.2": PaperRow(4.95, 25.5, 65),
    "D-smoothing-0.0": PaperRow(4.67, 25.3, 65),
    "D-smoothing-0.2": PaperRow(5.47, 25.7, 65),
    "E-learned": PaperRow(4.92, 25.7, 65),
    "big": PaperRow(4.33, 26.4, 213),
}
_SAME = 0.005  # of perplexity, relative: what the paper prints as 4.91 and 4.92 is the same to us
_EXPLAINED = {  # what could explain a disagreement, by the row's letter; "b" is big
    "A": "Heads divide a width that is small here: many heads leave each but a few units, fewer heads leave enough.",
    "B": "Keys are a few units wide here.",
    "C": "A short training rewards what starts soon: shallow post-norm stacks do, deep ones need longer to begin.",
    "D": "Dropout pays when a text is seen often; here it is seen a few times only, and nothing is overfitted yet.",
    "E": "Lengths of the validation text occur in training, so that learned positions lose nothing; and they begin "
    "small, so that words are heard first, while sinusoids are as large as words from the first step on.",
    "b": "Its dropout of 0.3 costs most in a short training, as row D shows, and so do its 16 heads, as row A shows.",
}


def write_page(results: Results) -> Path:
    """Sets every row that is measured beside the paper's. -> the page."""
    measured = [facts for key, facts in results.parts.items() if key != "plan"]
    base = [facts for facts in measured if facts["name"] == "base"]
    spread = Spread.of(base)
    rows = [
        next(f for f in measured if f["name"] == name) for name in PAPER if any(f["name"] == name for f in measured)
    ]
    table = [_row(facts, base, spread) for facts in rows]
    figure = _plot(rows, spread)
    return results.finish(_page(results, table, rows, base, spread), {"table3": table}, {"table3": figure})


class Spread(NamedTuple):
    """Standard deviation over the base's seeds; None with one seed. log_perplexity: nats."""

    log_perplexity: float | None
    bleu: float | None

    @classmethod
    def of(cls, base: Sequence[dict[str, Any]]) -> Spread:
        """base: perplexity and BLEU of each seed."""
        if len(base) < 2:
            return cls(None, None)
        return cls(stdev(math.log(facts["perplexity"]) for facts in base), stdev(facts["bleu"] for facts in base))


def verdict(ours: float, paper: float, spread: float | None) -> str:
    """Whether a row's log perplexity over the base's moves as the paper's does; two spreads are chance."""
    chance = 2 * (spread or 0.0)
    if abs(paper) < _SAME:
        return "equal, as in the paper" if abs(ours) <= chance else "differs, equal in the paper"
    if abs(ours) <= chance:
        return "too close to tell"
    return "as in the paper" if ours * paper > 0 else "against the paper"


def _row(facts: dict[str, Any], base: Sequence[dict[str, Any]], spread: Spread) -> dict[str, Any]:
    name, paper = facts["name"], PAPER[facts["name"]]
    level = mean(math.log(other["perplexity"]) for other in base)
    ours = math.log(facts["perplexity"]) - level
    theirs = math.log(paper.perplexity / PAPER["base"].perplexity)
    return {
        "row": name,
        **facts["columns"],
        "PPL": f"{facts['perplexity']:.2f}",
        "BLEU": f"{facts['bleu']:.1f}",
        "params ×10⁶": f"{facts['parameters'] / 1e6:.2f}",
        "paper PPL": f"{paper.perplexity:.2f}",
        "paper BLEU": f"{paper.bleu:.1f}",
        "paper params": paper.parameters,
        "ΔPPL beside base": "" if name == "base" else verdict(ours, theirs, spread.log_perplexity),
    }


def _page(
    results: Results,
    table: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    base: list[dict[str, Any]],
    spread: Spread,
) -> str:
    verdicts = [row["ΔPPL beside base"] for row in table if row["row"] != "base"]
    against = [row["row"] for row in table if row["ΔPPL beside base"].startswith(("against", "differs"))]
    seeds = ", ".join(f"{f['perplexity']:.2f} / {f['bleu']:.1f}" for f in base)
    lines = [
        "# Table 3: variations on the base model",
        "",
        "Each row changes the small base as the paper's row changes the paper's base, in proportion; all see the same "
        f"text for the same {results.parts['plan']['steps']:,} steps (big: three times as many). PPL is per subword, "
        f"BLEU with beam {rows[0]['beam_size']}, both on the validation set, without averaging checkpoints (section "
        "6.2). "
        "The perplexities are of another text and other subwords than the paper's: compare within a column only.",
        "",
        as_table(table),
        "",
        f"Signature: `{rows[0]['bleu_signature']}`. Base, PPL / BLEU by seed: {seeds}. {_spread_in_words(spread)}",
        "",
        f"Of {len(verdicts)} rows, by perplexity beside the base: "
        + ", ".join(f"{verdicts.count(kind)} {kind}" for kind in dict.fromkeys(verdicts))
        + f". {_correlation_in_words(rows)}",
        "",
        "![PPL and BLEU beside the paper's](table3.png)",
    ]
    if against:
        lines += ["", "## Where ours disagrees, and what could explain it"]
        for letter in dict.fromkeys(name[0] for name in against):
            names = ", ".join(f"**{name}**" for name in against if name[0] == letter)
            lines.append(f"- {names}: {_EXPLAINED[letter]}")
    return "\n".join(lines)


def _spread_in_words(spread: Spread) -> str:
    if spread.bleu is None or spread.log_perplexity is None:
        return "The spread over seeds is not known: give --seeds 3."
    return (
        f"Standard deviation over seeds: {100 * spread.log_perplexity:.1f} % of perplexity, {spread.bleu:.2f} BLEU; "
        "differences of less than two of them are called too close to tell. The other rows have one seed."
    )


def _correlation_in_words(rows: Sequence[dict[str, Any]]) -> str:
    """Spearman's, of perplexities; ties get the mean rank."""
    if len(rows) < 3:
        return "So few rows have no rank correlation."
    ours = [facts["perplexity"] for facts in rows]
    theirs = [PAPER[facts["name"]].perplexity for facts in rows]
    found = float(np.corrcoef(_ranks(ours), _ranks(theirs))[0, 1])
    return f"Rank correlation (Spearman) with the paper's perplexities: {found:.2f}."


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def _plot(rows: Sequence[dict[str, Any]], spread: Spread) -> Figure:
    """Ours over the paper's, one point a row, for PPL and BLEU."""
    figure = new_figure(13, 7)
    for place, (key, better) in enumerate({"perplexity": "less", "bleu": "more"}.items(), 1):
        axes = figure.add_subplot(1, 2, place)
        title = f"{'BLEU' if key == 'bleu' else key} ({better} is better)"
        label(axes, title, "the paper's, newstest2013", "ours, validation set")
        for facts in rows:
            group = facts["name"][0]
            x, y = getattr(PAPER[facts["name"]], key), facts[key]
            chance = 2 * (spread.bleu or 0) if key == "bleu" else 2 * y * (spread.log_perplexity or 0)
            colour = "black" if group == "b" else COLOURS["ABCDE".index(group)]
            axes.errorbar(x, y, yerr=chance, fmt="o", color=colour, elinewidth=0.7, capsize=2)
            axes.annotate(facts["name"], (x, y), xytext=(5, 2), textcoords="offset points", fontsize=6.5, color=colour)
    return figure
