"""`allyouneed paper figures`: figures 1 and 2 of a recorded forward pass, 3 to 5 of heads chosen on a test set."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from rich.console import Console

from allyouneed.bundle import Bundle, find_bundle, load_bundle
from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.data.tokens.tokenizer import BOS
from allyouneed.errors import UserError
from allyouneed.files import sha256
from allyouneed.insight.words import Sentence, split_sentence
from allyouneed.languages import primary
from allyouneed.paper.figures.diagrams import draw_architecture, draw_attention_blocks
from allyouneed.paper.figures.drawing import Panel, draw_attention, head_colours
from allyouneed.paper.figures.figures_page import (
    ShownSentence,
    distance_caption,
    pronoun_caption,
    structure_caption,
    write_page,
)
from allyouneed.paper.figures.head_statistics import (
    HeadStatistics,
    encoder_attention,
    head_rows,
    measure,
    most_anaphoric,
    most_different,
    most_distant,
)
from allyouneed.paper.figures.trace import ForwardTrace, block_rows, trace
from allyouneed.paper.figures.word_classes import Lexicon, lexicon_of
from allyouneed.paper.results_folder import Results
from allyouneed.progress import track_progress

_PART = 500  # sentences per stored part
_DRAWING_SECONDS = 10
_GREEN_AND_RED = ("#2e8b57", "#d1495b")  # as in the paper's figure 5
_MAX_TEXT_LENGTH = 38  # characters of a sentence in figure 1


class EligibleText(NamedTuple):
    """The sentences of a test set that are long and short enough.

    Attributes:
        sentences: Source sentences.
        pairs: Text of source and target.
        lexicon: Words of the source language.
        lines: Number of lines of the test set.
    """

    sentences: list[Sentence]
    pairs: list[tuple[str, str]]
    lexicon: Lexicon
    lines: int


def run_figures(run: Path, test: Sequence[Path], out: Path | None, minutes: float, console: Console) -> Path:
    """Measure every head of the encoder, choose examples, and draw all figures.

    Args:
        run: A RUN or a bundle.
        test: Test text, as two files or one TSV file.
        out: Folder of the results, see `Results.open`.
        minutes: Approximate total time, including that of interrupted calls.
        console: Receives progress.

    Returns:
        The path of the page.

    Raises:
        UserError: If the run or the text cannot be read, or the folder was started with other arguments.
    """
    bundle = load_bundle(run)
    bundle.model.eval()
    text = _read_test(bundle, test)
    weights = find_bundle(run) / "model.safetensors"
    identified = {
        "run": str(run),
        "weights": sha256(weights)[:16],
        "test": [str(path) for path in test],
        "minutes": minutes,
    }
    results = Results.open("figures", out, identified)
    statistics, measured = _measure(results, bundle, text, 60 * minutes - _DRAWING_SECONDS, console)
    traced, texts = _trace_pair(bundle, text)
    figures = {"figure1": draw_architecture(bundle.model, traced, texts), "figure2": draw_attention_blocks(traced)}
    captions: dict[str, str] = {}
    for name, (figure, caption) in _attention_figures(bundle, text, statistics).items():
        captions[name] = caption
        if figure is not None:
            figures[name] = figure
    tables = {"heads": head_rows(statistics), "blocks": block_rows(bundle.model, traced)}
    page = write_page(bundle, tables, captions, figures.keys(), (measured, len(text.sentences), text.lines), test)
    return _finish(results, page, tables, figures)


def _read_test(bundle: Bundle, test: Sequence[Path]) -> EligibleText:
    """Read sentences of at least two words that are not longer than the training sentences."""
    count_pairs(test)
    language = primary(bundle.languages[0])
    lines = list(read_pairs(test, columns_for(test, bundle.config.data.columns, bundle.languages)))
    sentences, pairs = [], []
    for pair in lines:
        sentence = split_sentence(bundle.tokenizer, pair.source, language)
        if not pair.fault and len(sentence.words) > 2 and len(sentence.ids) <= bundle.longest_source:
            sentences.append(sentence)
            pairs.append((pair.source, pair.target))
    if not sentences:
        raise UserError(
            f"{test[0]}: no sentence of at least 2 words and at most {bundle.longest_source} tokens. Give other text."
        )
    return EligibleText(sentences, pairs, lexicon_of(language, sentences), len(lines))


def _measure(
    results: Results, bundle: Bundle, text: EligibleText, seconds: float, console: Console
) -> tuple[HeadStatistics, int]:
    """Measure sentences in the order of the file while there is time; return statistics and number of sentences."""
    statistics, measured, spent = HeadStatistics(), 0, 0.0
    with track_progress(console, "heads: sentences") as report:
        for first in range(0, len(text.sentences), _PART):
            if measured and spent >= seconds:
                break
            sentences = text.sentences[first : first + _PART]
            measure_part = partial(_measure_part, bundle, sentences, text.lexicon, first)
            part = results.part(f"sentences from {first}", measure_part)
            statistics.add(HeadStatistics.from_json(part["tally"]))
            measured, spent = measured + len(sentences), spent + part["seconds"]
            report(measured, len(text.sentences))
    return statistics, measured


def _measure_part(bundle: Bundle, sentences: Sequence[Sentence], lexicon: Lexicon, first: int) -> dict[str, Any]:
    start = time.perf_counter()
    statistics = measure(bundle.model, sentences, lexicon, first)
    return {"tally": statistics.as_json(), "seconds": time.perf_counter() - start}


def _trace_pair(bundle: Bundle, text: EligibleText) -> tuple[ForwardTrace, tuple[str, str]]:
    """Run the first sentence pair; return the record and the texts for figure 1."""
    source, target = text.pairs[0]
    target_ids = [BOS, *bundle.tokenizer.encode(target)][: bundle.longest_source]
    traced = trace(bundle.model, text.sentences[0].ids, target_ids)
    source_text, target_text = (_shortened(side) for side in (source, target))
    return traced, (f"{source_text} </s>", f"<s> {target_text}")


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_TEXT_LENGTH else f"{text[:_MAX_TEXT_LENGTH].rsplit(' ', 1)[0]} …"


def _attention_figures(
    bundle: Bundle, text: EligibleText, statistics: HeadStatistics
) -> dict[str, tuple[Figure | None, str]]:
    """Draw figures 3 to 5 with captions; None if the test set has no example."""
    layer, head = most_distant(statistics)
    distance = _example(bundle, text, statistics.best["far"][layer, head], layer, [head])
    layer, heads = most_anaphoric(statistics)
    pronoun = _example(bundle, text, statistics.best["pronouns"][layer, heads[0]], layer, heads)
    layer, heads, difference = most_different(statistics)
    structure = _example(bundle, text, statistics.best["both"][layer, heads[0], heads[-1]], layer, heads)
    assert structure is not None  # there is at least one sentence, and each one is an example
    return {
        "figure3": (_draw_distance(distance) if distance else None, distance_caption(distance, statistics)),
        "figure4": (_draw_pronoun(pronoun) if pronoun else None, pronoun_caption(pronoun, statistics, text.lexicon)),
        "figure5": (_draw_structure(structure), structure_caption(structure, statistics, difference)),
    }


def _example(
    bundle: Bundle, text: EligibleText, best: np.ndarray, layer: int, heads: Sequence[int]
) -> ShownSentence | None:
    """Compute the attention of an example (rank, sentence, query, key); None if its rank is 0."""
    if not best[0]:
        return None
    number, query, key = (int(index) for index in best[1:])
    sentence = text.sentences[number]
    _, weights = next(encoder_attention(bundle.model, [sentence]))
    return ShownSentence(layer, list(heads), sentence.words, weights[layer], query, key)


def _draw_distance(example: ShownSentence) -> Figure:
    """Draw all heads of the layer, from one word."""
    heads = dict(enumerate(example.weights, start=1))
    title = f"layer {example.layer + 1}, from “{example.words[example.query]}”"
    return draw_attention(example.words, [Panel(title, heads, head_colours(len(heads)), example.query)])


def _draw_pronoun(example: ShownSentence) -> Figure:
    """Draw all attention of the first head, and attention from the pronoun of both heads."""
    heads = {head + 1: example.weights[head] for head in example.heads}
    first, colours = example.heads[0] + 1, head_colours(len(heads))
    panels = [
        Panel(f"layer {example.layer + 1}, head {first}", {first: heads[first]}, colours[:1]),
        Panel(f"from “{example.words[example.query]}”", heads, colours, example.query),
    ]
    return draw_attention(example.words, panels)


def _draw_structure(example: ShownSentence) -> Figure:
    """Draw all attention of each head."""
    panels = [
        Panel(f"layer {example.layer + 1}, head {head + 1}", {head + 1: example.weights[head]}, [colour])
        for head, colour in zip(example.heads, _GREEN_AND_RED, strict=False)
    ]
    return draw_attention(example.words, panels)


def _finish(results: Results, page: str, tables: dict[str, Any], figures: dict[str, Figure]) -> Path:
    """Write the results; SVG files keep text as text and are reproducible."""
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "allyouneed"}):
        return results.finish(page, tables, figures, svg=True)
