"""Tokens of a text with tokenizers that were trained with different limits of `data.tokenizer_characters`.

    python -m benchmarks.tokenizer_text CORPUS.tsv ... [--limits 10000000 200000 100000] [--vocab-size 8000]

One pair in 20 is not trained on, and encoded. A limit that costs nothing gives the same number of tokens.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from allyouneed.data.files.formats import read_pairs
from allyouneed.data.tokens.text_counts import TextCounts
from allyouneed.data.tokens.tokenizer_training import learn_from_counts

EVERY = 20
KINDS = "bpe", "unigram"


def main() -> None:
    """Print a Markdown table with a row for each corpus and kind of tokenizer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpora", type=Path, nargs="+", help="files with both sides")
    parser.add_argument("--limits", type=int, nargs="+", default=[10_000_000, 200_000, 100_000])
    parser.add_argument("--vocab-size", type=int, default=8000)
    arguments = parser.parse_args()
    limits = arguments.limits
    print(f"| corpus | kind | {' | '.join(f'{limit:,}' for limit in limits)} |\n| --- | --- |{' ---: |' * len(limits)}")
    for path in arguments.corpora:
        texts = [text for pair in read_pairs([path]) if not pair.fault for text in (pair.source, pair.target)]
        for kind in KINDS:
            counts = [tokens(texts, kind, limit, arguments.vocab_size) for limit in limits]
            cells = " | ".join(f"{count:,} ({count / counts[0] - 1:+.2%})" for count in counts)
            print(f"| {path.name} | {kind} | {cells} |", flush=True)


def tokens(texts: list[str], kind: str, limit: int, vocab_size: int) -> int:
    """Train on most of the texts, and return the number of tokens of the others."""
    counts = TextCounts(kind, limit)
    for index, text in enumerate(texts):
        if index // 2 % EVERY:
            counts.add(text)
    tokenizer = learn_from_counts(counts, vocab_size, kind, 0.9999, adjustable=True)
    held_out = [text for index, text in enumerate(texts) if not index // 2 % EVERY]
    return sum(map(len, tokenizer.encode_all(held_out)))


if __name__ == "__main__":
    main()
