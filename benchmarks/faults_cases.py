"""The cases of `benchmarks/faults.py`: a fault, the command that it disturbs, and how the outcome is judged."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.faults_injection import CHANGES, READS, Ended, Fault, Moment
from benchmarks.faults_power import Call, Disk
from benchmarks.faults_scenarios import (
    OUT,
    Bench,
    Scenario,
    describe_bad_ending,
    different,
    empty,
    names,
    recover,
)

SIGNALS = signal.SIGTERM, signal.SIGINT, signal.SIGHUP
OUTCOMES = ("finished", "exact", "advised", "failed")
_SAMPLES = 60  # of each fault of a command that can occur at any of its calls
_DAY = 86_400  # seconds
_REMADE = {".lock", "log.jsonl", "report.html", "README.md"}  # files that change, or may be edited, without checksums


@dataclass
class Case:
    """A fault.

    Attributes:
        fault: What fails, in the table.
        command: The disturbed command, as in the table.
        detail: Which call, moment or file.
        judge: Lets it happen; returns one of `OUTCOMES`, and what happened.
    """

    fault: str
    command: str
    detail: str
    judge: Callable[[], tuple[str, str]]


def plan(bench: Bench, seed: int, preloaded: bool, mounts: bool) -> Iterator[Case]:
    """Yield all cases in an order that the seed determines.

    Args:
        bench: Undisturbed commands.
        seed: Seed of moments, calls and bytes.
        preloaded: Whether single calls can fail.
        mounts: Whether file systems can be mounted.
    """
    chance = random.Random(seed)
    for scenario in bench.scenarios.values():
        yield from _signals(bench, scenario, chance)
        if preloaded:
            yield from _kills(bench, scenario)
            yield from _errors(bench, scenario, chance)
            if scenario.name in ("train", "translate"):
                yield from _losses_of_power(bench, scenario, chance)
        if mounts and scenario.name not in ("export", "import"):
            yield from _disks(bench, scenario)
        if scenario.name in ("resume", "translate"):
            yield from _damages(bench, scenario, chance)


def _signals(bench: Bench, scenario: Scenario, chance: random.Random) -> Iterator[Case]:
    calls = bench.counts[scenario.name]["calls"]
    for number in (signal.SIGKILL, *SIGNALS):
        for times in (1,) if number == signal.SIGKILL else (1, 2):
            for _ in range(_SAMPLES // (1 if number == signal.SIGKILL else 4)):
                first = chance.randint(1, calls)
                at = [first, first + chance.randint(1, 1 + calls // 20)][:times]
                name = f"{number.name}{' twice' if times == 2 else ''} at a random moment"
                yield _disturbed(bench, scenario, name, Moment(at, number), f"Python call {at}")


def _kills(bench: Bench, scenario: Scenario) -> Iterator[Case]:
    """Kill the process before each call that changes a file, and in the middle of each write."""
    for kind in CHANGES:
        for number in range(1, bench.counts[scenario.name][kind] + 1):
            for action in ("kill before", "kill within") if kind == "write" else ("kill before",):
                fault = Fault([kind], number, action)
                yield _disturbed(bench, scenario, f"{action} {kind}", fault, f"call {number}")


def _errors(bench: Bench, scenario: Scenario, chance: random.Random) -> Iterator[Case]:
    full, every = ("create", "write", "mkdir", "fsync"), (*READS, *CHANGES)
    interruptible = ("open", "read", "create", "write", "fsync")  # by their manual pages
    errors: list[tuple[str, Sequence[str], str, int, Sequence[str]]] = [
        ("no space (ENOSPC) from then on", full, "fail from then on", errno.ENOSPC, full),
        ("quota (EDQUOT) from then on", full, "fail from then on", errno.EDQUOT, full),
        ("read-only (EROFS) from then on", CHANGES, "fail from then on", errno.EROFS, CHANGES),
        ("error of a change (EIO), once", CHANGES, "fail", errno.EIO, ()),
        ("errors of changes (EIO) from then on", CHANGES, "fail from then on", errno.EIO, CHANGES),
        ("error of reading (EIO), once", READS, "fail", errno.EIO, ()),
        ("errors of reading (EIO) from then on", READS, "fail from then on", errno.EIO, READS),
        ("interrupted call (EINTR), once", interruptible, "fail", errno.EINTR, ()),
        ("short reads and writes from then on", ("read", "write"), "short", 0, ("read", "write")),
        ("clock one day back", every, "clock", -_DAY, ()),
        ("clock one day ahead", every, "clock", _DAY, ()),
    ]
    for name, kinds, action, value, then in errors:
        if not (calls := sum(bench.counts[scenario.name][kind] for kind in kinds)):
            continue
        for number in sorted(chance.sample(range(1, calls + 1), min(calls, _SAMPLES // 4))):
            fault = Fault(kinds, number, action, value, then)
            yield _disturbed(bench, scenario, name, fault, f"call {number} of {', '.join(kinds)}")


def _disturbed(bench: Bench, scenario: Scenario, name: str, fault: Fault | Moment, detail: str) -> Case:
    def judge() -> tuple[str, str]:
        scenario.reset()
        ended = bench.children.run(scenario.command, fault)
        return _judge_disturbed(bench, scenario, ended, fault)

    return Case(name, scenario.name, detail, judge)


def _judge_disturbed(bench: Bench, scenario: Scenario, ended: Ended, fault: Fault | Moment) -> tuple[str, str]:
    expected, shown = bench.expected[scenario.name], ended.text[-1500:]
    number = fault.signal if isinstance(fault, Moment) else signal.SIGKILL
    is_killed = isinstance(fault, Moment) or fault.action.startswith("kill")
    is_error = isinstance(fault, Fault) and fault.action.startswith("fail") and fault.value != errno.EINTR
    codes = (0, -number, 128 + number) if is_killed else (0, 2) if is_error else (0,)
    if problem := describe_bad_ending(ended, codes):
        return "failed", f"{problem}\n{shown}"
    if ended.code == 2 and "delete" in ended.errors[0].lower():
        return "failed", f"advises to delete an intact file: {ended.errors[0]}"
    if not ended.code:
        found = scenario.result(Path(OUT))
        right = found == expected
        return ("finished", "") if right else ("failed", f"another result: {different(expected, found)}\n{shown}")
    outcome, description = recover(scenario, bench.children, expected)
    return outcome, f"{description}\nfirst: {shown}" if outcome == "failed" else description


def _damages(bench: Bench, scenario: Scenario, chance: random.Random) -> Iterator[Case]:
    """Damage each file of a RUN before training is resumed, or before a finished RUN is checked or translates."""
    for name in ("resume",) if scenario.name == "resume" else ("check", "translate"):
        start = Path("../half" if name == "resume" else "../run")
        for file in sorted(path.relative_to(start) for path in start.rglob("*") if path.is_file()):
            for kind, change in _DAMAGES.items():
                number = chance.randrange(1 << 30)
                yield Case(f"{kind} in RUN", name, str(file), _damage_judge(bench, name, start, file, change, number))


def _damage_judge(
    bench: Bench, name: str, start: Path, file: Path, change: Callable[[bytes, random.Random], bytes | None], seed: int
) -> Callable[[], tuple[str, str]]:
    def judge() -> tuple[str, str]:
        out = Path(OUT)
        empty(out)
        shutil.copytree(start, out, dirs_exist_ok=True)
        before = (out / file).read_bytes()
        after = change(before, random.Random(seed))
        if after == before:
            return "finished", "unchanged"
        (out / file).unlink()
        if after is not None:
            (out / file).write_bytes(after)
        if name == "resume":
            scenario, lost = bench.scenarios[name], _lost(file)
            result = scenario.result
            scenario = scenario._replace(result=lambda run: lost(result(run)))
            return recover(scenario, bench.children, lost(bench.expected[name]), [out / file])
        is_json = file.name.endswith((".json", ".json.copy"))
        is_same = is_json and after is not None and after.split() == before.split()  # only white space is lost
        return _judge_use(bench, name, out / file, may_pass_check=is_same)

    return judge


def _lost(file: Path) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return a function that removes the parts of a result that cannot be restored: the log and kept snapshots."""

    def without(result: dict[str, Any]) -> dict[str, Any]:
        if file.name == "log.jsonl":
            return {**result, file.name: None}
        kept = {step: digest for step, digest in result["snapshots"].items() if step not in file.parts}
        return {**result, "snapshots": kept}

    return without


