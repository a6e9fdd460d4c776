"""Damaged and hostile models of all systems: each is read, or refused in one line, within 5 s and 1 GB.

    python -m benchmarks.hostile [--mutations 300] [--seed 1] [--only NAME] [--failures FOLDER]

A case is determined by the seed, the name of the model and its number. It copies a small model, changes one to three of
its files (bytes, JSON values, nesting, headers and values of tensors, kinds of file) and reads it in a child process
with limits. Prints a table of results; exit code 1 if a case ended otherwise than read or refused.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import traceback
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch

from allyouneed.bundle import load_bundle
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.errors import UserError
from allyouneed.exchange import (
    describe_model,
    export_argos,
    export_ctranslate2,
    export_marian,
    export_marian_native,
    import_bundle,
    verify_checksums,
)
from allyouneed.files import MANIFEST, sha256
from tests.compat import POST_NORM
from tests.exchange import test_opennmt_joeynmt as opennmt

SECONDS, WAIT, MEMORY = 5, 40, 1 << 30  # processor time; time in all, on a busy machine; bytes beyond the start
ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "exchange" / "data"
BUNDLES = ROOT / "tests" / "compat"
LANGUAGES = ("de", "en")
NUMBERS = (0, -1, 1, 2, 3, 7, 255, 65_536, 2**31 - 1, 2**31, 2**63, 10**30, -(2**63), 1e999, float("nan"), 0.5, -0.0)
VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "a", "relu", "\ud800", "a" * 100_000, "../../x", "/dev/zero", [], {}, [[]], [1], {"a": 1}),
    *([None], {"kind": {}}, ["a", "a"], NUMBERS[-2], *NUMBERS),
)
PIECES = b"\xff", b"\0", b"*", b"&a ", b"{", b"[", b'"', b"'", b"\n", b": ", b"- ", b"!!python/object:os.system ", b"1"
DEEP = (b'{"a":', b"}"), (b"[", b"]"), (b"- ", b""), (b"{a: ", b"}"), (b"(", b")")


class Sample(NamedTuple):
    """A small model, and what reads it.

    Attributes:
        folder: Its files.
        read: Reads the model in a folder like this one; the second argument is a new folder.
    """

    folder: Path
    read: Callable[[Path, Path], object]


def samples(folder: Path) -> dict[str, Sample]:
    """Write a small model of each system."""
    found: dict[str, Sample] = {}

    def add(name: str, write: Callable[[Path], object], *paths: str, system: str = "") -> None:
        write(folder / name)
        found[name] = Sample(folder / name, _importer(system or name, paths))

    bundle = load_bundle(POST_NORM)
    bundle.languages = LANGUAGES
    add("marian", lambda to: export_marian(bundle, to))
    add("ctranslate2", lambda to: export_ctranslate2(bundle, to))
    add("argos", lambda to: _argos(bundle, to), "model.argosmodel")
    add("marian npz", lambda to: export_marian_native(bundle, to), system="marian")
    add("marian bin", lambda to: _copy(to, DATA / "marian", "transformer.intgemm8.bin", "vocab.yml"), system="marian")
    add("marian zip", lambda to: _zipped(bundle, to), "model.zip", system="marian")
    add("fairseq", _fairseq)
    add("sockeye", lambda to: shutil.copytree(DATA / "sockeye" / "default", to))
    add("eole", lambda to: opennmt.write_eole(to, opennmt.tensors_of("eole"), mlp_activation_fn="relu"))
    add("opennmt-py", _opennmt, "model.pt")
    add(
        "joeynmt",
        lambda to: opennmt.write_joeynmt(
            to, opennmt.tensors_of("joeynmt"), "layer_norm: pre, embeddings: {scale: true}"
        ),
    )
    for name in ("format-2", "format-2-marian", "format-3"):
        shutil.copytree(BUNDLES / name, folder / f"bundle {name}" / "bundle")
        found[f"bundle {name}"] = Sample(folder / f"bundle {name}", _use)
    import_bundle("fairseq", [folder / "fairseq"], folder / "bundle fairseq", *LANGUAGES)
    found["bundle fairseq"] = Sample(folder / "bundle fairseq", _use)
    return found


def mutate(folder: Path, chance: random.Random) -> list[str]:
    """Change files of a model, and return what was done."""
    done = []
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md")
        if not (files := [each for each in files if each.name != MANIFEST]):
            break
        path = chance.choice(files)
        change = chance.choice([_file_kind, _content, _content, _content, _content, _content, _content])
        change(path, chance)
        done.append(f"{path.relative_to(folder)}: {change.__name__.strip('_')}")
    for manifest in folder.rglob(MANIFEST):
        if chance.random() < 0.95:
            names = [path.name for path in manifest.parent.iterdir() if path.is_file() and path.name != MANIFEST]
            sums = {name: sha256(manifest.parent / name) for name in names if not _is_endless(manifest.parent / name)}
            manifest.write_text(json.dumps({"sha256": sums}))
        else:
            _content(manifest, chance)
    return done


def run(sample: Sample, seed: str, report: Counter[str]) -> tuple[str, float, str]:
    """Make a case and read it in a child process.

    Returns:
        "read", "refused" or a description of a failure; processor time in seconds; the traceback.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        shutil.copytree(sample.folder, folder)
        mutate(folder, random.Random(seed))
        receive, send = os.pipe()
        process = os.fork()
        if not process:
            os.close(receive)
            _child(sample, folder, send)
        os.close(send)
        text = _received(receive, process)
        _, status, usage = os.wait4(process, 0)
    outcome, _, details = text.partition("\n")
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        outcome, details = {"SIGXCPU": "slow", "SIGKILL": "hangs"}.get(name, f"crash ({name})"), text
    return outcome or "died", usage.ru_utime + usage.ru_stime, details


