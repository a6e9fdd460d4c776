"""Learning drafts from the translations that a model itself makes of some text; see `draft_memory.py`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

from allyouneed.bundle import find_bundle, load_bundle, save_bundle
from allyouneed.data.files.lines import read_text
from allyouneed.errors import UserError
from allyouneed.files import intended_name
from allyouneed.translation.draft_memory import MAX_PAIRS, learn_drafts
from allyouneed.translation.options import SearchOptions
from allyouneed.translation.translator import Translator

_FEWEST = 100  # sentences
_BLOCK = 2000  # sentences translated between two messages


def store_drafts(translator: Translator, run: Path, text: Path, report: Callable[[str], None]) -> None:
    """Translate text greedily, learn drafts from it, and store them in the translator's bundle.

    Args:
        translator: The translator of the bundle.
        run: The RUN or bundle.
        text: Text of the source language, one sentence per line.
        report: Called with messages about progress.

    Raises:
        UserError: If the text cannot be read or is short, or the bundle cannot be written.
    """
    lines = list(islice(filter(str.strip, read_text(text)), MAX_PAIRS))
    if len(lines) < _FEWEST:
        raise UserError(f"{text}: {len(lines)} lines of text; drafts are learned from at least {_FEWEST}. Add text.")
    options, tokenizer = SearchOptions(beam_size=1, return_scores=False), translator.tokenizer
    sources, targets = list[list[int]](), list[list[int]]()
    for begin in range(0, len(lines), _BLOCK):
        for found in translator.translate(lines[begin : begin + _BLOCK], options):
            sources.append(tokenizer.encode(found.source))
            targets.append(tokenizer.target.encode(found.text))
        report(f"translated {len(targets):,} of {len(lines):,} lines")
    bundle = replace(load_bundle(run), drafts=learn_drafts(tokenizer, sources, targets).tensors())
    current = find_bundle(run)
    folder = current.with_name(intended_name(current.name))
    save_bundle(bundle, folder)
    size = sum(table.numel() * table.element_size() for table in bundle.drafts.values()) / 1e6
    report(f"{folder}: stored drafts of {size:.1f} MB")