def _judge_use(bench: Bench, name: str, file: Path, may_pass_check: bool) -> tuple[str, str]:
    """Check a damaged RUN, or translate with it."""
    translated = Path("translated")
    paths = {"../run": OUT, "out/translated": str(translated)}
    translate = [paths.get(part, part) for part in bench.scenarios["translate"].command]
    command = ["check", OUT] if name == "check" else translate
    ended = bench.children.run(command)
    if problem := describe_bad_ending(ended, (0, 2)):
        return "failed", f"{problem}\n{ended.text[-1500:]}"
    if ended.code:
        named = names(ended.errors[0], file)
        return ("advised", ended.errors[0]) if named else ("failed", f"does not name {file}: {ended.errors[0]}")
    if name == "check":
        may_pass_check = may_pass_check or file.name in _REMADE or "tensorboard" in file.parts
        return ("finished", "") if may_pass_check else ("failed", f"no error: {ended.text}")
    right = translated.read_bytes() == bench.translated
    return ("finished", "") if right else ("failed", "other translations")


def _flip(content: bytes, chance: random.Random) -> bytes:
    if not content:
        return content
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


_DAMAGES: dict[str, Callable[[bytes, random.Random], bytes | None]] = {
    "a flipped bit": _flip,
    "another flipped bit": _flip,
    "a file cut in the middle": lambda content, chance: content[: chance.randrange(len(content) or 1)],
    "a file without its last byte": lambda content, chance: content[:-1],
    "an empty file": lambda content, chance: b"",
    "a file of zeros": lambda content, chance: bytes(len(content)),
    "random bytes at the end of a file": lambda content, chance: content + chance.randbytes(16),
    "a missing file": lambda content, chance: None,
}


