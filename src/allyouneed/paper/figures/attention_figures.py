"""Figures 1 to 5 for a trained model: 1 and 2 from the live model, 3 to 5 from heads found over a test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from rich.console import Console

from allyouneed.bundle import Bundle, find_bundle, load_bundle
from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import read_pairs
from allyouneed.data.tokenizer import BOS
from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.insight.words import Sentence, split_sentence
from allyouneed.paper.figures.diagrams import draw_architecture, draw_attention_blocks
from allyouneed.paper.figures.drawing import Panel, draw_attention, head_colours
from allyouneed.paper.figures.figures_page import Example, on_distance, on_pronouns, on_structure, write_page
from allyouneed.paper.figures.head_statistics import (
    Lexicon,
    Tally,
    encoder_attention,
    head_rows,
    lexicon_of,
    measure,
    most_anaphoric,
    most_different,
    most_distant,
)
from allyouneed.paper.figures.trace import Trace, block_rows, trace
from allyouneed.paper.results import Results
from allyouneed.progress import track_progress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PART = 500  # sentences measured at once and kept
_DRAWING = 10  # seconds, about
_GREEN_AND_RED = ("#2e8b57", "#d1495b")  # as in the paper's figure 5
_SHOWN_LENGTH = 38  # characters of a sentence in figure 1


class ChosenText(NamedTuple):
    """Those sentences of a test set that the model was made for, with their translations; given: all lines of it."""

    sentences: list[Sentence]
    pairs: list[tuple[str, str]]
    lexicon: Lexicon
    given: int


def run_figures(run: Path, test: Sequence[Path], out: Path | None, minutes: float, console: Console) -> Path:
    """Measures every head of the encoder within about so many minutes, finds examples and draws. -> the page's path.

    run: a RUN or a bundle. test: two files of parallel text, or one TSV. The same call again goes on.
    Errors: `UserError` for a run or text that cannot be read, a folder begun with other settings, or no matplotlib.
    """
    bundle = load_bundle(run)
    bundle.model.eval()
    text = _read_test(bundle, test)
    weights = find_bundle(run) / "model.safetensors"
    asked = {"run": str(run), "weights": sha256(weights)[:16], "test": [str(path) for path in test], "minutes": minutes}
    results = Results.open("figures", out, asked)
    tally, measured = _measure(results, bundle, text, 60 * minutes - _DRAWING, console)
    traced, shown = _trace_pair(bundle, text)
    figures = {"figure1": draw_architecture(bundle.model, traced, shown), "figure2": draw_attention_blocks(traced)}
    captions: dict[str, str] = {}
    for name, (figure, caption) in _attention_figures(bundle, text, tally).items():
        captions[name] = caption
        if figure is not None:
            figures[name] = figure
    tables = {"heads": head_rows(tally), "blocks": block_rows(bundle.model, traced)}
    page = write_page(bundle, tables, captions, figures.keys(), (measured, len(text.sentences), text.given), test)
    return _finish(results, page, tables, figures)


def _read_test(bundle: Bundle, test: Sequence[Path]) -> ChosenText:
    """Sentences of at least two words, no longer than the model has seen.

    Errors: `UserError` where there is none, or the two sides have not as many lines.
    """
    count_pairs(test)
    language = _code(bundle)
    read = list(read_pairs(test, bundle.config.data.columns))
    sentences, pairs = [], []
    for pair in read:
        sentence = split_sentence(bundle.tokenizer, pair.source, language)
        if not pair.fault and len(sentence.words) > 2 and len(sentence.ids) <= bundle.longest_source:
            sentences.append(sentence)
            pairs.append((pair.source, pair.target))
    if not sentences:
        raise UserError(
            f"{test[0]}: no sentence of at least 2 words and at most {bundle.longest_source} tokens. Give other text."
        )
    return ChosenText(sentences, pairs, lexicon_of(language, sentences), len(read))


def _measure(results: Results, bundle: Bundle, text: ChosenText, seconds: float, console: Console) -> tuple[Tally, int]:
    """As many sentences, in the file's order, as the time allows, and how many; time of earlier calls counts too."""
    tally, measured, spent = Tally(), 0, 0.0
    with track_progress(console, "heads: sentences") as told:
        for first in range(0, len(text.sentences), _PART):
            if measured and spent >= seconds:
                break
            some = text.sentences[first : first + _PART]
            part = results.part(f"sentences from {first}", partial(_measure_part, bundle, some, text.lexicon, first))
            tally.add(Tally.from_json(part["tally"]))
            measured, spent = measured + len(some), spent + part["seconds"]
            told(measured, len(text.sentences))
    return tally, measured


