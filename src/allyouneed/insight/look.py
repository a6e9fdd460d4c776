"""The command `allyouneed look`: attention of one sentence, statistics of all heads over a corpus or over training."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from allyouneed.data.files.formats import columns_for
from allyouneed.errors import UserError
from allyouneed.files import check_output, write_file
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.layers.states import validation_pairs
from allyouneed.insight.page import corpus_html, film_html, html
from allyouneed.insight.patching.comparison import comparison_data, load_run_or_snapshot, short_names
from allyouneed.insight.patching.patch import patch_sentences
from allyouneed.insight.patching.patching_data import models_data_or_none, patching_table, sentences_data
from allyouneed.insight.statistics.corpus_heads import corpus_data
from allyouneed.insight.statistics.over_training import film_data, film_json, film_page, role_lines
from allyouneed.insight.twins import FILE as ABLATIONS
from allyouneed.insight.twins import load_twins
from allyouneed.insight.variants.effects import effect_text
from allyouneed.insight.variants.variant import entropies
from allyouneed.model.probe import KINDS
from allyouneed.progress import print_line, track_progress
from allyouneed.translation.alignment import Attention
from allyouneed.translation.translator import Translator

_HEADS, _FILM = "heads.html", "film.html"
_NAMES = {"encoder": "encoder self", "decoder": "decoder self", "cross": "encoder-decoder"}


@dataclass(frozen=True)
class LookRequest:
    """Arguments of the command.

    Attributes:
        run: Folder of the run or bundle to examine.
        sentence: Sentence in the source language; "" to measure the heads on `test`; optional with `over_training`.
        test: Files of a corpus. With a sentence and a page, the switches are measured on them; if empty, on the run's
            validation text. With `over_training`, the snapshots are measured on them instead.
        alignments: Reference alignments of `test`, or None.
        page: HTML file to write. If None, a sentence gives a table, `test` writes heads.html, and `over_training`
            writes film.html.
        as_json: Return JSON instead: the arrays of `Attention`, or the data of the other pages.
        device: Device to compute on.
        against: A second sentence: the effect of each activation of `sentence` in its pass; None for none.
        over_training: Whether to show the snapshots of `training.keep_snapshots`.
        translation: Translation to examine; None for the model's own.
        other: A second run, bundle or snapshot of weights to compare with on the page, or None.
        twins: Folder of the results of `allyouneed paper questions` to show; None for those in the package.
        target: Target language of a multilingual model.
    """

    run: Path
    sentence: str = ""
    test: Sequence[Path] = ()
    alignments: Path | None = None
    page: Path | None = None
    as_json: bool = False
    device: str = "auto"
    against: str | None = None
    over_training: bool = False
    translation: str | None = None
    other: Path | None = None
    twins: Path | None = None
    target: str | None = None

    def check(self) -> None:
        """Check the arguments.

        Raises:
            UserError: If they contradict each other, or the page would overwrite an input.
        """
        has_sentence = bool(self.sentence.strip())
        if not has_sentence and not self.test and not self.over_training:
            raise UserError("look needs a sentence, or --test SOURCE TARGET.")
        if has_sentence and self.test and not self.page and not self.over_training:
            raise UserError("a sentence with --test needs a page: add --html FILE, or leave out one of the two.")
        if self.alignments and (not self.test or (has_sentence and not self.over_training)):
            raise UserError("--alignments needs --test, without a sentence.")
        if self.against is not None and not self.against.strip():
            raise UserError("--against is empty: give a second sentence.")
        if self.against and (self.test or self.as_json or self.over_training):
            raise UserError("--against needs a sentence, and neither --test, --json nor --over-training.")
        if self.against and self.translation is not None and not self.page:
            raise UserError("--against translates both sentences itself: remove --translation, or add --html FILE.")
        if self.other and (self.test or self.against or self.over_training or not (has_sentence and self.page)):
            raise UserError(
                "--other needs a sentence and --html FILE, and none of --test, --against and --over-training."
            )
        if self.twins and not (has_sentence and self.page and not self.over_training):
            raise UserError("--twins is shown on the page of a sentence: add --html FILE.")
        if self.translation is not None and not has_sentence:
            raise UserError("--translation needs a sentence.")
        if self.page and self.as_json:
            raise UserError("--json prints data instead of writing a page: remove --html.")
        if output := self._output():
            check_output(output, *self._inputs())

    def _output(self) -> Path | None:
        """Return the page that is written, None if nothing is."""
        if self.page or self.as_json or (self.sentence.strip() and not self.over_training):
            return self.page
        return Path(_FILM if self.over_training else _HEADS)

    def _inputs(self) -> list[Path]:
        """List the files that a page must not replace; earlier pages in the folder of a run are none."""
        folders = [folder for folder in (self.run, self.other) if folder]
        read = [path for folder in folders for path in folder.rglob("*") if path.suffix != ".html"]
        read += [folder / "report.html" for folder in folders]
        given = (self.alignments, self.twins and self.twins / ABLATIONS)
        return [*self.test, *(path for path in given if path), *read]


def look_at(request: LookRequest, console: Console) -> str:
    """Run the command.

    Args:
        request: Its arguments.
        console: Where progress and the name of the written file are reported.

    Returns:
        The table or JSON; "" if a page was written.

    Raises:
        UserError: If arguments contradict each other, a file cannot be read or written, or the text is too long.
    """
    request.check()
    translator = Translator.load(request.run, request.device, target=request.target)
    if request.over_training:
        return _film(translator, request, console)
    if not request.sentence.strip():
        return _corpus_page(translator, request, console)
    if request.page:
        load_twins(request.twins)  # reports a wrong folder before the long computations
        added = _comparisons(translator, request)
        columns, languages = translator.bundle.config.data.columns, translator.bundle.languages
        chosen = columns_for(request.test, columns, languages) if request.test else columns
        text = effect_text(request.run, request.test, chosen)
        with track_progress(console, "variants") as update:
            examples = validation_pairs(request.run, translator)
            sentence = request.sentence, None, request.translation
            data = explorer_data(translator, *sentence, examples, text, request.twins, on_progress=update)
        _write(request.page, html(data | added), console)
        return ""
    if request.against:
        return patching_table(translator, patch_sentences(translator, request.sentence, request.against))
    attention = translator.look(request.sentence, request.translation, stages=False)
    return attention_json(attention) if request.as_json else attention_table(attention)


def _comparisons(translator: Translator, request: LookRequest) -> dict[str, Any]:
    """Compute the parts of the page that need a second sentence or a second run."""
    if request.against:
        return {"patching": sentences_data(translator, request.sentence, request.against)}
    if request.other is None:
        return {}
    other = load_run_or_snapshot(request.other, request.device)
    names = short_names(request.run, request.other)
    pairs = validation_pairs(request.run, translator)
    comparison = comparison_data(translator, other, request.sentence, names, pairs)
    patching = models_data_or_none(translator, other, request.sentence, names)
    return {"comparison": comparison, **({"patching": patching} if patching else {})}


def _corpus_page(translator: Translator, request: LookRequest, console: Console) -> str:
    with track_progress(console, "heads") as update:
        data = corpus_data(translator, request.test, request.alignments, update)
    if request.as_json:
        return json.dumps(data, ensure_ascii=False)
    _write(request.page or Path(_HEADS), corpus_html(data), console, f" ({data['sentences']:,} sentence pairs)")
    return ""


def _film(translator: Translator, request: LookRequest, console: Console) -> str:
    sentence = request.sentence, request.translation
    with track_progress(console, "snapshots") as update:
        data = film_data(translator, request.run, *sentence, request.test, request.alignments, update)
    if request.as_json:
        return film_json(data)
    for line in role_lines(data):
        print_line(console, line)
    _write(request.page or Path(_FILM), film_html(film_page(data)), console, f" ({len(data['frames'])} snapshots)")
    return ""


def _write(path: Path, page: str, console: Console, note: str = "") -> None:
    write_file(path, page)
    print_line(console, f"wrote {path}{note}")


def attention_json(attention: Attention) -> str:
    """Convert to a JSON object: tokens, and weights [layer][head][query][key] with four decimals."""
    weights = {kind: np.round(getattr(attention, kind).astype(float), 4).tolist() for kind in KINDS}
    tokens = ("source_tokens", "target_inputs", "target_tokens")
    return json.dumps({**{name: getattr(attention, name) for name in tokens}, **weights}, ensure_ascii=False)


def attention_table(attention: Attention) -> str:
    """Format a table with one line per head: mean entropy in nats and the largest weight.

    A query of the decoder is named after its input token, followed by the token that it predicts.
    """
    predicting = [
        f"{token} (next {following})"
        for token, following in zip(attention.target_inputs, attention.target_tokens, strict=True)
    ]
    sides = {
        "encoder": (attention.source_tokens, attention.source_tokens),
        "decoder": (predicting, attention.target_inputs),
        "cross": (predicting, attention.source_tokens),
    }
    lines = [f"{' '.join(attention.source_tokens)}\n{' '.join(attention.target_tokens)}\n"]
    lines += [f"{'attention':<16}{'layer':>6}{'head':>5}{'entropy':>9}  strongest"]
    for kind in KINDS:
        weights: np.ndarray = getattr(attention, kind)
        queries, keys = sides[kind]
        entropy = entropies(weights)
        for layer, head in np.ndindex(entropy.shape):
            query, key = np.unravel_index(weights[layer, head].argmax(), weights.shape[2:])
            strongest = f"{queries[query]} → {keys[key]} {weights[layer, head, query, key]:.2f}"
            lines.append(f"{_NAMES[kind]:<16}{layer + 1:>6}{head + 1:>5}{entropy[layer, head]:>9.2f}  {strongest}")
    return "\n".join(lines)