def _losses_of_power(bench: Bench, scenario: Scenario, chance: random.Random) -> Iterator[Case]:
    calls = bench.trace(scenario.name)
    for _ in range(4 * _SAMPLES):
        number, seed = chance.randint(1, len(calls)), chance.randrange(1 << 30)
        judge = _power_judge(bench, scenario, calls[:number], seed)
        yield Case("loss of power", scenario.name, f"after {number} of {len(calls)} calls, seed {seed}", judge)


def _power_judge(bench: Bench, scenario: Scenario, calls: list[Call], seed: int) -> Callable[[], tuple[str, str]]:
    def judge() -> tuple[str, str]:
        out = scenario.reset()
        out.mkdir(exist_ok=True)
        for name, content in Disk(calls).files(random.Random(seed)):
            if content is None:
                (out / name).mkdir()
            else:
                (out / name).write_bytes(content)
        return recover(scenario, bench.children, bench.expected[scenario.name])

    return judge


def _disks(bench: Bench, scenario: Scenario) -> Iterator[Case]:
    """Full and read-only file systems in memory."""
    for share in (0.01, 0.05, *(step / 10 for step in range(1, 13))) if scenario.name != "resume" else ():
        room = max(4096, int(share * bench.bytes[scenario.name]))
        judge = _disk_judge(bench, scenario, room, "size=512m")
        yield Case("full disk (tmpfs)", scenario.name, f"{room // 1024} KiB", judge)
    if scenario.start:
        yield Case("read-only file system", scenario.name, "", _disk_judge(bench, scenario, None, "rw"))


def _disk_judge(bench: Bench, scenario: Scenario, room: int | None, relief: str) -> Callable[[], tuple[str, str]]:
    """Return the judge of a file system with room for some more bytes, or, if that is None, a read-only one."""

    def mount(*options: str) -> None:
        subprocess.run(["mount", *options, OUT], check=True)

    def judge() -> tuple[str, str]:
        out = scenario.reset()
        out.mkdir(exist_ok=True)
        mount("-t", "tmpfs", "none")
        try:
            scenario.reset()
            disk = os.statvfs(OUT)
            size = (disk.f_blocks - disk.f_bfree) * disk.f_frsize + (room or 0)
            mount("-o", "remount,ro" if room is None else f"remount,size={size}")
            ended = bench.children.run(scenario.command)
            mount("-o", f"remount,{relief}")
            fault = Fault((), 0, "fail", errno.ENOSPC)
            return _judge_disturbed(bench, scenario, ended, fault)
        finally:
            subprocess.run(["umount", OUT], check=True)

    return judge
