"""Run the test suites of other projects' clients against the server.

`python benchmarks/clients.py --deepl-python FOLDER --libretranslate FOLDER --deepl-node FOLDER --packages`

Each FOLDER is a clone of the project (github.com/DeepLcom/deepl-python, github.com/LibreTranslate/LibreTranslate,
github.com/DeepLcom/deepl-node). `--packages` also calls the functions of packages without a suite: libretranslatepy and
libretranslate-aio from PyPI, libretranslate and libretranslate-ts from npm. The suites expect certain translations, so
a small model is trained that has learnt them by heart (a minute). Everything that is installed goes into --work.

DeepL's suites leave out some tests unless they run against DeepL's mock server; that for Python therefore runs a second
time as if the server were the mock server. Tests that rely on faults that the mock server simulates are named. The
result is a dated Markdown file in --out or benchmarks/results. The exit code is 1 if a test fails without a known
reason.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from zlib import crc32

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # makes `benchmarks` importable from any folder

from allyouneed.serving.access.api_keys import add_key  # noqa: E402
from benchmarks import clients_suites  # noqa: E402
from benchmarks.clients_corpus import PROTON_BEAM, train_model  # noqa: E402
from benchmarks.clients_suites import Outcome  # noqa: E402
from benchmarks.measure.machine import machine  # noqa: E402

Suite = Callable[[str, str], list[Outcome]]
PASSED, FAILED = "passed", "failed"
REASONS = [  # why a test does not concern this server: the reason, and what its message contains
    ("language not served", re.compile(r"Value for '(target|source)_lang' not supported")),
    ("product not offered", re.compile(r"(text improvement|style rules|translation memories)[^\n]*not supported by")),
    (
        "option refused",
        re.compile(r"(style_id|translation_memory_id|custom_instructions)[^\n]*not supported by|output_format:"),
    ),
    ("simulated by the mock server", re.compile(r"requires a mock (proxy )?server")),
]
_START_SECONDS = 300


def main() -> None:
    args = _arguments()
    args.work.mkdir(parents=True, exist_ok=True)
    languages = sorted({code for code in args.languages.split(",") if code})
    run = train_model(args.work / f"model-{crc32(','.join(languages).encode()):08x}", languages)
    outcomes: list[Outcome] = []
    with_keys, without_keys = _suites(args)
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "keys.json"
        key = add_key(keys, "suites")
        with serving(run, Path(folder) / "log", "--keys", str(keys)) as url:
            for suite in with_keys:
                outcomes += suite(url, key)
        with serving(run, Path(folder) / "log") as url:
            for suite in without_keys:
                outcomes = merged(outcomes, suite(url, ""))
    date = time.strftime("%Y-%m-%d")
    text = page(date, outcomes)
    args.out.mkdir(parents=True, exist_ok=True)
    file = args.out / f"{date}-clients.md"
    file.write_text(text, encoding="utf-8")
    print(f"{text}\n{file}")
    sys.exit(any(reason_of(outcome) == FAILED for outcome in outcomes))


def _suites(args: argparse.Namespace) -> tuple[list[Suite], list[Suite]]:
    """Return the suites to run against a server with keys, and those against a server without."""
    work, with_keys, without_keys = args.work.resolve(), list[Suite](), list[Suite]()
    if folder := args.deepl_python:
        with_keys.append(lambda url, key: clients_suites.deepl_python(folder.resolve(), work, url, key))
        without_keys.append(lambda url, key: clients_suites.deepl_python(folder.resolve(), work, url, key))
    if node := args.deepl_node:
        with_keys.append(lambda url, key: clients_suites.deepl_node(node.resolve(), work, url, key))
    if libre := args.libretranslate:
        without_keys.append(lambda url, key: clients_suites.libretranslate(libre.resolve(), work, url, key))
    if args.packages:
        for name in ("libretranslatepy", "libretranslate-aio"):
            with_keys.append(lambda url, key, name=name: clients_suites.python_package(name, work, url, key))
        for name in ("libretranslate", "libretranslate-ts"):
            with_keys.append(lambda url, key, name=name: clients_suites.node_package(name, work, url, key))
    if not with_keys + without_keys:
        sys.exit("no suite: give --deepl-python, --deepl-node, --libretranslate or --packages (see --help)")
    return with_keys, without_keys


@contextmanager
def serving(run: Path, log: Path, *options: str) -> Iterator[str]:
    """Run `allyouneed serve` on a free port; yields its address."""
    command = [sys.executable, "-m", "allyouneed", "serve", str(run), "--port", "0", "--threads", "2", *options]
    with log.open("w") as out, subprocess.Popen(command, stdout=out, stderr=out) as server:
        try:
            deadline = time.monotonic() + _START_SECONDS
            while not (found := re.search(r"http://[\d.]+:\d+", log.read_text(encoding="utf-8"))):
                if server.poll() is not None or time.monotonic() > deadline:
                    sys.exit(f"the server does not start:\n{log.read_text(encoding='utf-8')}")
                time.sleep(0.1)
            yield found[0]
        finally:
            server.terminate()
            server.wait()


def merged(first: list[Outcome], second: list[Outcome]) -> list[Outcome]:
    """Return the outcomes of both rounds; those of the second replace skipped ones."""
    names = {(each.suite, each.test): each for each in first}
    for each in second:
        before = names.get((each.suite, each.test))
        if before is None or (before.result == "skipped" and each.result != "skipped"):
            names[each.suite, each.test] = each if before is None or each.result == PASSED else _simulated(each, before)
    return list(names.values())


def _simulated(outcome: Outcome, before: Outcome) -> Outcome:
    """Keep the first round's message, that the test needs the mock server, unless the server's answer explains it."""
    explained = any(pattern.search(outcome.message) for _, pattern in REASONS[:-1])
    return outcome if explained else outcome._replace(message=f"{before.message}\n{outcome.message}")


def reason_of(outcome: Outcome) -> str:
    """Return "passed", why the test does not concern this server, or "failed"."""
    if outcome.result == PASSED:
        return PASSED
    return next((reason for reason, pattern in REASONS if pattern.search(outcome.message)), FAILED)


def page(date: str, outcomes: list[Outcome]) -> str:
    """Return the results as Markdown: a table of the suites, and one of the tests."""
    columns = [PASSED, *(reason for reason, _ in REASONS), FAILED]
    lines = [
        f"# Clients, {date}",
        machine(),
        "",
        "`" + " ".join(["python benchmarks/clients.py", *_options()]) + "`",
        "",
    ]
    lines += ["| suite | tests | " + " | ".join(columns) + " |", "| --- |" + " --- |" * (len(columns) + 1)]
    for suite in dict.fromkeys(each.suite for each in outcomes):
        counts = Counter(reason_of(each) for each in outcomes if each.suite == suite)
        lines.append(f"| {suite} | {counts.total()} | " + " | ".join(str(counts[name]) for name in columns) + " |")
    lines += ["", "| suite | test | result |", "| --- | --- | --- |"]
    for each in sorted(outcomes, key=lambda each: (each.suite, reason_of(each) == PASSED, each.test)):
        reason = reason_of(each)
        detail = f": {_first_line(each.message)}" if reason == FAILED else ""
        lines.append(f"| {each.suite} | {_cell(each.test)} | {reason}{_cell(detail)} |")
    return "\n".join(lines) + "\n"


def _first_line(message: str) -> str:
    return next((line for line in message.splitlines() if line.strip()), "")[:200]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _options() -> list[str]:
    """Return the command line without the folders of this machine."""
    return [Path(argument).name if "/" in argument else argument for argument in sys.argv[1:]]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--deepl-python", type=Path, metavar="FOLDER")
    parser.add_argument("--deepl-node", type=Path, metavar="FOLDER")
    parser.add_argument("--libretranslate", type=Path, metavar="FOLDER")
    parser.add_argument("--packages", action="store_true", help="call the packages that have no suite")
    parser.add_argument(
        "--languages",
        default=",".join(code for code in PROTON_BEAM if code not in ("da", "nb")),
        help="languages that are served besides English, German and Spanish, separated by commas (default: all of "
        "DeepL's suites but Danish and Norwegian, since the word Protonenstrahl is otherwise taken for Norwegian)",
    )
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "allyouneed-clients")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


if __name__ == "__main__":
    main()
