"""Train from Python as `allyouneed train` does, on generated dates in Korean and English.

    python examples/train.py RUN [SECTION.NAME=VALUE ...]

Running the same command again resumes an interrupted training.
"""

import sys
from pathlib import Path

import allyouneed
from allyouneed.data.synthetic import make_dates

if len(sys.argv) < 2:
    sys.exit(f"usage: python {sys.argv[0]} RUN [SECTION.NAME=VALUE ...]")
run, settings = Path(sys.argv[1]), sys.argv[2:]
text = Path(f"{run}-text")
text.mkdir(parents=True, exist_ok=True)
dates = make_dates()
for name in ("train", "valid", "test"):
    lines = [f"{pair.source}\t{pair.target}\n" for pair in getattr(dates, name)]
    (text / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")

train, valid, test = (text / f"{name}.tsv" for name in ("train", "valid", "test"))
result = allyouneed.train(
    source="ko", target="en", train=train, valid=valid, out=run, recipe="dates", settings=settings
)
print(f"validation BLEU {result.scores['bleu']:.1f}")

scores = allyouneed.evaluate(result.bundle, [test])
print(f"exact match {scores.exact_match:.1f} % of {scores.sentences:,} unseen dates")
