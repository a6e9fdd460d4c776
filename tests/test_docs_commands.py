"""The commands that the pages show are run, in order, each page in a folder that has the files they name.

The translator is a stored one that reverses letters, the text is a few lines. Trainings take three steps, which teach
nothing: what they made gives way to the stored translator. Not run here: commands that listen, go on with what Ctrl-C
ended, or take minutes whatever is asked (they have tests of their own).
"""

from __future__ import annotations

import io
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from allyouneed.bundle import load_bundle
from allyouneed.cli import app
from allyouneed.errors import UserError
from allyouneed.exchange.marian import export_marian
from allyouneed.terminal import spread
from tests.compat import POST_NORM
from tests.conftest import TOY, toy_pairs
from tests.pages import DOCS, commands

LINES = {"train": 120, "mine": 120, "both": 120, "mixed": 120}
STEPS = ["training.steps=3", "training.validate_every=2", "training.average_every=1", "training.bleu_sentences=2"]
FEW = ["training.batch_tokens=400", "search.max_extra_length=5", "training.device=cpu", *STEPS]
MODEL = [setting for setting in TOY if setting.startswith(("model.", "data."))]
RUNS, EXPORTS = r"RUN-?\d?|BACK|START|STUDENT|runs/quickstart|DIR|CT2", r"DIR|CT2.*|HF|ARGOS|RUN-?\d?|START"
LEFT_OUT = ("quickstart", "paper")
NOT_HERE = ("int8 needs a processor", "pip install")  # what a machine may lack


def is_run(command: str) -> bool:
    listens = command.startswith("serve") and "--add-key" not in command
    return not (listens or command.startswith(LEFT_OUT) or "--resume" in command or "cuda" in command)


def small(arguments: list[str]) -> list[str]:
    """A training with few steps of a small model, whatever time it was given."""
    if arguments[0] not in ("train", "distil"):
        return arguments
    if "--minutes" in arguments:
        place = arguments.index("--minutes")
        arguments = arguments[:place] + arguments[place + 2 :]
    settings = FEW if "--start-from" in arguments else [*MODEL, *FEW]
    return arguments + [part for setting in settings for part in ("--set", setting)]


def trained(arguments: list[str]) -> str | None:
    """The RUN that a training makes."""
    return arguments[arguments.index("--out") + 1] if "--out" in arguments else None


def furnish(folder: Path, arguments: list[str]) -> None:
    """What a command reads is put into the folder, unless an earlier one wrote it; what it makes anew is taken away."""
    made = trained(arguments)
    if arguments[0] in ("export", "import"):
        made = next(each for each in reversed(arguments) if re.fullmatch(EXPORTS, each))
        shutil.rmtree(folder / made, ignore_errors=True)
    for each in {*arguments} - {made}:
        if (folder / each).exists():
            continue
        if re.fullmatch(RUNS, each):
            shutil.copytree(POST_NORM, folder / each)
        elif arguments[0] == "import" and each == arguments[2]:
            export_marian(load_bundle(POST_NORM), folder / each)
        elif text := re.fullmatch(r"(\w+)\.(de|en|ko|sw)", each):
            pairs, side = toy_pairs(LINES.get(text[1], 6)), int(text[2] == "en")
            (folder / each).write_text("".join(f"{pair[side]}\n" for pair in pairs), encoding="utf-8")


@pytest.mark.parametrize("page", [*(page for page in DOCS if commands(page)), "README.md", "README.ko.md"])
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in filter(is_run, commands(page)):
        arguments = small(shlex.split(command))
        furnish(tmp_path, arguments)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b c\n"), encoding="utf-8"))
        said = ""
        try:
            code = get_command(app).main(args=spread(arguments), standalone_mode=False)
        except UserError as error:
            code, said = None, str(error)
        assert not said or any(reason in said for reason in NOT_HERE), f"{command}: {said}"
        assert not code, command
        if run := trained(arguments):
            shutil.rmtree(run)
