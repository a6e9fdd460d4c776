"""Run the commands that the pages show, in order, each page in a folder with the files that its commands name.

RUN is a stored translator that reverses letters, and the text is a few lines. Training commands take three steps; the
untrained result is then replaced by the stored translator. Commands that listen on a port, resume after Ctrl-C or
always take minutes are not run here; they have their own tests.
"""

from __future__ import annotations

import gzip
import io
import re
import shlex
import shutil
import sys
import zipfile
from pathlib import Path

import pytest
from typer.main import get_command

from allyouneed.cli import app
from allyouneed.errors import UserError
from allyouneed.terminal import expand_options
from tests.compat import POST_NORM
from tests.conftest import HANGUL, TOY, toy_pairs
from tests.exchange.named import write_model
from tests.pages import DOCS, commands

OWN_MODEL = """import allyouneed
def Transformer():
    return allyouneed.Transformer(allyouneed.ModelConfig(d_model=16, d_ff=32, num_heads=2, encoder_layers=1), 30)
"""
DOCUMENTS = {
    "page.html": "<p>a <b>b</b> c</p>\n",
    "app.po": 'msgid ""\nmsgstr "Content-Type: text/plain; charset=UTF-8\\n"\n\nmsgid "a b %s"\nmsgstr ""\n',
    "terms.tsv": "a\tb\n",
}
CORPORA = ("memory.tmx.gz", "europarl.zip", "own/")
LINES = {"train": 120, "talks": 240, "mine": 120, "both": 120, "mixed": 120}
STEPS = ["training.steps=3", "training.validate_every=2", "training.average_every=1", "training.bleu_sentences=2"]
FEW = ["training.batch_tokens=400", "search.max_extra_length=5", "training.device=cpu", *STEPS]
MODEL = [setting for setting in TOY if setting.startswith(("model.", "data."))]
RUNS, EXPORTS = r"RUN-?\w?|BACK|START|STUDENT|runs/quickstart|DIR|CT2", r"DIR|CT2.*|HF|ARGOS|MARIAN|RUN-?\w?|START"
SKIPPED = ("quickstart", "paper")
# Messages for what the machine or the prepared RUN may lack.
UNAVAILABLE = ("int8 needs a processor", "pip install", "no snapshots were kept", "To download the test set")


def is_run(command: str) -> bool:
    is_server = command.startswith("serve") and "--add-key" not in command
    names_target = " --to " in command and not command.startswith("train")  # the stored translator has one direction
    return not (is_server or names_target or command.startswith(SKIPPED) or "--resume" in command or "cuda" in command)


def shortened(arguments: list[str]) -> list[str]:
    """Reduce a training command to a few steps of a small model, without a time budget."""
    if arguments[0] not in ("train", "distil"):
        return arguments
    if "--minutes" in arguments:
        position = arguments.index("--minutes")
        arguments = arguments[:position] + arguments[position + 2 :]
    settings = FEW if "--start-from" in arguments else [*MODEL, *FEW]
    if arguments[0] == "distil":
        settings = [*settings, "data.faults=warn"]  # the prepared teacher's languages are not those of the page
    return arguments + [part for setting in settings for part in ("--set", setting)]


def trained_run(arguments: list[str]) -> str | None:
    """Return the RUN that a training command creates."""
    is_training = "--out" in arguments and arguments[0] != "backtranslate"
    return arguments[arguments.index("--out") + 1] if is_training else None


def write_corpus(path: Path) -> None:
    """Write toy pairs as a compressed TMX file, as OPUS's ZIP archive of two files, or as a folder with a TSV file."""
    pairs = toy_pairs(240)
    if path.name.endswith(".tmx.gz"):
        variant = '<tuv xml:lang="{}"><seg>{}</seg></tuv>'.format
        units = "".join(f"<tu>{variant('de', source)}{variant('en', target)}</tu>" for source, target in pairs[:120])
        path.write_bytes(gzip.compress(f"<tmx version='1.4'><header/><body>{units}</body></tmx>".encode()))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for side, code in enumerate(("de", "en")):
                archive.writestr(f"Europarl.de-en.{code}", "".join(f"{pair[side]}\n" for pair in pairs[120:180]))
    else:
        path.mkdir()
        (path / "a.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in pairs[180:]), encoding="utf-8")


def model_paths(arguments: list[str]) -> list[str]:
    """Return the paths of the model in `import FORMAT PATH... RUN`, with options anywhere."""
    options = {position for position, each in enumerate(arguments) if each.startswith("--")}
    given = [each for position, each in enumerate(arguments) if not {position, position - 1} & options]
    return given[2:-1]


def prepare(folder: Path, arguments: list[str]) -> None:
    """Create a command's input files unless an earlier command wrote them, and remove its output folder."""
    output = trained_run(arguments)
    if arguments[0] in ("export", "import"):
        output = next(each for each in reversed(arguments) if re.fullmatch(EXPORTS, each))
        shutil.rmtree(folder / output, ignore_errors=True)
    if arguments[0] == "import":
        missing = [folder / each for each in model_paths(arguments) if not (folder / each).exists()]
        write_model(arguments[1], missing)
    for each in {*arguments} - {output}:
        if (folder / each).exists():
            continue
        if re.fullmatch(RUNS, each):
            shutil.copytree(POST_NORM, folder / each)
        elif arguments[0] == "info" and each != "info":
            write_model("marian", [folder / each])
        elif own := re.fullmatch(r"(\w+\.py):\w+", each):
            (folder / own[1]).write_text(OWN_MODEL, encoding="utf-8")
        elif each == "val.tsv":
            (folder / each).write_text("".join("{}\t{}\n".format(*pair) for pair in toy_pairs(6)), encoding="utf-8")
        elif each in DOCUMENTS:
            (folder / each).write_text(DOCUMENTS[each], encoding="utf-8")
        elif each in CORPORA:
            write_corpus(folder / each)
        elif each == "big.en.gz":
            (folder / each).write_bytes(gzip.compress("".join(f"{pair[1]}\n" for pair in toy_pairs(6)).encode()))
        elif each == "letters":
            (folder / each).mkdir()
            (folder / each / "a.txt").write_text("a b\n", encoding="utf-8")
        elif text := re.fullmatch(r"(\w+)\.(de|en|ko|sw)", each):
            pairs, side = toy_pairs(LINES.get(text[1], 6)), int(text[2] == "en")
            content = "".join(f"{pair[side]}\n" for pair in pairs)
            in_korean = text[2] == "ko" and text[1] in (*LINES, "val")  # others are input of the prepared translator
            (folder / each).write_text(content.translate(HANGUL) if in_korean else content, encoding="utf-8")


def is_translated(page: str) -> bool:
    """Return whether a page shows the commands of its English original, which are run there."""
    return page.endswith(".ko.md") and commands(page) == commands(page.replace(".ko.md", ".md"))


@pytest.mark.parametrize(
    "page", [page for page in (*DOCS, "README.md", "README.ko.md") if commands(page) and not is_translated(page)]
)
def test_commands_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for command in filter(is_run, commands(page)):
        arguments = shortened(shlex.split(command))
        prepare(tmp_path, arguments)
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a b c\n"), encoding="utf-8"))
        message = ""
        try:
            code = get_command(app).main(args=expand_options(arguments), standalone_mode=False)
        except UserError as error:
            code, message = None, str(error)
        assert not message or any(reason in message for reason in UNAVAILABLE), f"{command}: {message}"
        assert not code, command
        if run := trained_run(arguments):
            shutil.rmtree(run)
