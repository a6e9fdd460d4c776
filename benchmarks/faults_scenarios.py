"""Commands that `benchmarks/faults.py` disturbs, their correct results, and how a user recovers from a fault."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
import shlex
import shutil
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

from allyouneed import cli
from allyouneed.terminal import expand_options
from benchmarks.faults_injection import Children, Ended, Moment
from benchmarks.faults_power import Call, Disk, read_trace

OUT = "out"  # what a command writes; the faults concern files below it
_TEXT = {"train.de": 150, "valid.de": 20, "input.de": 600}
_LETTERS = "abcdefgh"
_SETTINGS = shlex.split("""
    model.d_model=16 model.d_ff=32 model.num_heads=2 model.encoder_layers=1 model.decoder_layers=1 data.vocab_size=300
    training.batch_tokens=200 training.steps=8 training.warmup=3 training.learning_rate=0.005 training.average=2
    training.validate_every=3 training.average_every=2 training.bleu_sentences=4 training.log_every=2
    training.keep_snapshots=2 training.save_minutes=1e-9
""")
_CORPUS = shlex.split("--from de --to en --train ../train.de ../train.en")
_VALID = shlex.split("--valid ../valid.de ../valid.en --out out")
_SET = [part for setting in _SETTINGS for part in ("--set", setting)]
_TRIES = 5  # of following advice


class Scenario(NamedTuple):
    """A command.

    Attributes:
        name: Its name in the table.
        command: Its arguments.
        result: Reads its result in `OUT`, for comparison.
        again: Arguments with which a user repeats it after a fault.
        start: Folder with the content of `OUT` before it; None: no folder.
    """

    name: str
    command: Sequence[str]
    result: Callable[[Path], Any]
    again: Sequence[str]
    start: str | None = None

    def reset(self) -> Path:
        """Restore `OUT` as it is before the command, and return it."""
        out = Path(OUT)
        empty(out)
        if self.start:
            shutil.copytree(self.start, out, dirs_exist_ok=True)
        elif out.is_dir() and not out.is_mount():
            out.rmdir()
        return out


def empty(folder: Path) -> None:
    """Delete the content of a folder, which may be a mounted file system."""
    for path in folder.iterdir() if folder.is_dir() else ():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def recover(scenario: Scenario, children: Children, expected: Any, damaged: Sequence[Path] = ()) -> tuple[str, str]:
    """Repeat a command, and follow the advice of its messages.

    Args:
        scenario: The command.
        children: Runs it.
        expected: The correct result.
        damaged: Damaged files, of which a message has to name one, or its folder; none: no message is expected.

    Returns:
        "exact", "advised" or "failed", and a description.
    """
    command, advice = list(scenario.again), ""
    for _ in range(_TRIES):
        ended = children.run(command)
        if problem := describe_bad_ending(ended, (0, 2)):
            return "failed", f"{problem}\nafter: {advice}\n{ended.text[-2000:]}"
        if not ended.code:
            found = scenario.result(Path(OUT))
            if found == expected:
                return ("advised", advice) if advice else ("exact", "")
            return "failed", f"another result: {different(expected, found)}\nafter: {advice}\n{ended.text[-1500:]}"
        advice = ended.errors[0]
        if damaged and not any(names(advice, path) for path in damaged):
            return "failed", f"the message does not name {damaged[0]}: {advice}"
        if not (followed := follow(advice, command, scenario)):
            return "failed", f"no advice that can be followed: {advice}"
        command = followed
    return "failed", f"the advice does not help: {advice}"


def describe_bad_ending(ended: Ended, codes: Sequence[int]) -> str:
    """Return what is wrong with the end of a command; an empty string if nothing is.

    Args:
        ended: The end.
        codes: Exit codes that are right.
    """
    if ended.hung:
        return "hangs"
    if "Traceback" in ended.text or "Exception" in ended.text:
        return "traceback"
    if ended.code not in codes:
        return f"ends with {ended.code}"
    if ended.code == 2 and (len(ended.errors) != 1 or not ended.text.rstrip().endswith(ended.errors[0])):
        return "does not end with one line that describes an error"
    return ""


def different(expected: Any, found: Any) -> str:
    """Name what differs, such as "distilled: corpus.json"."""
    if not (isinstance(expected, dict) and isinstance(found, dict)):
        return f"{str(found)[:200]} instead of {str(expected)[:200]}"
    names = [key for key in {**expected, **found} if expected.get(key) != found.get(key)]
    return ", ".join(f"{name}: {different(expected.get(name), found.get(name))}" for name in names)


def names(message: str, path: Path) -> bool:
    """Return whether a message names a path or one of its folders below `OUT`."""
    return any(re.search(rf"{re.escape(str(each))}(?![\w/-]|\.\w)", message) for each in (path, *path.parents[:-2]))


def follow(advice: str, command: list[str], scenario: Scenario) -> list[str]:
    """Do what a message advises, and return the next command; an empty list if it gives no such advice."""
    if "without --resume" in advice.lower():
        return list(scenario.command)
    if "run the same command again" in advice or "delete it first" in advice or "to start over" in advice:
        for name in re.findall(r"[Dd]elete ([^\s:,]+?)\.?(?=[\s,:]|$)", advice) or [""]:
            path = Path(name)
            if path.is_relative_to(OUT) and path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                return command
        if match := re.match(r"error: (?:cannot \w+ )?([^\s:]+?):? ", advice):
            path = Path(match[1])
            if "delete" in advice.lower() and path.is_relative_to(OUT) and path.exists():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                return command
    return []


def training_result(run: Path) -> dict[str, Any]:
    """Return digests of the bundle's parts that a training decides, and what its log says, without times."""
    bundle = run / "bundle"
    names = ("model.safetensors", "tokenizer.model", "samples.json")
    shown: dict[str, Any] = {name: _digest(bundle / name) for name in names}
    shown["snapshots"] = {path.parent.name: _digest(path) for path in sorted(run.glob("snapshots/*/model.safetensors"))}
    shown["log.jsonl"] = _logged(run / "log.jsonl")
    shown["report.html"] = (run / "report.html").stat().st_size > 0
    return shown