def _received(receive: int, process: int) -> str:
    """Return what a child writes; kill it if that takes too long."""
    alarm = signal.signal(signal.SIGALRM, lambda *_: os.kill(process, signal.SIGKILL))
    signal.alarm(WAIT)
    try:
        with open(receive, "rb") as pipe:
            return pipe.read().decode("utf-8", "replace")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, alarm)


def _child(sample: Sample, folder: Path, send: int) -> None:
    """Read a model with limits, write the outcome, and exit."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    outcome, details = "read", ""
    try:
        sample.read(folder, folder.parent / "run")
    except UserError as error:
        message = str(error)
        outcome = "refused" if "\n" not in message and len(message) < 2000 else "refused in several lines"
        details = message
    except BaseException as error:
        outcome, details = place(error), traceback.format_exc()
    os.write(send, f"{outcome}\n{details[-60_000:]}".encode("utf-8", "backslashreplace"))
    os._exit(0)


def place(error: BaseException) -> str:
    """Return the type of an error, and the last line of the package that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "/allyouneed/" in frame.filename] or frames
    return f"{type(error).__name__} at {'/'.join(Path(own[-1].filename).parts[-2:])}:{own[-1].lineno}"


def main() -> int:
    """Print a Markdown table with a row for each kind of model, and the failures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=300, help="cases of each kind of model")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="kinds that contain this text")
    parser.add_argument("--failures", type=Path, help="folder for the traceback of the first case of each failure")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    failures: Counter[str] = Counter()
    print("| model | cases | read | refused | failed | slowest, s |\n| --- |" + " ---: |" * 5, flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for name, sample in samples(Path(temporary)).items():
            if arguments.only not in name:
                continue
            sample.read(sample.folder, Path(temporary) / f"run of {name}")
            counts, slowest = Counter[str](), 0.0
            for number in range(arguments.mutations):
                seed = f"{arguments.seed} {name} {number}"
                outcome, took, details = run(sample, seed, counts)
                slowest = max(slowest, took)
                counts[outcome if outcome in ("read", "refused") else "failed"] += 1
                if outcome not in ("read", "refused"):
                    failures[f"{name}: {outcome}"] += 1
                    if arguments.failures and failures[f"{name}: {outcome}"] == 1:
                        arguments.failures.mkdir(parents=True, exist_ok=True)
                        file = arguments.failures / f"{name} {number}.txt".replace(" ", "-")
                        file.write_text(f"seed {seed}\n{outcome}\n{details}")
            cells = " | ".join(f"{counts[each]:,}" for each in ("read", "refused", "failed"))
            print(f"| {name} | {counts.total():,} | {cells} | {slowest:.1f} |", flush=True)
    for failure, count in failures.most_common():
        print(f"- {failure}: {count}")
    return 1 if failures else 0


def _importer(system: str, paths: tuple[str, ...]) -> Callable[[Path, Path], object]:
    def read(folder: Path, run: Path) -> None:
        chosen = [folder / path for path in paths] or [folder]
        describe_model(chosen[0])
        import_bundle(system, chosen, run, *LANGUAGES)

    return read


def _use(folder: Path, _: Path) -> None:
    """Do with a RUN what its user does."""
    verify_checksums(folder)
    describe_model(folder)
    bundle = load_bundle(folder)
    ids = bundle.tokenizer.encode("a b c")
    bundle.tokenizer.pieces(ids)
    with torch.inference_mode():
        bundle.model(torch.tensor([[*ids, EOS]]), torch.tensor([[BOS]]))


def _argos(bundle: Any, to: Path) -> None:
    export_argos(bundle, to)
    (to / MANIFEST).unlink()
    next(to.glob("*.argosmodel")).rename(to / "model.argosmodel")


def _zipped(bundle: Any, to: Path) -> None:
    to.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        export_marian_native(bundle, Path(temporary) / "model")
        with zipfile.ZipFile(to / "model.zip", "w") as archive:
            for path in sorted((Path(temporary) / "model").iterdir()):
                archive.write(path, path.name)


def _fairseq(to: Path) -> None:
    _copy(to, DATA / "fairseq" / "post", "model.pt", "dict.de.txt", "dict.en.txt")
    shutil.copy(DATA / "fairseq" / "bpecodes", to)


def _opennmt(to: Path) -> None:
    to.mkdir()
    opennmt.write_opennmt(to / "model.pt", opennmt.tensors_of("opennmt"))


def _copy(to: Path, folder: Path, *names: str) -> None:
    to.mkdir()
    for name in names:
        shutil.copy(folder / name, to / name)


def _is_endless(path: Path) -> bool:
    return path.is_symlink() or path.is_fifo()


def _file_kind(path: Path, chance: random.Random) -> None:
    """Replace a file by something else."""
    path.unlink()
    kind = chance.randrange(8)
    if kind == 0:
        os.mkfifo(path)
    elif kind == 1:
        path.symlink_to("/dev/zero")
    elif kind == 2:
        path.symlink_to(path.name)
    elif kind == 3:
        path.mkdir()
    elif kind == 4:
        path.write_bytes(b"")
    elif kind == 5:
        with open(path, "wb") as file:
            file.truncate(1 << 30)  # sparse
    elif kind == 6:
        path.write_bytes(chance.randbytes(chance.choice((1, 10, 1000, 100_000))))


def _content(path: Path, chance: random.Random) -> None:
    """Change the content of a file."""
    if path.stat().st_size < 1 << 24 and not path.is_symlink():
        path.write_bytes(_changed(path.read_bytes(), chance))


def _changed(data: bytes, chance: random.Random) -> bytes:
    if data.startswith(b"PK\x03\x04") and chance.random() < 0.8:
        return _changed_archive(data, chance)
    if chance.random() < 0.85:
        for change in (_changed_json, _changed_tensors, _changed_lines):
            if (found := change(data, chance)) is not None:
                return found
    return _changed_bytes(data, chance)


def _changed_json(data: bytes, chance: random.Random) -> bytes | None:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return json.dumps(_changed_value(content, chance)).encode()


def _changed_value(content: Any, chance: random.Random) -> Any:
    """Replace, remove, add or nest a random part of a JSON value."""
    if isinstance(content, dict | list) and content and chance.random() < 0.93:
        keys = list(content) if isinstance(content, dict) else range(len(content))
        key = chance.choice(keys)
        kind = chance.random()
        if kind < 0.08:
            del content[key]
        elif kind < 0.12 and isinstance(content, dict):
            content[str(chance.choice(VALUES))] = content[key]
        elif kind < 0.14:
            deep: Any = content[key]
            for _ in range(chance.choice((10, 900))):
                deep = [deep]
            content[key] = deep
        else:
            content[key] = _changed_value(content[key], chance)
        return content
    if isinstance(content, int | float) and chance.random() < 0.6:
        return chance.choice((*NUMBERS, content + 1, content * 1000, -content, str(content)))
    return chance.choice(VALUES)


def _changed_tensors(data: bytes, chance: random.Random) -> bytes | None:
    """Change the header or the values of a safetensors file."""
    try:
        [size] = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + size])
    except (ValueError, struct.error, RecursionError):
        return None
    values = bytearray(data[8 + size :])
    if not isinstance(header, dict) or not header:
        return None
    kind = chance.random()
    if kind < 0.4:
        start = chance.randrange(max(1, len(values) // 4)) * 4
        values[start : start + 4] = struct.pack("<f", chance.choice((float("nan"), float("inf"), 1e38, -1e38, 0.0)))
    elif kind < 0.8:
        header = _changed_value(header, chance)
    else:
        name, other = chance.choice(list(header)), chance.choice(list(header))
        header[name], header[other] = header[other], header[name]
    text = json.dumps(header).encode()
    size = len(text) if chance.random() < 0.95 else chance.choice((0, 1, 2**31, 2**62, 2**64 - 1))
    return struct.pack("<Q", size) + text + bytes(values)


def _changed_lines(data: bytes, chance: random.Random) -> bytes | None:
    """Change a line of a text, such as a value of YAML."""
    if b"\0" in data[:1000] or b"\n" not in data[:100_000]:
        return None
    lines = data.split(b"\n")
    row = chance.randrange(len(lines))
    name, colon, _ = lines[row].partition(b":")
    kind = chance.random()
    if kind < 0.5 and colon:
        value = chance.choice((*VALUES, "*a", "&a [*a]", "!!python/object/apply:os.system [x]", "|", ">", "? ", "~"))
        lines[row] = name + b": " + (value if isinstance(value, str) else json.dumps(value)).encode("utf-8", "ignore")
    elif kind < 0.7:
        lines[row : row + 1] = chance.choice(([], [lines[row]] * 2, [lines[row], lines[0]]))
    elif kind < 0.8:
        opening, closing = chance.choice(DEEP)
        lines[row] = name + colon + b" " + opening * 5000 + b"1" + closing * 5000
    else:
        return _changed_bytes(data, chance)
    return b"\n".join(lines)


def _changed_archive(data: bytes, chance: random.Random) -> bytes:
    """Change entries of a ZIP archive: content, names, number and packing."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    except Exception:  # damaged before
        return _changed_bytes(data, chance)
    packing = {zipfile.ZIP_STORED}
    row, kind = chance.randrange(len(entries)), chance.random()
    name, content = entries[row]
    if kind < 0.7:
        entries[row] = name, _changed(content, chance)
    elif kind < 0.75:
        entries[row] = chance.choice(("../x", "/x", "", "a/" * 200, name.upper(), "C:\\x")), content
    elif kind < 0.8:
        entries.pop(row)
    elif kind < 0.85:
        entries.append(chance.choice(entries))
    elif kind < 0.9:
        entries[row] = name, bytes(1 << 27)
        packing = {zipfile.ZIP_DEFLATED}
    else:
        packing = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2}
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            archive.writestr(zipfile.ZipInfo(name or "a"), content, chance.choice(sorted(packing)))
    return file.getvalue() if chance.random() < 0.9 else _changed_bytes(file.getvalue(), chance)


def _changed_bytes(data: bytes, chance: random.Random) -> bytes:
    kind = chance.randrange(7)
    start = chance.randrange(len(data) + 1) if chance.random() < 0.5 else chance.randrange(min(len(data), 400) + 1)
    if kind == 0:
        return data[:start]
    if kind == 1:
        return data + data[: chance.choice((1, 100, len(data)))]
    if kind == 2:
        opening, closing = chance.choice(DEEP)
        count = chance.choice((2000, 200_000))
        return chance.choice((b"", data[:start])) + opening * count + closing * count
    if kind == 3:
        number = struct.pack("<Q", chance.choice((0, 1, 2**31 - 1, 2**32 - 1, 2**40, 2**63, 2**64 - 1)))
        number = number[: chance.choice((4, 8))]
        return data[:start] + number + data[start + len(number) :]
    if kind == 4:
        return data[:start] + chance.choice(PIECES) + data[start:]
    changed = bytearray(data)
    for _ in range(chance.choice((1, 1, 3, 20))):
        if changed:
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
    return bytes(changed)


if __name__ == "__main__":
    sys.exit(main())
