"""The examples of docs/exchange.md: Python code gives the expected translation, commands exist."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from allyouneed import Translator, exchange
from allyouneed.bundle import save_bundle
from allyouneed.cli import app
from allyouneed.terminal import expand_options
from tests.compat import POST_NORM

ROOT = Path(__file__).parents[2]
PAGES = ("docs/exchange.md", "docs/exchange.ko.md")
PAGE_SENTENCE, TEST_SENTENCE = "Ein Hund rennt.", "a c f h b"  # the test model reverses letters


def blocks(page: str, language: str) -> list[str]:
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return [block for name, block in fenced if name == language]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    bundle = Translator.load(POST_NORM).bundle
    bundle.languages = ("de", "en")
    save_bundle(bundle, folder / "RUN" / "bundle")
    exchange.export_ctranslate2(bundle, folder / "CT2")
    exchange.export_marian(bundle, folder / "HF")
    exchange.export_argos(bundle, folder / "ARGOS")
    return folder


def skip_reason(code: str) -> str | None:
    for package in ("ctranslate2", "argostranslate", "transformers"):
        if package in code and importlib.util.find_spec(package) is None:
            return f"{package} is not installed"
    if "pipeline(" in code:
        from transformers.pipelines import SUPPORTED_TASKS

        if not any(task.startswith("translation") for task in SUPPORTED_TASKS):
            return "this version of transformers has no translation pipeline"
    if "argostranslate" in code:
        return "Argos would download a sentence splitter; see test_argos.py"
    return None


@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("number", range(4))
def test_python_examples(page, number, folder, monkeypatch):
    code = blocks(page, "python")[number]
    if reason := skip_reason(code):
        pytest.skip(reason)
    monkeypatch.chdir(folder)
    namespace: dict = {}
    exec(code.replace(PAGE_SENTENCE, TEST_SENTENCE), namespace)
    [expected] = Translator.load(POST_NORM).translate([TEST_SENTENCE], length_penalty=0.0)
    assert namespace["text"] == expected.text


@pytest.mark.parametrize("page", PAGES)
def test_commands_exist(page):
    commands = re.findall(r"^allyouneed (.+)$", "\n".join(blocks(page, "")), flags=re.MULTILINE)
    assert {shlex.split(command)[0] for command in commands} >= {"export", "check"}
    for command in commands:
        verb, *arguments = shlex.split(command)
        parser = get_command(app).commands[verb]
        parser.make_context(verb, expand_options(arguments), resilient_parsing=True)
        options = {option for parameter in parser.params for option in parameter.opts}
        assert {argument for argument in arguments if argument.startswith("-")} <= options


@pytest.mark.parametrize("page", PAGES)
def test_links_exist(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text(encoding="utf-8")):
        assert (ROOT / "docs" / link).exists(), link
