"""A complete example in minutes: make a synthetic corpus, train a translator, evaluate it and translate with it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from allyouneed.config import load_recipe
from allyouneed.data.corpora import corpus
from allyouneed.data.synthetic import DatePair, make_dates
from allyouneed.files import write_file
from allyouneed.progress import print_line
from allyouneed.training.request import Request
from allyouneed.training.train import train
from allyouneed.translation.evaluation.evaluator import evaluate
from allyouneed.translation.translator import Translator

_EXAMPLES = ("2026년 11월 22일 일요일", "이천이십육년 십일월 이십이일", "'26. 11. 22.(일)", "1987.6.29")
_EXPECTED = 95.0  # percent exact match
_DURATIONS = ("training.minutes", "training.steps")


def run_quickstart(out: Path, settings: Sequence[str], console: Console, program: str) -> None:
    """Train, evaluate and translate; print results, for example `exact match 99.1 %`, to standard output.

    Args:
        out: Folder of the run; the corpus is written next to it.
        settings: Overrides `SECTION.NAME=VALUE`.
        console: Where progress is shown.
        program: The command that the user types for `allyouneed`.

    Raises:
        UserError: If a setting is invalid, or the disk is full.
        Interrupted: If a signal stopped the training.
    """
    text = Path(f"{out}-text")
    dates = make_dates()
    files = {name: _write(text / f"{name}.tsv", getattr(dates, name)) for name in ("train", "valid", "test")}
    print_line(console, f"generated dates in Korean and English: {len(dates.train):,} training pairs in {text}")
    request = Request([corpus(files["train"])], [corpus(files["valid"])], out, ("ko", "en"), "dates", settings)
    outcome = train(request, console)
    outcome.raise_if_interrupted()
    translator = Translator.load(out)
    scores = evaluate(translator, [files["test"]])
    for translation in translator.translate(_EXAMPLES):
        print(f"{translation.source}  →  {translation.text}")
    print(_next_steps(program, out, text))
    print(f"BLEU {scores.bleu:.1f}  {scores.bleu_signature}  on {scores.sentences:,} dates not in the training text")
    if scores.exact_match < _EXPECTED:
        print(_under_trained(program, out, settings, outcome.ending))
    print(f"exact match {scores.exact_match:.1f} %")


def _write(path: Path, pairs: Sequence[DatePair]) -> Path:
    write_file(path, "".join(f"{pair.source}\t{pair.target}\n" for pair in pairs))
    return path


def _under_trained(program: str, out: Path, settings: Sequence[str], ending: str) -> str:
    minutes = load_recipe("dates").override(settings).training.minutes or 0.0
    others = [each for each in settings if each.partition("=")[0].strip() not in _DURATIONS]
    longer = [f"training.minutes={max(5.0, 2 * minutes):g}", *others]
    options = ["quickstart", "--out", str(out), *(part for each in longer for part in ("--set", each))]
    return f"""
This translator is under-trained: training {ending}.
In 1.5 minutes, two idle cores take about 1,000 steps, which give an exact match of 99 %. Continue the training for more
minutes, when the machine is less busy:
  {program} {shlex.join(options)}
"""


def _next_steps(program: str, out: Path, text: Path) -> str:
    return f"""
Try next:
  echo "2024년 2월 29일 목요일" | {program} translate {shlex.quote(str(out))}
  {program} evaluate {shlex.quote(str(out))} --test {shlex.quote(str(text / "test.tsv"))}
  {out / "report.html"} in a browser: curves, samples, settings
  with your own text: {program} train --from de --to en --train train.de train.en --minutes 30 --out RUN
"""
