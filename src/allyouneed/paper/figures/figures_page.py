"""The page of figures 1 to 5: what each shows, by which measure it was chosen, and where the paper's is stronger."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allyouneed.bundle import Bundle
from allyouneed.paper.figures.head_statistics import FAR, FREQUENT, READABLE, RELATIONS, SHORT, Lexicon, Tally
from allyouneed.paper.results import Row, as_table

_PLACES = {
    "same": "the word itself",
    "previous": "the word before",
    "next": "the word after",
    "near": f"a word 2 or {FAR - 1} away",
    "far": f"a word at least {FAR} away",
    "punctuation": "punctuation that is not beside it",
    "end": "the end of the sentence",
}
_SHARED = 0.25  # of a word's attention: a head that takes part in a dependency
_PLAIN = 0.1  # of a weight: a difference between pronouns and the words beside them that could be seen in a picture
_SHARP = 0.5  # of a word's attention: a line that holds more than all others together
_TITLES = {
    "figure3": "Figure 3: a long-distance dependency",
    "figure4": "Figure 4: anaphora, or its nearest kin",
    "figure5": "Figure 5: heads with different structural tasks",
}
_COLUMNS = (
    "layer", "head", "entropy", "distance", *RELATIONS, "rate_far", "pronouns", "beside", "others", "lift",
)  # fmt: skip


class Example(NamedTuple):
    """A sentence and its attention in a layer, weights [head, query, key]. query, key: the line it is shown for."""

    layer: int
    heads: list[int]
    words: list[str]
    weights: np.ndarray
    query: int
    key: int


def write_page(
    bundle: Bundle,
    tables: Mapping[str, Sequence[Row]],
    captions: Mapping[str, str],
    drawn: Collection[str],
    sentences: tuple[int, int, int],
    test: Sequence[Path],
) -> str:
    """Markdown. drawn: the figures that there are; sentences: measured, fit to be, and lines of the test set."""
    measured, fit, given = sentences
    few = (
        "" if measured == fit else f" The time allowed for {measured:,} of these {fit:,}; more `--minutes` measure all."
    )
    parts = [
        "# Figures 1 to 5, of this model",
        f"A model from {' to '.join(bundle.languages)}, {bundle.model.num_parameters():,} parameters. Its heads were "
        f"measured on the source side of {test[0].name}: {fit:,} of {given:,} lines, those of "
        f"at least 2 words and at most {bundle.longest_source} subwords, the longest of training.{few} Every figure is "
        "here as PNG and, with text as text, as SVG.",
        "## Figure 1: the model\n\n![figure 1](figure1.png)",
        "As it ran for the first sentence pair: blocks in the order in which they were called, and the shapes that "
        "they gave. `blocks.csv` has the parameters of each.",
        "## Figure 2: its attention\n\n![figure 2](figure2.png)",
        "Shapes are those of the encoder's first layer: [sentences, subwords, width], and [sentences, heads, queries, "
        "keys] between the heads. The mask is optional: padding is hidden everywhere, though one sentence alone has "
        "none, and the future only in the decoder's self-attention.",
    ]
    for name, caption in captions.items():
        picture = [f"![{name}]({name}.png)"] if name in drawn else []
        parts += [f"## {_TITLES[name]}", *picture, caption]
    return "\n\n".join([*parts, "## Measures", _measures(), _table(tables["heads"])])


def on_distance(example: Example | None, tally: Tally) -> str:
    """Of figure 3."""
    if example is None:
        return f"No two content words stand {FAR} words apart in the sentences measured: there is nothing to draw."
    [head], layer = example.heads, example.layer
    weights = example.weights[:, example.query, example.key]
    rate, peak = (float(tally.mean(f"{name}_far")[layer, head]) for name in ("rate", "peak"))
    sharing = int((weights >= _SHARED).sum())
    verdict = (
        "**Weaker than in the paper**, where many heads of a layer take part in one dependency"
        if sharing < 2
        else "In the paper, too, several heads of a layer take part in one dependency"
    )
    return "\n\n".join(
        [
            f"{_where(example, tally)}, lines from “{example.words[example.query]}” only, all its heads. Head "
            f"{head + 1} puts {weights[head]:.2f} on “{example.words[example.key]}”, "
            f"{abs(example.query - example.key)} words away. {_quoted(example)}",
            f"Chosen by measure: for {100 * rate:.0f} % of all words this head's strongest line goes {FAR} words away "
            "or more, with a mean weight of "
            f"{peak / max(rate, 1e-9):.2f}; no head has a larger product of the two. "
            "The sentence is the one with its strongest such line between two content words: the best case, not the "
            f"typical one. {verdict}: here {sharing} of {len(weights)} heads put at least {_SHARED} on that word.",
        ]
    )


def on_pronouns(example: Example | None, tally: Tally, lexicon: Lexicon) -> str:
    """Of figure 4."""
    if not lexicon.pronouns:
        return "There is no list of pronouns for this source language: left out."
    if example is None:
        return "No pronoun stands behind a content word in the sentences measured: left out."
    layer, head = example.layer, example.heads[0]
    pronouns, beside, others = (
        float(tally.mean(f"peak_{name}")[layer, head]) for name in ("pronouns", "beside", "others")
    )
    verdict = (
        f"The head treats pronouns otherwise than the words beside them, by {pronouns - beside:.2f}. Whether it finds "
        "what they stand for, only annotated text could tell."
        if pronouns - beside >= _PLAIN
        else "**Weaker than in the paper**: the head does with pronouns hardly more than with the words beside them. "
        "The picture shows a head that looks back at content words, anaphora's nearest kin, not anaphora."
    )
    weight = example.weights[head, example.query, example.key]
    whole, theirs = (float(tally.mean(name)[layer, head]) for name in ("pronouns", "others"))
    return "\n\n".join(
        [
            f"{_where(example, tally)}. Left: all attention of head {head + 1}. Right: lines from the pronoun "
            f"“{example.words[example.query]}” only, of {_heads(example)}. Head {head + 1} puts {weight:.2f} on "
            f"“{example.words[example.key]}”. {_quoted(example)}",
            f"Chosen by measure, over {tally.counts['pronouns']:,} pronouns: the weight of the strongest line, 0 where "
            "it goes elsewhere than to a content word before and not directly before, has a mean of "
            f"{pronouns:.2f} for pronouns, {beside:.2f} for the words on either side of them and {others:.2f} for all "
            "other words; no head has a larger difference between the first two. The whole attention to such words is "
            f"{whole:.2f} for pronouns and {theirs:.2f} for all other words. The sentence is the one with its "
            f"strongest such line: the best case, not the typical one. {verdict}",
        ]
    )


def on_structure(example: Example, tally: Tally, difference: float) -> str:
    """Of figure 5. difference: of `most_different`."""
    habits, sharpness = [], []
    for head in example.heads:
        rates = {name: float(tally.mean(f"rate_{name}")[example.layer, head]) for name in RELATIONS}
        sharpness.append(sum(float(tally.mean(f"peak_{name}")[example.layer, head]) for name in RELATIONS))
        often = sorted(RELATIONS, key=lambda name: -rates[name])[:2]
        goes = " and ".join(f"to {_PLACES[name]} for {100 * rates[name]:.0f} %" for name in often)
        habits.append(
            f"- Head {head + 1}: its strongest line goes {goes} of the words; its mean weight is {sharpness[-1]:.2f}."
        )
    verdict = (
        "In both the strongest line holds more than half of a word's attention; the paper gives no number."
        if min(sharpness) >= _SHARP
        else "**Paler than in the paper's picture**: a strongest line holds less than half of a word's attention."
    )
    return "\n\n".join(
        [
            f"{_where(example, tally)}, all attention of {_heads(example)}. {_quoted(example)}",
            "\n".join(habits),
            "Chosen by measure: these are the two heads of one layer whose strongest lines go to the most different "
            f"places over the test set, a difference of {difference:.2f} of at most 1, and the sentence is the one in "
            f"which both are sharpest. {verdict}",
        ]
    )


def _measures() -> str:
    readable, short = (f"{lengths[0]} to {lengths[-1]}" for lengths in (READABLE, SHORT))
    return "\n".join(
        [
            "Over words, not subwords: attention to a word is the sum over its subwords, from a word the mean over "
            "them. `</s>` is looked at, but not measured itself. Means are over all words that have such a place to "
            "look.",
            "",
            "- entropy, in nats, of a word's attention; distance, in words, of what it looks at, `</s>` left out.",
            *(f"- {name}: attention to {place}." for name, place in _PLACES.items()),
            "- rate_X and peak_X: how often the strongest line goes to X, and its mean weight, 0 where it does not.",
            "- pronouns: attention of pronouns to content words before them, not directly before; beside: of the words "
            "on either side of a pronoun, which have nearly the same words to look at; others: of all other words; "
            "lift: pronouns over others; lift_beside: over those beside.",
            "- Content words have a letter or a digit and are not on the language's list of function words (de, en, "
            f"fr); in another language they are not among the {FREQUENT} most frequent words of the test set, or a "
            "tenth of its different words if that is fewer.",
            f"- Examples are sentences of {readable} words (for figure 5: {short}) where there are any.",
            "",
            "All heads; `heads.csv` has more columns.",
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    return as_table([{name: _rounded(row[name]) for name in _COLUMNS} for row in rows])


def _rounded(value: object) -> object:
    return f"{value:.2f}" if isinstance(value, float) else value


def _where(example: Example, tally: Tally) -> str:
    return f"Layer {example.layer + 1} of {len(tally.sums['entropy'])} (the paper: 5 of 6)"


def _heads(example: Example) -> str:
    numbers = [str(head + 1) for head in example.heads]
    return f"head{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"


def _quoted(example: Example) -> str:
    return f"*{' '.join(example.words[:-1])}*"
