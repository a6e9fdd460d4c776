"""The order of the packages: imports run one way, as the table states. Nothing imports the command line."""

import ast
import resource
import subprocess
import sys
from inspect import signature
from pathlib import Path

import allyouneed

SOURCE = Path(allyouneed.__file__).parent
BASE = {"errors", "files", "zip_files", "config", "suggest", "devices", "progress", "interruption", "languages"}
BASE |= {"durable", "json_text", "offline_page", "seals", "shared_files", "untrusted"}
SHARED = BASE | {"data", "model", "bundle", "snapshots", "translation"}
MOST_LOCAL_IMPORTS = 12
COMMANDS = {"command_options", "terminal"}
MAY_IMPORT = {
    "lazy": set(),
    "errors": set(),
    "durable": set(),
    "suggest": set(),
    "offline_page": set(),
    "languages": {"errors", "suggest"},
    "interruption": set(),
    "progress": {"interruption"},
    "terminal": {"interruption", "suggest"},
    "files": {"durable", "errors", "json_text", "untrusted"},
    "untrusted": {"errors"},
    "json_text": set(),
    "seals": set(),
    "shared_files": set(),
    "zip_files": {"errors"},
    "devices": {"errors"},
    "config": {"errors", "suggest", "untrusted"},
    "command_options": {"suggest", "terminal"},
    "kernels": set(),
    "data": BASE | {"kernels"},
    "model": BASE | {"kernels"},
    "bundle": BASE | {"data", "model"},
    "snapshots": {"bundle", "files"},
    "translation": BASE | COMMANDS | {"data", "kernels", "model", "bundle"},
    "training": SHARED | COMMANDS | {"kernels"},
    "quickstart": BASE | {"data", "training", "translation"},
    "exchange": SHARED | COMMANDS,
    "documents": SHARED | COMMANDS | {"training"},  # `join_ranks`
    "insight": SHARED | COMMANDS,
    "verification": BASE | COMMANDS | {"model"},
    "paper": SHARED | COMMANDS | {"training", "insight"},
    "serving": SHARED | COMMANDS | {"documents", "insight"},
    "cli": BASE
    | COMMANDS
    | {"training", "translation", "documents", "exchange", "insight", "serving", "paper", "verification"},
    "__main__": {"cli"},
    "__init__": {*SHARED, "insight", "training", "quickstart", "verification"},  # for type checkers only, see below
}
PUBLIC = {
    *("Config", "ModelConfig", "SearchOptions", "TrainingResult", "Transformer", "Translation", "Translator"),
    *("UserError", "compare", "evaluate", "load_recipe", "record", "score", "train", "verify", "view"),
}


def modules_imported(path: Path) -> set[str]:
    """Full names of the modules of the package that a file imports, and of what it imports from them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return {name for name in names if name.startswith("allyouneed.")}


def test_imports_run_one_way():
    for path in SOURCE.rglob("*.py"):
        package = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        imported = {name.split(".")[1] for name in modules_imported(path)} & MAY_IMPORT.keys()
        forbidden = imported - MAY_IMPORT[package] - {package, "lazy"}
        assert not forbidden, f"{path.relative_to(SOURCE)} imports {forbidden}"


def test_every_package_is_in_the_table():
    packages = {path.stem for path in SOURCE.glob("*.py")} | {path.parent.name for path in SOURCE.glob("*/__init__.py")}
    assert packages == MAY_IMPORT.keys()


def test_kernels_and_data_and_model_are_independent():
    assert MAY_IMPORT["kernels"] == set()
    assert "model" not in MAY_IMPORT["data"]
    assert "data" not in MAY_IMPORT["model"]


def test_the_compiled_decoder_imports_only_search_and_stopping_of_translation():
    for path in (SOURCE / "translation" / "engine").glob("*.py"):
        modules = {name.split(".")[2] for name in modules_imported(path) if name.startswith("allyouneed.translation.")}
        assert modules <= {"engine", "search", "stopping"}, path.name


def test_few_imports_are_local():
    """A module's dependencies are listed at its top."""
    found = []
    for path in SOURCE.rglob("*.py"):
        for function in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = {n.lineno for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)}
                found += [f"{path.relative_to(SOURCE)}:{line}" for line in lines]
    assert len(set(found)) <= MOST_LOCAL_IMPORTS, sorted(set(found))


def test_importing_the_package_or_the_command_line_does_not_load_torch():
    code = "import sys, allyouneed, allyouneed.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def processor_seconds(*arguments: str) -> float:
    """Processor time of a new Python process; other work on the machine does not count."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def test_importing_the_package_and_its_help_are_fast():
    """0.3 and 0.5 seconds are the goals; slow machines may take twice as long."""
    assert min(processor_seconds("-c", "import allyouneed") for _ in range(3)) < 0.6
    assert min(processor_seconds("-m", "allyouneed", "--help") for _ in range(3)) < 1.0


def test_public_names():
    assert set(allyouneed.__all__) == PUBLIC
    assert set(dir(allyouneed)) == PUBLIC | {"__version__"}
    for name in PUBLIC:
        public = getattr(allyouneed, name)
        assert public.__name__ == name
        assert public.__doc__


def test_help_of_train_documents_every_parameter():
    text = allyouneed.train.__doc__
    for parameter in signature(allyouneed.train).parameters:
        assert f"\n        {parameter}: " in text
    assert all(f"    {heading}:\n" in text for heading in ("Args", "Returns", "Raises", "Example"))
