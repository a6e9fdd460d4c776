"""Imports run one way: see the table. Nothing imports the command line."""

import ast
import resource
import subprocess
import sys
from pathlib import Path

import allyouneed

SOURCE = Path(allyouneed.__file__).parent
BASE = {"errors", "files", "config", "sections", "settings", "suggest", "devices", "progress"}
MAY_IMPORT = {
    "lazy": set(),
    "errors": set(),
    "files": {"errors"},
    "suggest": set(),
    "settings": set(),
    "sections": set(),
    "config": {"errors", "sections", "settings", "suggest"},
    "devices": {"errors"},
    "progress": set(),
    "kernels": set(),
    "data": BASE,
    "model": BASE | {"kernels"},
    "bundle": BASE | {"data", "model"},
    "translation": BASE | {"data", "kernels", "model", "bundle"},
    "training": BASE | {"data", "kernels", "model", "bundle", "translation"},
    "quickstart": BASE | {"data", "training", "translation"},
    "exchange": BASE | {"data", "model", "bundle", "translation", "terminal"},
    "insight": BASE | {"data", "model", "bundle", "translation"},
    "paper": BASE | {"data", "model", "bundle", "training", "translation", "insight", "terminal"},
    "serving": BASE | {"data", "model", "bundle", "translation", "insight", "terminal"},
    "terminal": set(),
    "cli": BASE | {"quickstart", "training", "translation", "exchange", "insight", "serving", "paper", "terminal"},
    "__main__": {"cli"},
    "__init__": {"errors", "config", "model", "translation", "insight"},  # to type checkers only: see below
}


def rooms_imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith("allyouneed.")} & MAY_IMPORT.keys()


def test_imports_run_one_way():
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        forbidden = rooms_imported(path) - MAY_IMPORT[room] - {room, "lazy"}
        assert not forbidden, f"{path.relative_to(SOURCE)} imports {forbidden}"


def test_importing_the_package_or_the_command_line_does_not_load_torch():
    code = "import sys, allyouneed, allyouneed.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def processor_seconds(*arguments: str) -> float:
    """Of a Python of its own, its start included: other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_the_package_and_its_help_are_there_at_once():
    """0.3 and 0.5 seconds are wanted; twice that is allowed to slow machines."""
    assert min(processor_seconds("-c", "import allyouneed") for _ in range(3)) < 0.6
    assert min(processor_seconds("-m", "allyouneed", "--help") for _ in range(3)) < 1.0


def test_public_names():
    assert set(allyouneed.__all__) == {
        "Config", "ModelConfig", "SearchOptions", "Transformer", "Translation", "Translator", "UserError", "evaluate",
        "load_recipe", "record", "score",
    }  # fmt: skip
    for name in allyouneed.__all__:
        assert getattr(allyouneed, name).__name__ == name
