"""Page of figures 1 to 5: captions, the measures used to choose examples, and a comparison with the paper."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from allyouneed.bundle import Bundle
from allyouneed.paper.figures.head_statistics import FAR, READABLE, RELATIONS, SHORT, HeadStatistics
from allyouneed.paper.figures.word_classes import FREQUENT, Lexicon
from allyouneed.paper.results_folder import Row, as_table

_RELATION_NAMES = {
    "same": "the word itself",
    "previous": "the previous word",
    "next": "the next word",
    "near": f"a word 2 or {FAR - 1} away",
    "far": f"a word at least {FAR} away",
    "punctuation": "punctuation that is not adjacent",
    "end": "the end of the sentence",
}
_SHARED = 0.25  # weight from which a head counts as following a dependency
_VISIBLE = 0.1  # difference of weights between pronouns and adjacent words that is visible in a drawing
_SHARP = 0.5  # a larger weight exceeds all other weights of the query together
_TITLES = {
    "figure3": "Figure 3: a long-distance dependency",
    "figure4": "Figure 4: anaphora, or similar behaviour",
    "figure5": "Figure 5: heads with different structural tasks",
}
_COLUMNS = (
    "layer", "head", "entropy", "distance", *RELATIONS, "rate_far", "pronouns", "beside", "others", "lift",
)  # fmt: skip


class ShownSentence(NamedTuple):
    """A sentence chosen as an example.

    Attributes:
        layer: The layer.
        heads: Heads of the layer for which the sentence was chosen.
        words: Words and `</s>`.
        weights: Attention of all heads of the layer, shape [head, query, key].
        query: Query of the line for which the sentence was chosen.
        key: Key of that line.
    """

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
    """Write the page.

    Args:
        bundle: The model.
        tables: Rows by table; "heads" is shown.
        captions: Captions of figures 3 to 5 by name.
        drawn: Names of the figures that were drawn.
        sentences: Numbers of measured sentences, of eligible sentences and of lines of the test set.
        test: Test text.

    Returns:
        The page in Markdown.
    """
    measured, eligible, lines = sentences
    limited = (
        ""
        if measured == eligible
        else f" The time was sufficient for {measured:,} of these {eligible:,}; increase `--minutes` to measure all."
    )
    parts = [
        "# Figures 1 to 5 of this model",
        f"A model from {' to '.join(bundle.languages)} with {bundle.model.num_parameters():,} parameters. Its heads "
        f"were measured on the source side of {test[0].name}: {eligible:,} of {lines:,} lines, those of at least 2 "
        f"words and at most {bundle.longest_source} tokens, the maximum in training.{limited} Every figure is stored "
        "as PNG, and as SVG with selectable text.",
        "## Figure 1: the model\n\n![figure 1](figure1.png)",
        "The forward pass of the first sentence pair: blocks in the order in which they were called, with the shapes "
        "of their outputs. `blocks.csv` has the parameters of each block.",
        "## Figure 2: attention\n\n![figure 2](figure2.png)",
        "Shapes are those of the encoder's first layer: [sentences, tokens, width], and [sentences, heads, queries, "
        "keys] between the heads. The mask is optional: padding is hidden everywhere, although a single sentence has "
        "none, and the future only in the decoder's self-attention.",
    ]
    for name, caption in captions.items():
        image = [f"![{name}]({name}.png)"] if name in drawn else []
        parts += [f"## {_TITLES[name]}", *image, caption]
    return "\n\n".join([*parts, "## Measures", _measures(), _table(tables["heads"])])


def distance_caption(example: ShownSentence | None, statistics: HeadStatistics) -> str:
    """Write the caption of figure 3.

    Args:
        example: The sentence shown, if any.
        statistics: Statistics of the test set.

    Returns:
        The caption in Markdown.
    """
    if example is None:
        return f"The measured sentences have no two content words {FAR} words apart: not drawn."
    [head], layer = example.heads, example.layer
    weights = example.weights[:, example.query, example.key]
    rate, peak = (float(statistics.mean(f"{name}_far")[layer, head]) for name in ("rate", "peak"))
    sharing = int((weights >= _SHARED).sum())
    verdict = (
        "**Weaker than in the paper**, where many heads of a layer follow one dependency"
        if sharing < 2
        else "As in the paper, several heads of a layer follow one dependency"
    )
    return "\n\n".join(
        [
            f"{_layer_text(example, statistics)}, lines from “{example.words[example.query]}” only, all heads. Head "
            f"{head + 1} has weight {weights[head]:.2f} for “{example.words[example.key]}”, "
            f"{abs(example.query - example.key)} words away. {_quoted(example)}",
            f"Selection: for {100 * rate:.0f} % of all words this head's largest weight is for a word at least {FAR} "
            f"words away, on average {peak / max(rate, 1e-9):.2f}; no head has a larger product of the two. The "
            "sentence has the largest such weight between two content words: the best example, not a typical one. "
            f"{verdict}: here {sharing} of {len(weights)} heads have at least {_SHARED} for that word.",
        ]
    )


def pronoun_caption(example: ShownSentence | None, statistics: HeadStatistics, lexicon: Lexicon) -> str:
    """Write the caption of figure 4.

    Args:
        example: The sentence shown, if any.
        statistics: Statistics of the test set.
        lexicon: Words of the source language.

    Returns:
        The caption in Markdown.
    """
    if not lexicon.pronouns:
        return "There is no list of pronouns for this source language: not drawn."
    if example is None:
        return "The measured sentences have no pronoun after a content word: not drawn."
    layer, head = example.layer, example.heads[0]
    pronouns, beside, others = (
        float(statistics.mean(f"peak_{name}")[layer, head]) for name in ("pronouns", "beside", "others")
    )
    verdict = (
        f"The head distinguishes pronouns from adjacent words by {pronouns - beside:.2f}. Only annotated text could "
        "show whether it finds their antecedents."
        if pronouns - beside >= _VISIBLE
        else "**Weaker than in the paper**: the head hardly distinguishes pronouns from adjacent words. The figure "
        "shows a head that attends to preceding content words, not anaphora."
    )
    weight = example.weights[head, example.query, example.key]
    pronoun_mean, other_mean = (float(statistics.mean(name)[layer, head]) for name in ("pronouns", "others"))
    return "\n\n".join(
        [
            f"{_layer_text(example, statistics)}. Left: all attention of head {head + 1}. Right: lines from the "
            f"pronoun “{example.words[example.query]}” only, of {_head_text(example)}. Head {head + 1} has weight "
            f"{weight:.2f} for “{example.words[example.key]}”. {_quoted(example)}",
            f"Selection, over {statistics.counts['pronouns']:,} pronouns: the largest weight, counted as 0 unless it "
            "is for a preceding content word other than the previous word, is on average "
            f"{pronouns:.2f} for pronouns, {beside:.2f} for the words adjacent to them and {others:.2f} for all other "
            "words; no head has a larger difference between the first two. All attention to such words is "
            f"{pronoun_mean:.2f} for pronouns and {other_mean:.2f} for all other words. The sentence has the largest "
            f"such weight: the best example, not a typical one. {verdict}",
        ]
    )


def structure_caption(example: ShownSentence, statistics: HeadStatistics, difference: float) -> str:
    """Write the caption of figure 5.

    Args:
        example: The sentence shown.
        statistics: Statistics of the test set.
        difference: Difference of the heads, see `most_different`.

    Returns:
        The caption in Markdown.
    """
    descriptions, sharpness = [], []
    for head in example.heads:
        rates = {name: float(statistics.mean(f"rate_{name}")[example.layer, head]) for name in RELATIONS}
        sharpness.append(sum(float(statistics.mean(f"peak_{name}")[example.layer, head]) for name in RELATIONS))
        frequent = sorted(RELATIONS, key=lambda name: -rates[name])[:2]
        keys = " and ".join(f"{_RELATION_NAMES[name]} for {100 * rates[name]:.0f} %" for name in frequent)
        descriptions.append(
            f"- Head {head + 1}: the key of the largest weight is {keys} of the words; its mean weight is "
            f"{sharpness[-1]:.2f}."
        )
    verdict = (
        "In both heads the largest weight is more than half of a word's attention; the paper gives no number."
        if min(sharpness) >= _SHARP
        else "**Less sharp than in the paper's figure**: a largest weight is less than half of a word's attention."
    )
    return "\n\n".join(
        [
            f"{_layer_text(example, statistics)}, all attention of {_head_text(example)}. {_quoted(example)}",
            "\n".join(descriptions),
            "Selection: the two heads of one layer whose largest weights have the most different relations over the "
            f"test set, a difference of {difference:.2f} of at most 1; the sentence is the one in which both are "
            f"sharpest. {verdict}",
        ]
    )


def _measures() -> str:
    readable, short = (f"{lengths[0]} to {lengths[-1]}" for lengths in (READABLE, SHORT))
    return "\n".join(
        [
            "Measured over words, not tokens: attention to a word is the sum over its tokens, attention from a word "
            "the mean over them. `</s>` is a key but not a query. A mean covers only the words "
            "that have a key of that kind.",
            "",
            "- entropy: entropy of a word's attention in nats; distance: mean distance of its keys in words, without "
            "`</s>`.",
            *(f"- {name}: attention to {relation}." for name, relation in _RELATION_NAMES.items()),
            "- rate_X and peak_X: how often the largest weight is for X, and its mean, counted as 0 otherwise.",
            "- pronouns: attention of pronouns to preceding content words other than the previous word; beside: the "
            "same of the words adjacent to a pronoun, which have nearly the same keys; others: of all other words; "
            "lift: pronouns / others; lift_beside: pronouns / beside.",
            "- Content words have a letter or a digit and are not on the language's list of function words (de, en, "
            f"fr). In other languages they are not among the {FREQUENT} most frequent words of the test set, or a "
            "tenth of its different words if that is fewer.",
            f"- Examples are sentences of {readable} words (figure 5: {short}) if there are any.",
            "",
            "All heads; `heads.csv` has more columns.",
        ]
    )


def _table(rows: Sequence[Row]) -> str:
    return as_table([{name: _rounded(row[name]) for name in _COLUMNS} for row in rows])


def _rounded(value: object) -> object:
    return f"{value:.2f}" if isinstance(value, float) else value


def _layer_text(example: ShownSentence, statistics: HeadStatistics) -> str:
    return f"Layer {example.layer + 1} of {len(statistics.sums['entropy'])} (in the paper: 5 of 6)"


def _head_text(example: ShownSentence) -> str:
    numbers = [str(head + 1) for head in example.heads]
    return f"head{'s' if len(numbers) > 1 else ''} {' and '.join(numbers)}"


def _quoted(example: ShownSentence) -> str:
    return f"*{' '.join(example.words[:-1])}*"
