"""The pages in docs/: their commands and code work, their lists are complete, and the site builds without warnings."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
import torch

import allyouneed
from allyouneed import Translator
from allyouneed.config import Config, load_recipe, recipe_names
from allyouneed.model.transformer import Transformer
from tests.pages import DOCS, ROOT, blocks, check_command, commands, read

SOURCE = ROOT / "src" / "allyouneed"
OTHER_PROGRAMS = {"cat", "curl", "iconv", "podman", "systemctl", "marian-decoder", "pymarian"}
# tests/exchange/test_docs.py, tests/insight/test_own_model.py
TESTED_ELSEWHERE = {"docs/exchange.md", "docs/exchange.ko.md", "docs/howto/own-model.md"}
TOUR, SENTENCE = "docs/tour.md", "two dogs run through the green park ."


@pytest.mark.parametrize("page", [page for page in DOCS if any(blocks(page, ""))])
def test_commands_exist(page):
    for command in commands(page):
        check_command(command)
    lines = [line for block in blocks(page, "") for line in block.splitlines()]
    for line in lines:
        if line.startswith("pip install"):
            [extras] = re.findall(r"allyouneed\[([\w,]+)\]|sacrebleu|constraints|whl/cpu", line)
            assert not extras or f"\n{extras} = [" in read("pyproject.toml"), line
        else:
            assert "allyouneed" in line or shlex.split(line)[0] in OTHER_PROGRAMS, line


@pytest.mark.parametrize("page", [*DOCS, "README.md", "README.ko.md"])
def test_settings_exist(page):
    for quoted, plain in re.findall(r"--set (?:'([^']+)'|([a-z]+\.[^\s`]+=[^\s`<]+))", read(page)):
        Config().override([quoted or plain])


@pytest.mark.parametrize("page", [page for page in DOCS if blocks(page, "python") and page not in TESTED_ELSEWHERE])
def test_python_runs(page, toy_run, tmp_path, monkeypatch, capsys):
    """Run the pages' Python code with the variables that docs/insight.md assumes; see TESTED_ELSEWHERE."""
    monkeypatch.chdir(tmp_path)
    translator = Translator.load(toy_run)
    ids = torch.tensor([[5, 6, 3]])
    namespace = {"allyouneed": allyouneed, "translator": translator, "model": translator.model}
    namespace |= {"tokenizer": translator.tokenizer, "source_ids": ids, "target_ids": ids}
    for block in blocks(page, "python"):
        exec(block.replace('"RUN"', repr(str(toy_run))).replace(SENTENCE, "a b c d"), namespace)


def test_the_tour_prints_the_lines_it_shows(toy_run):
    namespace: dict = {}
    stages = re.findall(r"```python\n(.*?)```\n```text\n(.*?)```", read(TOUR), re.DOTALL)
    assert len(stages) == len(blocks(TOUR, "python"))
    for code, shown in stages:
        with redirect_stdout(StringIO()) as printed:
            exec(code.replace('"RUN"', repr(str(toy_run))).replace(SENTENCE, "a b c d"), namespace)
        names = re.findall(r"^(.+ \[.+\]): ", shown, re.MULTILINE)
        assert len(printed.getvalue().splitlines()) == len(shown.splitlines())
        assert [name for name in names if name not in printed.getvalue()] == []


