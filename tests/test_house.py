"""What the papers at the door say is so: version, make targets, hooks, links."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_written_once():
    assert 'dynamic = ["version"]' in read("pyproject.toml")
    assert not re.search(r'^version = "', read("pyproject.toml"), re.MULTILINE)


def test_contributing_names_every_make_target():
    targets = re.search(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)[1].split()
    assert set(re.findall(r"^make ([\w-]+)", read("CONTRIBUTING.md"), re.MULTILINE)) == set(targets)


def test_the_hook_is_make_lint():
    yaml = pytest.importorskip("yaml")
    [repository] = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    [hook] = repository["hooks"]
    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make lint", "system")
    assert hook["pass_filenames"] is False


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", read(page)):
        assert (ROOT / link).exists(), link


def test_the_licence_is_whole():
    words = " ".join(read("LICENSE").split())
    assert words.startswith("Apache License Version 2.0, January 2004")
    assert "9. Accepting Warranty or Additional Liability." in words
    assert words.endswith("permissions and limitations under the License.")


def test_exemptions_from_types_are_few():
    """That each tells its code mypy sees to."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert sum(text.count("# type: ignore") for text in texts) < 15


def test_what_coverage_leaves_out_is_compiled_code_alone():
    report = tomllib.loads(read("pyproject.toml"))["tool"]["coverage"]["report"]
    assert report["fail_under"] >= 90
    [compiled] = report["exclude_also"]
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
    assert {path.parent.name for path, text in texts.items() if re.search(compiled, text, re.MULTILINE)} == {
        "kernels",
        "engine",
    }
    assert not [path for path, text in texts.items() if re.search(r"#\s*pragma:? no cover", text)]
