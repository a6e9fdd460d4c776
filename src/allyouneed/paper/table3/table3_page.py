"""Page of table 3, with the printed numbers for comparison."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from allyouneed.paper.plots import COLOURS, label, new_figure
from allyouneed.paper.results_folder import Results, as_table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PaperRow(NamedTuple):
    """A row of the printed table.

    Attributes:
        perplexity: Perplexity per word piece on newstest2013.
        bleu: BLEU on newstest2013.
        parameters: Number of parameters in millions.
    """

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
_EQUAL = 0.005  # nats; smaller differences of log perplexity, such as 4.91 and 4.92, count as equal
_EXPLANATIONS = {  # possible explanations of a disagreement, by the row's letter; "b" is big
    "A": "The heads share a small d_model: many heads have only a few units each, fewer heads have enough.",
    "B": "Keys have only a few units.",
    "C": "A short training favours models that learn quickly at first, such as shallow post-norm stacks.",
    "D": "Dropout helps when a text is seen many times; here it is seen a few times, and there is no overfitting.",
    "E": "The validation text has no positions beyond those of training, so learned positions have no disadvantage. "
    "They are also small at first, so that embeddings dominate; sinusoids are as large as embeddings from the start.",
    "b": "Its dropout of 0.3 and its 16 heads are costly in a short training, as rows D and A show.",
}


def write_page(results: Results) -> Path:
    """Write the page, with the paper's numbers for every measured row.

    Args:
        results: Results whose parts are the plan and the measured rows.

    Returns:
        The path of the page.
    """
    measured = [row for key, row in results.parts.items() if key != "plan"]
    base = [row for row in measured if row["name"] == "base"]
    spread = Spread.of(base)
    rows = [
        next(row for row in measured if row["name"] == name)
        for name in PAPER
        if any(row["name"] == name for row in measured)
    ]
    table = [_table_row(row, base, spread) for row in rows]
    figure = _plot(rows, spread)
    return results.finish(_page(results, table, rows, base, spread), {"table3": table}, {"table3": figure})


class Spread(NamedTuple):
    """Standard deviation over the seeds of the base; None for one seed.

    Attributes:
        log_perplexity: Standard deviation of the log perplexity in nats.
        bleu: Standard deviation of BLEU.
    """

    log_perplexity: float | None
    bleu: float | None

    @classmethod
    def of(cls, base: Sequence[dict[str, Any]]) -> Spread:
        """Compute the spread from perplexity and BLEU of each seed."""
        if len(base) < 2:
            return cls(None, None)
        return cls(stdev(math.log(row["perplexity"]) for row in base), stdev(row["bleu"] for row in base))


def verdict(measured: float, paper: float, spread: float | None) -> str:
    """Compare a row's change of log perplexity with the paper's.

    Args:
        measured: Measured log perplexity minus that of the base, in nats.
        paper: The same difference in the paper.
        spread: Standard deviation over seeds; a difference of at most two standard deviations counts as noise.

    Returns:
        The verdict for the table.
    """
    noise = 2 * (spread or 0.0)
    if abs(paper) < _EQUAL:
        return "equal, as in the paper" if abs(measured) <= noise else "differs, equal in the paper"
    if abs(measured) <= noise:
        return "too close to tell"
    return "as in the paper" if measured * paper > 0 else "contrary to the paper"


def _table_row(row: dict[str, Any], base: Sequence[dict[str, Any]], spread: Spread) -> dict[str, Any]:
    name, paper = row["name"], PAPER[row["name"]]
    level = mean(math.log(each["perplexity"]) for each in base)
    measured = math.log(row["perplexity"]) - level
    printed = math.log(paper.perplexity / PAPER["base"].perplexity)
    return {
        "row": name,
        **row["columns"],
        "PPL": f"{row['perplexity']:.2f}",
        "BLEU": f"{row['bleu']:.1f}",
        "params ×10⁶": f"{row['parameters'] / 1e6:.2f}",
        "paper PPL": f"{paper.perplexity:.2f}",
        "paper BLEU": f"{paper.bleu:.1f}",
        "paper params": paper.parameters,
        "ΔPPL relative to base": "" if name == "base" else verdict(measured, printed, spread.log_perplexity),
    }


def _page(
    results: Results,
    table: list[dict[str, Any]],
    rows: list[dict[str, Any]],
    base: list[dict[str, Any]],
    spread: Spread,
) -> str:
    verdicts = [row["ΔPPL relative to base"] for row in table if row["row"] != "base"]
    against = [row["row"] for row in table if row["ΔPPL relative to base"].startswith(("against", "differs"))]
    seeds = ", ".join(f"{row['perplexity']:.2f} / {row['bleu']:.1f}" for row in base)
    lines = [
        "# Table 3: variations of the base model",
        "",
        "Each row changes the small base in proportion to the paper's change of its base. All rows are trained on the "
        f"same text for {results.parts['plan']['steps']:,} steps (big: three times as many). PPL is per token, BLEU "
        f"with beam {rows[0]['beam_size']}, both on the validation set, without checkpoint averaging (section 6.2). "
        "Text and vocabulary differ from the paper's: compare perplexities within a column only.",
        "",
        as_table(table),
        "",
        f"Signature: `{rows[0]['bleu_signature']}`. Base, PPL / BLEU by seed: {seeds}. {_spread_text(spread)}",
        "",
        f"Perplexity relative to the base, {len(verdicts)} rows: "
        + ", ".join(f"{verdicts.count(kind)} {kind}" for kind in dict.fromkeys(verdicts))
        + f". {_correlation_text(rows)}",
        "",
        "![PPL and BLEU over the paper's](table3.png)",
    ]
    if against:
        lines += ["", "## Deviations from the paper and possible explanations"]
        for letter in dict.fromkeys(name[0] for name in against):
            names = ", ".join(f"**{name}**" for name in against if name[0] == letter)
            lines.append(f"- {names}: {_EXPLANATIONS[letter]}")
    return "\n".join(lines)


def _spread_text(spread: Spread) -> str:
    if spread.bleu is None or spread.log_perplexity is None:
        return "The spread over seeds is unknown: give --seeds 3."
    return (
        f"Standard deviation over seeds: {100 * spread.log_perplexity:.1f} % of perplexity, {spread.bleu:.2f} BLEU; "
        "differences of less than two standard deviations are called too close to tell. The other rows have one seed."
    )


def _correlation_text(rows: Sequence[dict[str, Any]]) -> str:
    """Report Spearman's rank correlation of perplexities; ties get the mean rank."""
    if len(rows) < 3:
        return "There are too few rows for a rank correlation."
    measured = [row["perplexity"] for row in rows]
    printed = [PAPER[row["name"]].perplexity for row in rows]
    correlation = float(np.corrcoef(_ranks(measured), _ranks(printed))[0, 1])
    return f"Rank correlation (Spearman) with the paper's perplexities: {correlation:.2f}."


def _ranks(values: Sequence[float]) -> list[float]:
    return [sum(other < value for other in values) + (values.count(value) - 1) / 2 for value in values]


def _plot(rows: Sequence[dict[str, Any]], spread: Spread) -> Figure:
    """Plot measured over printed values, one point per row, for PPL and BLEU."""
    figure = new_figure(13, 7)
    for column, (key, better) in enumerate({"perplexity": "lower", "bleu": "higher"}.items(), 1):
        axes = figure.add_subplot(1, 2, column)
        title = f"{'BLEU' if key == 'bleu' else key} ({better} is better)"
        label(axes, title, "paper, newstest2013", "measured, validation set")
        for row in rows:
            group = row["name"][0]
            x, y = getattr(PAPER[row["name"]], key), row[key]
            noise = 2 * (spread.bleu or 0) if key == "bleu" else 2 * y * (spread.log_perplexity or 0)
            colour = "black" if group == "b" else COLOURS["ABCDE".index(group)]
            axes.errorbar(x, y, yerr=noise, fmt="o", color=colour, elinewidth=0.7, capsize=2)
            axes.annotate(row["name"], (x, y), xytext=(5, 2), textcoords="offset points", fontsize=6.5, color=colour)
    return figure
