"""Runs the test suites of clients against a server, each in its folder with an environment of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import NamedTuple

CALLS = Path(__file__).parent / "clients_calls"
_FLASK_CLIENT = '''"""LibreTranslate's tests use Flask's test client; this one sends their requests to a server."""
import os

import pytest
import requests


class Response:
    def __init__(self, response):
        self.status_code, self.data = response.status_code, response.content
        self.json = response.json() if "json" in response.headers.get("content-type", "") else None


class Client:
    def get(self, path, **sent):
        return Response(requests.get(os.environ["SERVER_URL"] + path, **sent, timeout=60))

    def post(self, path, **sent):
        return Response(requests.post(os.environ["SERVER_URL"] + path, **sent, timeout=60))


@pytest.fixture()
def client():
    return Client()
'''


class Outcome(NamedTuple):
    """The outcome of a test: "passed", "failed" or "skipped", and why it did not pass."""

    suite: str
    test: str
    result: str
    message: str = ""


def deepl_python(folder: Path, work: Path, url: str, key: str) -> list[Outcome]:
    """Run DeepL's suite for Python; with an empty key, as against DeepL's mock server."""
    python = _environment(work / "deepl-python", "pytest", "requests", "click", "pydantic<2", "typing_extensions")
    mock = {} if key else {"DEEPL_MOCK_SERVER_PORT": url.rpartition(":")[2]}
    variables = {"DEEPL_SERVER_URL": url, "DEEPL_AUTH_KEY": key or "mock_server", "PYTHONPATH": str(folder), **mock}
    return _pytest("deepl-python", python, folder, ["tests"], work, variables)


def libretranslate(folder: Path, work: Path, url: str, key: str) -> list[Outcome]:
    """Run the tests of LibreTranslate's API."""
    python = _environment(work / "libretranslate", "pytest", "requests")
    tests = work / "libretranslate" / "tests"
    shutil.rmtree(tests, ignore_errors=True)
    shutil.copytree(folder / "libretranslate" / "tests" / "test_api", tests)
    (tests / "conftest.py").write_text(_FLASK_CLIENT, encoding="utf-8")
    return _pytest("LibreTranslate", python, tests, ["."], work, {"SERVER_URL": url})


def deepl_node(folder: Path, work: Path, url: str, key: str) -> list[Outcome]:
    """Run DeepL's suite for Node.js, without its folders of tests that send no requests."""
    copy = work / "deepl-node"
    if not (copy / "node_modules").is_dir():
        shutil.copytree(folder, copy, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".git"))
        _run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], copy, {}, True)
    variables = {"DEEPL_SERVER_URL": url.replace("127.0.0.1", "localhost"), "DEEPL_AUTH_KEY": key or "any"}
    variables |= {"JEST_JUNIT_TITLE": "{title}", "JEST_JUNIT_OUTPUT_FILE": str(work / "deepl-node.xml")}
    outcomes = []
    for file in sorted((copy / "tests").glob("*.test.ts")):  # one at a time: a file's simulated network outlives it
        name = file.name.removesuffix(".test.ts")
        done = _run(["npx", "jest", str(file), "--reporters=jest-junit"], copy, variables)
        outcomes += _outcomes("deepl-node", work / "deepl-node.xml", done, name)
    return outcomes


def python_package(name: str, work: Path, url: str, key: str) -> list[Outcome]:
    """Call every function of a package from PyPI that has no suite of its own."""
    python = _environment(work / name, name)
    return _calls(name, [str(python), str(CALLS / f"{name.replace('-', '_')}_calls.py"), url, key], work / name)


def node_package(name: str, work: Path, url: str, key: str) -> list[Outcome]:
    """Call every function of a package from npm that has no suite of its own."""
    folder = work / f"npm-{name}"
    if not (folder / "node_modules" / name).is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        _run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", name], folder, {}, True)
    script = folder / "calls.cjs"
    shutil.copy(CALLS / f"{name}.cjs", script)
    return _calls(f"{name} (npm)", ["node", str(script), url, key], folder)


def _calls(name: str, command: list[str], folder: Path) -> list[Outcome]:
    done = _run(command, folder, {})
    found = re.findall(r"^(passed|failed) (.+?)(?:: (.*))?$", done.stdout, re.M)
    if not found or done.returncode:
        return [Outcome(name, "calls", "failed", done.stdout + done.stderr)]
    return [Outcome(name, test, result, message) for result, test, message in found]


def _environment(folder: Path, *packages: str) -> Path:
    """Create a virtual environment with packages, unless it exists; return its Python."""
    python = folder / "venv" / "bin" / "python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
        _run([str(python), "-m", "pip", "install", "--quiet", *packages], folder, {}, True)
    return python


def _pytest(
    suite: str, python: Path, folder: Path, arguments: list[str], work: Path, variables: dict[str, str]
) -> list[Outcome]:
    report = work / f"{suite}.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--rootdir={folder}"]
    return _outcomes(suite, report, _run([str(python), "-m", "pytest", *options, *arguments], folder, variables))


def _outcomes(
    suite: str, report: Path, done: subprocess.CompletedProcess[str], module: str | None = None
) -> list[Outcome]:
    """Read and delete a report in JUnit's format."""
    if not report.exists():
        sys.exit(f"{suite} could not be run:\n{done.stdout}{done.stderr}")
    outcomes = []
    for case in ElementTree.parse(report).iter("testcase"):
        bad = next((each for each in case if each.tag in ("failure", "error", "skipped")), None)
        result = "passed" if bad is None else "skipped" if bad.tag == "skipped" else "failed"
        lines = [] if bad is None else [bad.get("message", ""), *_error_lines(bad.text or "")]
        if result == "skipped" and not any(lines):  # Jest gives no reason
            lines = ["this test requires a mock server"]
        where = module or case.get("classname", "").rpartition(".")[2].removeprefix("test_")
        outcomes.append(Outcome(suite, f"{where}: {case.get('name')}", result, "\n".join(lines)))
    report.unlink()
    return outcomes


def _error_lines(text: str) -> list[str]:
    """Return the lines of a failure without those of the test's source."""
    return re.findall(r"^E .*", text, re.M) or re.split(r"\n\s+at ", text, maxsplit=1)[:1]


def _run(
    command: list[str], folder: Path, variables: dict[str, str], must_succeed: bool = False
) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("DEEPL_", "PYTHON"))}
    done = subprocess.run(command, cwd=folder, env=environment | variables, capture_output=True, text=True)
    if must_succeed and done.returncode:
        sys.exit(f"{' '.join(command)} failed in {folder}:\n{done.stdout}{done.stderr}")
    return done