def _measure_part(bundle: Bundle, sentences: Sequence[Sentence], lexicon: Lexicon, first: int) -> dict[str, Any]:
    begun = time.perf_counter()
    tally = measure(bundle.model, sentences, lexicon, first)
    return {"tally": tally.as_json(), "seconds": time.perf_counter() - begun}


def _trace_pair(bundle: Bundle, text: ChosenText) -> tuple[Trace, tuple[str, str]]:
    """The first pair through the model, and both sides as figure 1 shows them."""
    source, target = text.pairs[0]
    target_ids = [BOS, *bundle.tokenizer.encode(target)][: bundle.longest_source]
    traced = trace(bundle.model, text.sentences[0].ids, target_ids)
    begins, continues = (_shortened(side) for side in (source, target))
    return traced, (f"{begins} </s>", f"<s> {continues}")


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_LENGTH else f"{text[:_SHOWN_LENGTH].rsplit(' ', 1)[0]} …"


def _attention_figures(bundle: Bundle, text: ChosenText, tally: Tally) -> dict[str, tuple[Figure | None, str]]:
    """Figures 3 to 5 with their captions; None where the test set has nothing to draw."""

    def example(best: np.ndarray, layer: int, heads: Sequence[int]) -> Example:
        """best: rank (0 where there is none), sentence, query, key."""
        number, query, key = (int(place) for place in best[1:])
        sentence = text.sentences[number]
        _, weights = next(encoder_attention(bundle.model, [sentence]))
        return Example(layer, list(heads), sentence.words, weights[layer], query, key)

    layer, head = most_distant(tally)
    far = tally.best["far"][layer, head]
    distance = example(far, layer, [head]) if far[0] else None
    layer, heads = most_anaphoric(tally)
    from_pronoun = tally.best["pronouns"][layer, heads[0]]
    pronoun = example(from_pronoun, layer, heads) if from_pronoun[0] else None
    layer, pair, difference = most_different(tally)
    structure = example(tally.best["both"][layer, pair[0], pair[-1]], layer, pair)
    return {
        "figure3": (_draw_distance(distance) if distance else None, on_distance(distance, tally)),
        "figure4": (_draw_pronoun(pronoun) if pronoun else None, on_pronouns(pronoun, tally, text.lexicon)),
        "figure5": (_draw_structure(structure), on_structure(structure, tally, difference)),
    }


def _draw_distance(example: Example) -> Figure:
    """All heads of the layer, from one word."""
    heads = dict(enumerate(example.weights, start=1))
    title = f"layer {example.layer + 1}, from “{example.words[example.query]}”"
    return draw_attention(example.words, [Panel(title, heads, head_colours(len(heads)), example.query)])


def _draw_pronoun(example: Example) -> Figure:
    """All attention of the first head, and from the pronoun alone of both."""
    heads = {head + 1: example.weights[head] for head in example.heads}
    first, colours = example.heads[0] + 1, head_colours(len(heads))
    panels = [
        Panel(f"layer {example.layer + 1}, head {first}", {first: heads[first]}, colours[:1]),
        Panel(f"from “{example.words[example.query]}”", heads, colours, example.query),
    ]
    return draw_attention(example.words, panels)


def _draw_structure(example: Example) -> Figure:
    """All attention of each head."""
    panels = [
        Panel(f"layer {example.layer + 1}, head {head + 1}", {head + 1: example.weights[head]}, [colour])
        for head, colour in zip(example.heads, _GREEN_AND_RED, strict=False)
    ]
    return draw_attention(example.words, panels)


def _finish(results: Results, page: str, tables: dict[str, Any], figures: dict[str, Figure]) -> Path:
    """With text as text in the SVGs, and the same bytes for the same figures."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "allyouneed"}):
        return results.finish(page, tables, figures, svg=True)


def _code(bundle: Bundle) -> str:
    """The source's language: `en` of `en-GB`."""
    return bundle.languages[0].replace("_", "-").split("-")[0].lower()