def templates(path: Path, errors: Sequence[str], position: int) -> Iterator[str]:
    """Yield the messages that a module passes to errors at an argument position, with `…` for inserted values."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in errors:
            message = node.args[position]
            for each in (message.body, message.orelse) if isinstance(message, ast.IfExp) else (message,):
                if (text := template(each)) != "…":
                    yield text


def template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return normal(str(node.value))
    if not isinstance(node, ast.JoinedStr):
        return "…"
    return normal("".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in node.values))


def normal(text: str) -> str:
    """Replace placeholders such as `<path>` by `…`, and adjacent ones by a single `…`."""
    return re.sub(r"…+", "…", re.sub(r"<[^<>]*>", "…", text))


PAGE_OF_FILE = {
    "config": "settings",
    "devices": "settings",
    "bundle": "files",
    "cli": "translation",
    "files": "files",
    "untrusted": "files",
    "zip_files": "files",
}


def page_of(path: Path) -> str:
    package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
    return f"docs/errors/{PAGE_OF_FILE.get(package, package)}.md"


# Modules whose validators raise ValueError.
VALIDATED = {"config/__init__.py", "config/model_config.py", "config/sections.py", "translation/options.py"}


def errors_by_page() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        errors = ["UserError", "DamagedFile", "UnknownLanguages"]
        if path.relative_to(SOURCE).as_posix() in VALIDATED:
            errors.append("ValueError")
        for text in templates(path, errors, 0):
            found.setdefault(page_of(path), set()).add(text)
    return found


def test_every_error_has_an_entry_and_every_entry_an_error():
    found = errors_by_page()
    assert sum(map(len, found.values())) > 100
    for page, messages in found.items():
        entries = {normal(line) for block in blocks(page, "text") for line in block.splitlines()}
        assert messages - entries == set(), f"missing in {page}"
        assert entries - messages == set(), f"only in {page}"
    pages = {f"docs/errors/{path.name}" for path in (ROOT / "docs" / "errors").glob("*.md")}
    assert pages - {"docs/errors/index.md"} == found.keys()


def test_every_api_error_has_an_entry():
    files = sorted((SOURCE / "serving").rglob("*.py"))
    messages = {text for path in files for text in templates(path, ["ApiError"], 1)}
    strings = {
        template(node)
        for path in files
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant | ast.JoinedStr)
    }
    entries = {normal(text) for text in re.findall(r"^\| [\d, ]+ \| `(.+?)` \|", read("docs/errors/serving.md"), re.M)}
    assert len(messages) > 30
    assert messages - entries == set()
    assert entries - strings == set()


def test_the_table_of_recipes_is_complete_and_correct():
    rows = [line.strip("| ").split(" | ") for line in read("docs/recipes.md").splitlines() if line.startswith("| [`")]
    named = {re.findall(r"`(.+?)`", row[0])[0]: row[1:] for row in rows}
    assert named.keys() == {name for name in recipe_names() if "/" not in name}
    for name, row in named.items():
        config = load_recipe(name)
        model, training = config.model, config.training
        vocabulary = config.data.vocab_size
        with torch.device("meta"):
            millions = f"{Transformer(model, vocabulary).num_parameters() / 1e6:.1f}"
        if name == "swift":  # it uses its teacher's vocabulary
            bare = Transformer(model, 16).num_parameters() - 16 * model.d_model
            vocabulary, millions = "the teacher's", f"{bare / 1e6:.1f} + embeddings"
        sizes = [f"{model.encoder_layers} + {model.decoder_layers}", model.d_model, model.d_ff, model.num_heads]
        rest = [model.dropout, model.norm, training.optimizer, vocabulary, training.batch_tokens, millions]
        assert row == [f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in [*sizes, *rest]], name


def test_the_reference_has_every_module():
    for package in (path for path in SOURCE.iterdir() if (path / "__init__.py").exists()):
        paths = {path.relative_to(SOURCE.parent) for path in package.rglob("*.py")}
        modules = {".".join(path.with_suffix("").parts) for path in paths if path.name != "__init__.py"}
        packages = {".".join(path.parent.parts) for path in paths}
        documented = set(re.findall(r"^::: (\S+)$", read(f"docs/reference/{package.name}.md"), re.M))
        assert documented - packages == modules


def test_the_reference_has_every_public_name():
    documented = re.findall(r"^::: (\S+)$", read("docs/reference/index.md"), re.M)
    assert {name.rpartition(".")[2] for name in documented} == set(allyouneed.__all__)


@pytest.mark.parametrize("page", DOCS)
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", read(page)):
        assert (ROOT / page).parent.joinpath(link).exists(), link


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Build the site as `make docs` does; warnings, including those for broken links, are errors."""
    for package in ("mkdocs", "material", "mkdocstrings"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed: pip install 'allyouneed[docs]'")
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(folder)],
        cwd=ROOT, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
    return folder


def test_the_site_is_complete_and_needs_no_network(site):
    for page in DOCS:
        assert (site / Path(page).relative_to("docs")).with_suffix(".html").is_file(), page
    external = re.compile(
        r'<(?:script|img|iframe)[^>]*src="(?:https?:)?//|<link[^>]*rel="(?:stylesheet|preconnect)[^>]*//'
    )
    for path in site.rglob("*.html"):
        assert not external.search(path.read_text(encoding="utf-8")), path


def test_the_site_includes_linked_files_outside_docs(site):
    assert "fairseq" in (site / "repository/benchmarks/results/2026-11-22-multi30k.html").read_text(encoding="utf-8")
    assert "EncoderLayer" in (site / "repository/src/allyouneed/model/layers.py.html").read_text(encoding="utf-8")
    assert "Containerfile.html" in (site / "repository/deploy/index.html").read_text(encoding="utf-8")


def test_the_site_has_commands_settings_and_docstrings(site):
    pages = {name: (site / f"reference/{name}.html").read_text(encoding="utf-8") for name in ("commands", "settings")}
    assert "--no-repeat-ngram-size" in pages["commands"]
    assert "training.label_smoothing" in pages["settings"]
    assert "no_repeat_ngram_size" in (site / "reference/index.html").read_text(encoding="utf-8")
    assert "rows sum to 1" in (site / "reference/model.html").read_text(encoding="utf-8")


def test_the_search_works_from_disk(site, browser):
    page, requested = browser.new_page(), []
    page.on("request", lambda request: requested.append(request.url))
    page.goto((site / "index.html").as_uri())
    page.click("input.md-search__input")
    page.keyboard.type("diverged")
    page.wait_for_selector(".md-search-result__item")
    assert "Errors: training" in page.inner_text(".md-search-result__list")
    assert [url for url in requested if not url.startswith(("file:", "blob:", "data:", "about:"))] == []
    page.close()