def distilled_result(run: Path) -> dict[str, Any]:
    """Return what `training_result` does, and digests of the teacher's translations."""
    return {**training_result(run), "distilled": folder_result(run / "distilled")}


def _logged(path: Path) -> list[Any]:
    events = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            events.append("damaged")
            continue
        if record["event"] in ("train", "validation", "candidate"):
            events.append([record["event"], record["step"], record.get("loss"), record.get("quality")])
    return events


def folder_result(folder: Path) -> dict[str, str]:
    """Return digests of all files in a folder by path, without those that state times, and without replaced folders.

    A folder that was replaced, but could not be deleted, is deleted by the next command that writes it.
    """
    return {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix not in (".md", ".html") and ".replaced/" not in path.as_posix()
    }


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Bench:
    """Text, runs and the results of undisturbed commands in the folder above the current one.

    Args:
        names: Names of commands, "train" among them.

    Attributes:
        scenarios: All commands by name.
        expected: Their results.
        counts: Their calls by kind, and those of Python ("calls").
        bytes: Total size of the files that each command writes.
        translated: The translation of the input.
        children: Runs commands.
    """

    def __init__(self, names: Collection[str]) -> None:
        self.scenarios = {each.name: each for each in _scenarios() if each.name in names}
        self.expected: dict[str, Any] = {}
        self.counts: dict[str, dict[str, int]] = {}
        self.bytes: dict[str, int] = {}
        self.translated = b""
        self.children = Children(OUT)
        _write_text()

    def prepare(self) -> None:
        """Run all commands undisturbed: training first in this process, so that children find everything loaded."""
        train = self.scenarios["train"]
        with open(os.devnull, "w") as null, redirect_stderr(null), redirect_stdout(null):
            cli.app(args=expand_options([*train.command]), standalone_mode=False)
        Path(OUT).rename("../run")
        Path("../none").mkdir()
        self._measure(train)
        if "resume" in self.scenarios:
            middle = int(0.65 * self.counts["train"]["calls"])
            train.reset()
            self.children.run(train.command, Moment([middle], signal.SIGTERM))
            shutil.copytree(OUT, "../half")
        for scenario in self.scenarios.values():
            if scenario is not train:
                self._measure(scenario)
            if scenario.name == "translate":
                self.translated = Path(OUT, "translated").read_bytes()
            if scenario.name == "export":  # which "import" reads
                shutil.copytree(Path(OUT, "exported"), "../exported")

    def trace(self, name: str) -> list[Call]:
        """Return the calls of an undisturbed command that starts without files."""
        scenario, file = self.scenarios[name], Path("trace")
        out = scenario.reset()
        self.children.run(scenario.command, trace=file)
        calls = read_trace(file, out.absolute())
        file.unlink()
        disk = {name: data for name, data in Disk(calls).files() if data is not None}
        if disk != {path.relative_to(out).as_posix(): path.read_bytes() for path in out.rglob("*") if path.is_file()}:
            raise RuntimeError("the trace lacks calls")
        return calls

    def _measure(self, scenario: Scenario) -> None:
        out = scenario.reset()
        ended = self.children.run(scenario.command, Moment((), 0))
        if ended.code:
            raise RuntimeError(f"{scenario.name}: {ended.text}")
        self.expected[scenario.name] = scenario.result(out)
        self.counts[scenario.name] = self.children.counts()
        self.bytes[scenario.name] = sum(path.stat().st_size for path in out.rglob("*"))


def _scenarios() -> Iterator[Scenario]:
    train = ["train", *_CORPUS, *_VALID, *_SET]
    yield Scenario("train", train, training_result, train)
    yield Scenario("resume", train, training_result, train, "../half")
    translate = shlex.split("translate ../run ../input.de -o out/translated --beam-size 1 --max-decoding-length 3")
    yield Scenario("translate", translate, folder_result, [*translate, "--resume"], "../none")
    clean = ["clean", *_CORPUS, "--out", "out/cleaned"]
    yield Scenario("clean", clean, folder_result, clean, "../none")
    export = shlex.split("export ../run out/exported --format ctranslate2")
    yield Scenario("export", export, folder_result, export, "../none")
    importing = shlex.split("import ctranslate2 ../exported out/imported --from de --to en")
    yield Scenario("import", importing, folder_result, importing, "../none")
    evaluate = shlex.split("evaluate ../run --test ../valid.de ../valid.en -o out/translated")
    yield Scenario("evaluate", evaluate, folder_result, evaluate, "../none")
    drafts = shlex.split("drafts out ../input.de")
    yield Scenario("drafts", drafts, folder_result, drafts, "../run")
    distil = ["distil", "../run", *shlex.split("--train ../train.de ../train.en"), *_VALID, *_SET]
    yield Scenario("distil", distil, distilled_result, distil)


def _write_text() -> None:
    chance = random.Random(1)
    for name, size in _TEXT.items():
        lines = [" ".join(chance.choices(_LETTERS, k=chance.randint(2, 7))) for _ in range(size)]
        Path("..", name).write_text("".join(f"{line}\n" for line in lines))
        Path("..", name).with_suffix(".en").write_text("".join(f"{line[::-1]}\n" for line in lines))
