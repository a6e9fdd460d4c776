"""Options of commands derived from `SearchOptions`: names, help in groups, completion, messages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from allyouneed.cli import app
from allyouneed.translation.options import SearchOptions, option_of

SCRIPT = Path(sys.executable).with_name("allyouneed")


def help_of(*verb: str) -> str:
    done = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "80"})
    assert done.exit_code == 0
    return done.output


def completions(words: str) -> list[str]:
    environment = {"_ALLYOUNEED_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    return subprocess.run(
        [SCRIPT], env={**os.environ, **environment}, capture_output=True, text=True
    ).stdout.split()  # fmt: skip


def test_every_field_has_an_option_in_its_group():
    text = help_of("translate")
    groups = {part.split(":", 1)[0]: part for part in text.split("\n\n")}
    headings = [name for name in groups if name[0] != " " and "Usage" not in name]
    before, after = ["Arguments", "Input and output", "Documents"], ["Terms and protection", "Options"]
    assert headings == [*before, "Search", "Constraints", "Sampling", "Speed", *after]
    for name in SearchOptions.model_fields:
        option = option_of(name)
        if option.flag != "":
            flag = option.flag or f"--{name.replace('_', '-')}"
            shown = flag.replace("/", " / ")
            assert re.search(rf"  {re.escape(shown)}\s", groups[option.group]), name
    assert max(map(len, text.splitlines())) <= 80


def test_options_are_derived_only_when_needed():
    """Building all commands, as `allyouneed --help` does, loads no pydantic."""
    code = "import sys, allyouneed.cli as cli, typer.main as main; main.get_command(cli.app); "
    assert subprocess.run([sys.executable, "-c", code + "sys.exit('pydantic' in sys.modules)"]).returncode == 0


def test_a_command_may_have_some_of_the_fields():
    text = help_of("evaluate")
    assert "--beam-size" in text
    assert "--nbest" not in text


@pytest.mark.parametrize("verb", ["translate", "evaluate"])
def test_values_are_completed(verb):
    assert completions(f"allyouneed {verb} --device ") == ["auto", "cpu", "cuda"]
    assert completions(f"allyouneed {verb} --compute-type i") == ["int8"]
    assert "--beam-size" in completions(f"allyouneed {verb} --beam")


def test_messages_name_the_option(command, toy_run):
    for arguments, message in (
        (("--beam-size", 0), "'--beam-size': must be at least 1. See "),
        (("--repetition-penalty", 0), "'--repetition-penalty': must be more than 0. See "),
        (("--sampling-topp", "nan"), "'--sampling-topp': must be a finite number. See "),
        (("--suppress", "a\udcff"), "'--suppress': not valid UTF-8. See "),
        (("--seed", "x"), "'--seed': "),
        (("--sampling-topk", 5, "--beam-size", 2), "error: sampling with beam_size = 2: "),
        (("--min-decoding-length", 5, "--max-decoding-length", 2), "error: max_decoding_length = 2: choose at least"),
    ):
        code, out, errors = command("translate", toy_run, *arguments)
        assert (code, out, errors.count("\n")) == (2, "", 1)
        assert message in errors
