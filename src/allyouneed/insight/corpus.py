"""The page of heads over a corpus, and its data: what every head looks at, and what is lost without it.

format, sentences, model        as `explorer.py`; aligner: with what AER compares, in words, or null
heads       a row each: kind, layer, head (from 0), `heads.MEASURES`, aer or null, importance, examples
examples    {number: {source, target}}: subwords of the sentences that rows' examples name
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from allyouneed.data.corpus import count_pairs
from allyouneed.data.formats import read_pairs
from allyouneed.data.tokenizer import EOS
from allyouneed.data.vocabulary import AnyTokenizer
from allyouneed.errors import UserError
from allyouneed.insight.aligner import align_words, read_alignments
from allyouneed.insight.explorer import FORMAT, model_facts
from allyouneed.insight.heads import IMPORTANCE_SENTENCES, head_row, importance, measure_heads
from allyouneed.insight.switches import all_heads
from allyouneed.insight.words import Sentence, split_sentence
from allyouneed.translation.translator import Translator

SENTENCES = 1000  # of the corpus that are measured, from its beginning
_OWN_ALIGNER = "IBM model 1 with a pull to the diagonal, learned on this text"


def corpus_data(
    translator: Translator,
    test: Sequence[Path],
    alignments: Path | None = None,
    told: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """test: two files or one TSV; its first `SENTENCES` pairs count, those too long for the model left out.

    alignments: links in Pharaoh's form, a line a pair, words as between spaces with punctuation apart; without it those
    of a small aligner. told: hears how many heads have been off, of how many. Errors: `UserError`.
    """
    if count_pairs(test) == 0:
        raise UserError(f"{test[0]}: the file is empty.")
    numbered = _pairs(translator, test)
    if not numbered:
        raise UserError(f"{test[0]}: no pair has both sides and fits the model ({translator.longest_source} subwords).")
    pairs = [pair for _, pair in numbered]
    if alignments:
        given = read_alignments(alignments, numbered[-1][0] + 1)
        gold = [given[line] for line, _ in numbered]
    else:
        gold = align_words([(source.words[:-1], target.words[:-1]) for source, target in pairs])
    tallies = measure_heads(translator.model, pairs, translator.tokenizer)
    lost = importance(translator.model, pairs[:IMPORTANCE_SENTENCES], told)
    rows = [
        {
            "kind": kind,
            "layer": layer,
            "head": head,
            **head_row(tallies[kind], layer, head, gold),
            "importance": round(lost[kind, layer, head], 4),
        }
        for kind, layer, head in all_heads(translator.model)
    ]
    shown = sorted({example["sentence"] for row in rows for example in row["examples"]})
    of_source, of_target = _tokenizers(translator)
    return {
        "format": FORMAT,
        "sentences": len(pairs),
        "importance_sentences": min(len(pairs), IMPORTANCE_SENTENCES),
        "model": model_facts(translator.model),
        "aligner": alignments.name if alignments else _OWN_ALIGNER,
        "heads": rows,
        "examples": {
            number: {"source": of_source.pieces(pairs[number][0].ids), "target": of_target.pieces(pairs[number][1].ids)}
            for number in shown
        },
    }


def _tokenizers(translator: Translator) -> tuple[AnyTokenizer, AnyTokenizer]:
    """Of source and target."""
    return translator.tokenizer, translator.tokenizer.target


def _pairs(translator: Translator, test: Sequence[Path]) -> list[tuple[int, tuple[Sentence, Sentence]]]:
    """The number of each line, from 0, and its pair."""
    languages, room = translator.bundle.languages, translator.longest_source
    kept = []
    for line, pair in enumerate(read_pairs(test, translator.bundle.config.data.columns)):
        if line >= SENTENCES:
            break
        if pair.fault:
            raise UserError(f"{test[0]}:{pair.line}: {pair.fault}. Mend the line.")
        sides = zip(_tokenizers(translator), (pair.source, pair.target), languages, strict=True)
        source, target = (split_sentence(tokenizer, text.strip(), language) for tokenizer, text, language in sides)
        if all(1 < len(side.ids) <= room and side.ids[-1] == EOS for side in (source, target)):
            kept.append((line, (source, target)))
    return kept
