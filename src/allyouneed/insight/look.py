"""`allyouneed look`: a page of one sentence, or of all heads over a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from allyouneed.errors import UserError
from allyouneed.files import check_output, write_file
from allyouneed.insight.corpus import corpus_data
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import corpus_html, html
from allyouneed.insight.variant import entropies
from allyouneed.model.probe import KINDS
from allyouneed.progress import track_progress
from allyouneed.translation.alignment import Attention
from allyouneed.translation.translator import Translator

_NAMES = {"encoder": "encoder self", "decoder": "decoder self", "cross": "encoder-decoder"}


def look_at(
    translator: Translator, sentence: str, test: Sequence[Path], alignments: Path | None, page: Path | None,
    console: Console, as_json: bool = False,
) -> str:  # fmt: skip
    """Writes the page and says where; without one, gives a table for the terminal, or of a corpus writes heads.html.

    as_json: gives JSON instead, the arrays of `Attention` or what the page of a corpus shows. Errors: `UserError`.
    """

    def say(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    if bool(sentence.strip()) == bool(test):
        raise UserError("look takes a sentence or --test SOURCE TARGET, one of them.")
    if alignments and not test:
        raise UserError("--alignments goes with --test.")
    if page and as_json:
        raise UserError("--json prints instead of writing a page: leave --html out.")
    if page:
        check_output(page, *test, *([alignments] if alignments else []))
    if test:
        with track_progress(console, "heads off") as told:
            data = corpus_data(translator, test, alignments, told)
        if as_json:
            return json.dumps(data, ensure_ascii=False)
        page = page or Path("heads.html")
        write_file(page, corpus_html(data))
        say(f"{data['sentences']:,} sentences; written: {page}")
        return ""
    if page:
        with track_progress(console, "switches") as told:
            data = explorer_data(translator, sentence, told=told)
        write_file(page, html(data))
        say(f"written: {page}")
        return ""
    attention = translator.look(sentence, stages=False)
    return attention_json(attention) if as_json else attention_table(attention)


def attention_json(attention: Attention) -> str:
    """Tokens and weights of every head, [layer][head][query][key], as one JSON object; four digits of a weight."""
    weights = {kind: np.round(getattr(attention, kind).astype(float), 4).tolist() for kind in KINDS}
    tokens = ("source_tokens", "target_inputs", "target_tokens")
    return json.dumps({**{name: getattr(attention, name) for name in tokens}, **weights}, ensure_ascii=False)


def attention_table(attention: Attention) -> str:
    """A line a head: its entropy in nats, and the strongest line of it."""
    sides = {
        "encoder": (attention.source_tokens, attention.source_tokens),
        "decoder": (attention.target_tokens, attention.target_inputs),
        "cross": (attention.target_tokens, attention.source_tokens),
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
