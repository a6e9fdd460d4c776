"""Data of the page about heads over a corpus: what each head attends to, and the loss without it.

format, model           as in `explorer.py`
sentences               number of sentence pairs; importance_sentences: number used for importance
aligner                 name of the reference alignment for AER
heads                   one row per head: kind, layer, head (from 0), `heads.MEASURES` (null where undefined), aer or
                        null, importance, examples
examples                {number: {source, target}}: tokens of the sentences that the rows' examples refer to
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from allyouneed.data.corpus import count_pairs
from allyouneed.data.files.formats import columns_for, read_pairs
from allyouneed.data.tokens.tokenizer import EOS
from allyouneed.data.tokens.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.explorer import FORMAT, model_facts
from allyouneed.insight.statistics.aligner import align_words, links_of_pairs
from allyouneed.insight.statistics.heads import IMPORTANCE_SENTENCES, head_row, importance, measure_heads
from allyouneed.insight.variants.switches import all_heads
from allyouneed.insight.words import Sentence, split_sentence
from allyouneed.translation.translator import Translator

SENTENCES = 1000  # maximum number of sentence pairs, from the beginning of the corpus
BUILT_IN_ALIGNER = "IBM model 1 with a diagonal prior, trained on this corpus"


def corpus_data(
    translator: Translator,
    test: Sequence[Path],
    alignments: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Measure all heads on the first `SENTENCES` pairs of a corpus, except those too long for the model.

    Args:
        translator: Translator whose model is measured.
        test: Two text files, or one TSV file.
        alignments: Reference alignment in Pharaoh format, one line per pair, for words split at spaces with punctuation
            split off; None for the built-in aligner.
        on_progress: Called with the number of heads whose importance is measured and their total.

    Returns:
        The JSON object described above.

    Raises:
        UserError: If a file cannot be read, a line is malformed, or no pair can be measured.
    """
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    numbered = read_pairs_of(translator, test)
    if not numbered:
        raise UserError(
            f"{test[0]}: no pair has two non-empty sides of at most {translator.longest_source} tokens. "
            "Give other text."
        )
    pairs = [pair for _, pair in numbered]
    if alignments:
        gold = links_of_pairs(alignments, numbered)
    else:
        gold = align_words([(source.words[:-1], target.words[:-1]) for source, target in pairs])
    sums = measure_heads(translator.model, pairs, translator.tokenizer)
    increases = importance(translator.model, pairs[:IMPORTANCE_SENTENCES], on_progress)
    rows = [
        {
            "kind": kind,
            "layer": layer,
            "head": head,
            **head_row(sums[kind], kind, layer, head, gold),
            "importance": round(increases[kind, layer, head], 4),
        }
        for kind, layer, head in all_heads(translator.model)
    ]
    shown = sorted({example["sentence"] for row in rows for example in row["examples"]})
    source_tokenizer, target_tokenizer = _tokenizers(translator)
    return {
        "format": FORMAT,
        "sentences": len(pairs),
        "importance_sentences": min(len(pairs), IMPORTANCE_SENTENCES),
        "model": model_facts(translator.model),
        "aligner": alignments.name if alignments else BUILT_IN_ALIGNER,
        "heads": rows,
        "examples": {
            number: {
                "source": source_tokenizer.pieces(pairs[number][0].ids),
                "target": target_tokenizer.pieces(pairs[number][1].ids),
            }
            for number in shown
        },
    }


def _tokenizers(translator: Translator) -> tuple[AnyTokenizer, AnyTokenizer]:
    """Return the tokenizers of source and target."""
    return translator.tokenizer, translator.tokenizer.target


def read_pairs_of(translator: Translator, test: Sequence[Path]) -> list[tuple[int, tuple[Sentence, Sentence]]]:
    """Read sentence pairs, each with the index of its line, from 0."""
    kept = []
    bundle = translator.bundle
    columns = columns_for(test, bundle.config.data.columns, bundle.languages)
    for pair in islice(read_pairs(test, columns), SENTENCES):
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Correct the line.")
        if usable := usable_pair(translator, pair.source, pair.target):
            kept.append((pair.line - 1, usable))
    return kept


def usable_pair(translator: Translator, source: str, target: str) -> tuple[Sentence, Sentence] | None:
    """Split a pair into tokens and words; None if a side is empty or too long for the model."""
    tokenizers, limit = _tokenizers(translator), translator.longest_source
    sides = zip(tokenizers, (source, target), translator.bundle.languages, strict=True)
    first, second = (split_sentence(tokenizer, text.strip(), language) for tokenizer, text, language in sides)
    usable = all(1 < len(side.ids) <= limit and side.ids[-1] == EOS for side in (first, second))
    return (first, second) if usable else None
