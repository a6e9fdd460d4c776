"""The command `allyouneed look`: attention of one sentence, or statistics of all heads over a corpus."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from allyouneed.errors import UserError
from allyouneed.files import check_output, write_file
from allyouneed.insight.corpus_heads import corpus_data
from allyouneed.insight.explorer import explorer_data
from allyouneed.insight.page import corpus_html, html
from allyouneed.insight.variant import entropies
from allyouneed.model.probe import KINDS
from allyouneed.progress import print_line, track_progress
from allyouneed.translation.alignment import Attention
from allyouneed.translation.translator import Translator

_NAMES = {"encoder": "encoder self", "decoder": "decoder self", "cross": "encoder-decoder"}


def look_at(
    translator: Translator,
    sentence: str,
    test: Sequence[Path],
    alignments: Path | None,
    page: Path | None,
    console: Console,
    as_json: bool = False,
) -> str:
    """Run the command.

    Args:
        translator: Translator whose model is examined.
        sentence: Sentence in the source language, or "" with `test`.
        test: Files of a corpus; empty for a sentence.
        alignments: Reference alignments of `test`, or None.
        page: HTML file to write. If None, a sentence gives a table, and `test` writes heads.html.
        console: Where progress and the name of the written file are reported.
        as_json: Return JSON instead: the arrays of `Attention`, or the data of the corpus page.

    Returns:
        The table or JSON; "" if a page was written.

    Raises:
        UserError: If arguments contradict each other, a file cannot be read or written, or the text is too long.
    """
    if bool(sentence.strip()) == bool(test):
        raise UserError("look needs either a sentence or --test SOURCE TARGET.")
    if alignments and not test:
        raise UserError("--alignments needs --test.")
    if page and as_json:
        raise UserError("--json prints data instead of writing a page: remove --html.")
    if page:
        check_output(page, *test, *([alignments] if alignments else []))
    if test:
        with track_progress(console, "heads") as update:
            data = corpus_data(translator, test, alignments, update)
        if as_json:
            return json.dumps(data, ensure_ascii=False)
        page = page or Path("heads.html")
        write_file(page, corpus_html(data))
        print_line(console, f"wrote {page} ({data['sentences']:,} sentence pairs)")
        return ""
    if page:
        with track_progress(console, "variants") as update:
            data = explorer_data(translator, sentence, on_progress=update)
        write_file(page, html(data))
        print_line(console, f"wrote {page}")
        return ""
    attention = translator.look(sentence, stages=False)
    return attention_json(attention) if as_json else attention_table(attention)


def attention_json(attention: Attention) -> str:
    """Convert to a JSON object: tokens, and weights [layer][head][query][key] with four decimals."""
    weights = {kind: np.round(getattr(attention, kind).astype(float), 4).tolist() for kind in KINDS}
    tokens = ("source_tokens", "target_inputs", "target_tokens")
    return json.dumps({**{name: getattr(attention, name) for name in tokens}, **weights}, ensure_ascii=False)


def attention_table(attention: Attention) -> str:
    """Format a table with one line per head: mean entropy in nats and the largest weight."""
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
