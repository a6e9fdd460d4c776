"""Project files agree with each other: version, metadata, make targets, hooks, links, CONTRIBUTING.md."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "allyouneed"


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(read("pyproject.toml"))["project"]


def test_the_version_is_defined_once():
    assert "version" in project()["dynamic"]
    assert "version" not in project()


def test_the_lowest_python_version_is_the_same_everywhere():
    [lowest] = re.findall(r">=(3\.\d+)", project()["requires-python"])
    claimed = [name.rpartition(" ")[2] for name in project()["classifiers"] if re.search(r":: 3\.\d+$", name)]
    assert claimed[0] == lowest
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {lowest} or newer" in read(page)


def test_contributing_lists_every_make_target():
    targets = re.search(r"^\.PHONY: (.+)$", read("Makefile"), re.MULTILINE)[1].split()
    assert set(re.findall(r"^make ([\w-]+)", read("CONTRIBUTING.md"), re.MULTILINE)) == set(targets)


def test_each_package_has_a_test_folder_of_the_same_name():
    packages = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages <= {path.name for path in (ROOT / "tests").iterdir()}


def test_no_file_is_larger_than_1_mb():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    assert [path for path in files if path.is_file() and path.stat().st_size > 1_000_000] == []


def test_the_pre_commit_hook_runs_make_lint():
    yaml = pytest.importorskip("yaml")
    [repository] = yaml.safe_load(read(".pre-commit-config.yaml"))["repos"]
    [hook] = repository["hooks"]
    assert (repository["repo"], hook["entry"], hook["language"]) == ("local", "make lint", "system")
    assert hook["pass_filenames"] is False


@pytest.mark.parametrize("page", ["CHANGELOG.md", "CONTRIBUTING.md"])
def test_links_resolve(page):
    for link in re.findall(r"\]\(([^)#:]+)\)", read(page)):
        assert (ROOT / link).exists(), link


def test_the_license_is_complete():
    text = " ".join(read("LICENSE").split())
    assert text.startswith("Apache License Version 2.0, January 2004")
    assert "9. Accepting Warranty or Additional Liability." in text
    assert text.endswith("permissions and limitations under the License.")


def test_type_ignores_are_few():
    """Mypy itself requires an error code for each of them."""
    texts = (path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    assert sum(text.count("# type: ignore") for text in texts) < 15


def test_coverage_excludes_only_compiled_code():
    report = tomllib.loads(read("pyproject.toml"))["tool"]["coverage"]["report"]
    assert report["fail_under"] == 90
    assert "below 90 %" in read("CONTRIBUTING.md")
    [compiled] = report["exclude_also"]
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py")}
    excluded = {path.parent.name for path, text in texts.items() if re.search(compiled, text, re.MULTILINE)}
    assert excluded == {"kernels", "engine"}
    assert not [path for path, text in texts.items() if re.search(r"#\s*pragma:? no cover", text)]
