"""The wheel contains the whole package and works without the checkout."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest
import requests

import allyouneed
from tests.conftest import TOY, toy_pairs, write_pairs

ROOT = Path(__file__).parents[1]
GENERATED = ("__pycache__", "*.egg-info")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel as `make wheel` does, from a copy without the output of earlier builds."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns(*GENERATED))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", folder / "dist"]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *map(str, options), str(folder)], check=True)
    [built] = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def user(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Create an environment with the wheel and the dependencies of this one, but without the editable checkout."""
    folder = tmp_path_factory.mktemp("user")
    venv.create(folder / "env", symlinks=True)
    python = folder / "env" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    [packages] = (folder / "env" / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")  # .pth files inside it are ignored
    return folder


def started(user: Path, *arguments: object, **options: object) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(user / "env" / "bin" / str(arguments[0])), *map(str, arguments[1:])]
    return subprocess.Popen(command, cwd=user, env=environment, text=True, **options)


def run(user: Path, *arguments: object, stdin: str = "") -> str:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with started(user, *arguments, **pipes) as done:
        output, errors = done.communicate(stdin)
    assert done.returncode == 0, errors
    return output


def test_the_wheel_contains_every_file_of_the_package(wheel):
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in (source / "allyouneed").rglob("*") if path.is_file()}
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in files if "__pycache__" not in name} == {
        name for name in packed if ".dist-info/" not in name
    }
    assert any(name.endswith("licenses/LICENSE") for name in packed)
    assert wheel.name == f"allyouneed-{allyouneed.__version__}-py3-none-any.whl"


def test_the_description_has_no_links_into_the_repository(wheel):
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.message_from_bytes(archive.read(name))
    description = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert description.startswith("# allyouneed")
    assert "See Looking inside." in description
    links = re.findall(r"\]\(([^)]*)\)", description)
    assert [link for link in links if not link.startswith("https://")] == []


def test_the_command_line_works_outside_the_checkout(user):
    location = run(user, "python", "-c", "import allyouneed; print(allyouneed.__file__)")
    assert Path(location.strip()).is_relative_to(user / "env")
    assert run(user, "allyouneed", "--version") == f"allyouneed {allyouneed.__version__}\n"
    assert "quickstart" in run(user, "allyouneed", "--help")


@pytest.mark.slow  # compiles every kernel, because the cache is stored next to the package
def test_train_translate_look_and_serve_outside_the_checkout(user):
    train, valid = (write_pairs(user, *text) for text in (("train", toy_pairs(200)), ("valid", toy_pairs(20, seed=2))))
    settings = [part for setting in [*TOY, "training.steps=5"] for part in ("--set", setting)]
    files = ("--train", *train, "--valid", *valid, "--out", "RUN")
    run(user, "allyouneed", "train", "--from", "aa", "--to", "bb", "--recipe", "tiny", *files, *settings)
    assert (user / "RUN" / "report.html").is_file()  # rendered from a template in the package
    assert run(user, "allyouneed", "translate", "RUN", stdin="a b c\n\n").count("\n") == 2
    run(user, "allyouneed", "look", "RUN", "a b c", "--html", "look.html")
    assert (user / "look.html").stat().st_size > 50_000  # includes the style and script of the package
    with started(user, "allyouneed", "serve", "RUN", "--port", 0, stderr=subprocess.PIPE) as server:
        try:
            address = next(line.strip() for line in server.stderr if line.startswith("http://"))
            assert "<title>allyouneed</title>" in requests.get(address, timeout=30).text
            body = {"q": "a b c", "source": "aa", "target": "bb"}
            assert "translatedText" in requests.post(f"{address}translate", json=body, timeout=30).json()
        finally:
            server.terminate()


@pytest.mark.slow
def test_quickstart_outside_the_checkout(user):
    run(user, "allyouneed", "quickstart", "--set", "training.steps=30")  # its accuracy is tested elsewhere
    assert run(user, "allyouneed", "translate", "runs/quickstart", stdin="2026년 11월 22일\n").count("\n") == 1


def test_recipes_and_pages_are_read_from_the_wheel(user):
    code = """
from importlib.resources import files
from allyouneed.config import load_recipe, recipe_names
for name in recipe_names():
    load_recipe(name)
from allyouneed.insight.twins import load_twins
assert load_twins()["runs"]
print(len(recipe_names()), len(files("allyouneed.serving").joinpath("static", "index.html").read_text()) > 1000)
"""
    recipes = list((ROOT / "src" / "allyouneed" / "recipes").rglob("*.toml"))
    assert run(user, "python", "-c", code) == f"{len(recipes)} True\n"
