"""Train on three hosts, one of which is cut off, on one machine: `python -m benchmarks.hosts [--only NAME,...]`.

The hosts are network namespaces with addresses of their own, joined by a bridge (as root, on Linux; needs `ip`). Each
runs torchrun with one process, and they meet over the network. RUN is on the file system that they share. Scenarios:

- stop: one host loses its link. The others stop with a clear message in bounded time; once the link is back, the same
  commands resume, and the final weights equal those of a run without the fault, bit for bit.
- continue: with `--nnodes 2:3`, the two other hosts meet again without the third and finish the run.
- kill: a process is killed with SIGKILL. torchrun restarts all (`--max-restarts`), with the same weights in the end.
- leave: a first run on two hosts is resumed on one, then on three, with the same order of the data.
- unshared: one host sees another file system at RUN, which is refused in one line.

The command prints a table of what happened and exits with 1 if a promise was broken.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from allyouneed.files import read_tensors

STEPS, CUT_AT = 60, 20
_PORT = 29400
_SETTINGS = {
    **{"model.d_model": 32, "model.d_ff": 64, "model.num_heads": 2, "model.encoder_layers": 1},
    **{"model.decoder_layers": 1, "data.vocab_size": 300, "data.max_length": 40, "training.batch_tokens": 400},
    **{"training.steps": STEPS, "training.warmup": 10, "training.learning_rate": 0.005},
    **{"training.validate_every": STEPS // 2, "training.bleu_sentences": 0, "training.average": 1},
    **{"training.log_every": 1, "training.save_minutes": 0.01},
}
_IN_HOST = 'hostname "$1"; shift; exec "$@"'  # the name is this host's own, see `unshare --uts`
_HIDING = 'hostname "$1"; shift; mount -t tmpfs none "$1"; shift; exec "$@"'


def why_not() -> str | None:
    """Return why this machine cannot make hosts; None if it can."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "network namespaces need root, ip and unshare"
    probe = f"probe{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", probe], capture_output=True, text=True)
    if made.returncode:
        return f"network namespaces are not permitted: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "delete", probe], check=True)
    return None


@dataclass(frozen=True)
class Host:
    """A network namespace with one interface, `eth0`, whose other end is a port of the bridge."""

    name: str
    namespace: str
    address: str
    bridge: str
    port: str

    def connect(self, up: bool) -> None:
        """Connect the host to the bridge, or cut it off: no packet arrives, and no connection is closed."""
        run("ip", "-n", self.bridge, "link", "set", self.port, "up" if up else "down")

    def start(self, command: Sequence[str], output: Path, hidden: Path | None = None) -> subprocess.Popen[bytes]:
        """Start a command on the host; an empty file system covers the folder `hidden`."""
        script = ["sh", "-c", _HIDING if hidden else _IN_HOST, "sh", self.name, *([str(hidden)] if hidden else [])]
        inside = ["ip", "netns", "exec", self.namespace, "unshare", "--uts", "--mount", *script, *command]
        environment = os.environ | {"GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1"}
        environment |= {"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}  # rank 0 may move to another host
        with open(output, "ab") as file:
            return subprocess.Popen(inside, stdout=file, stderr=file, env=environment, start_new_session=True)


@contextmanager
def network(count: int = 3) -> Iterator[list[Host]]:
    """Make hosts that a bridge connects, and delete them at the end."""
    prefix = f"aun{os.getpid()}"
    bridge = f"{prefix}s"
    names = [bridge, *(f"{prefix}h{number}" for number in range(1, count + 1))]
    try:
        for name in names:
            run("ip", "netns", "add", name)
            run("ip", "-n", name, "link", "set", "lo", "up")
        run("ip", "-n", bridge, "link", "add", "bridge0", "type", "bridge")
        run("ip", "-n", bridge, "link", "set", "bridge0", "up")
        hosts = []
        for number, name in enumerate(names[1:], start=1):
            host = Host(f"host{number}", name, f"10.77.0.{number}", bridge, f"port{number}")
            ends = ["link", "add", host.port, "type", "veth", "peer", "name", "eth0", "netns", name]
            run("ip", "-n", bridge, *ends)
            run("ip", "-n", bridge, "link", "set", host.port, "master", "bridge0", "up")
            run("ip", "-n", name, "address", "add", f"{host.address}/24", "dev", "eth0")
            run("ip", "-n", name, "link", "set", "eth0", "up")
            hosts.append(host)
        yield hosts
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)


def run(*command: str) -> None:
    """Run a command that must succeed."""
    subprocess.run(command, check=True, capture_output=True)


@dataclass
class Training:
    """A run on several hosts.

    Attributes:
        hosts: The hosts, the first of which has the address of the rendezvous.
        out: Folder of the run.
        text: Folder of the text.
        nodes: torchrun's number of hosts, for example "2:3".
        restarts: torchrun's number of restarts.
        settings: Settings that differ from those of all runs.
        hidden: A host that does not see the folder of the run.
    """

    hosts: Sequence[Host]
    out: Path
    text: Path
    nodes: str
    restarts: int = 0
    settings: Mapping[str, object] = field(default_factory=dict)
    hidden: Host | None = None

    def __enter__(self) -> Training:
        self.outputs = {host.name: self.out.parent / f"{self.out.name}.{host.name}.txt" for host in self.hosts}
        for path in self.outputs.values():
            path.unlink(missing_ok=True)
        self.out.mkdir(parents=True, exist_ok=True)
        self.processes = {
            host.name: host.start(
                self._command(host), self.outputs[host.name], self.out if host is self.hidden else None
            )
            for host in self.hosts
        }
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def step(self) -> int:
        """Return the last logged step."""
        log = self.out / "log.jsonl"
        steps = re.findall(rb'"event": "train", "step": (\d+)', log.read_bytes()) if log.exists() else []
        return int(steps[-1]) if steps else 0

    def wait_for_step(self, step: int, seconds: float = 600) -> None:
        """Wait until a step is logged."""
        self._wait(lambda: self.step() >= step, seconds)

    def wait(self, *names: str, seconds: float = 600) -> dict[str, int]:
        """Wait until hosts have ended, and return their exit codes."""
        chosen = [self.processes[name] for name in names or self.processes]
        self._wait(lambda: all(process.poll() is not None for process in chosen), seconds)
        return {name: process.returncode for name, process in self.processes.items() if process.returncode is not None}

    def messages(self, name: str) -> list[str]:
        """Return the lines in which the program itself reports an error on a host."""
        return [line for line in self.outputs[name].read_text().splitlines() if line.startswith("error: ")]

    def wait_for_messages(self, name: str, seconds: float = 300) -> None:
        """Wait until the program reports an error on a host."""
        self._wait(lambda: bool(self.messages(name)), seconds)

    def process_of_rank(self, host: Host) -> int:
        """Return the process id of the training process on a host."""
        torchrun = self.processes[host.name].pid  # the commands before it have replaced themselves
        children = map(int, Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split())
        return next(each for each in children if "-m allyouneed" in _command_line(each))

    def _wait(self, condition: Callable[[], bool], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                tails = "\n".join(f"--- {name}\n{path.read_text()[-3000:]}" for name, path in self.outputs.items())
                raise TimeoutError(f"{self.out.name}: nothing for {seconds:.0f} seconds\n{tails}")
            time.sleep(0.05)

    def _command(self, host: Host) -> list[str]:
        rendezvous = [
            *("--rdzv-backend", "c10d", "--rdzv-endpoint", f"{self.hosts[0].address}:{_PORT}", "--rdzv-id", "hosts"),
            *("--rdzv-conf", f"is_host={int(host is self.hosts[0])},last_call_timeout=5", "--local-addr", host.address),
        ]
        torchrun = ["torch.distributed.run", "--nnodes", self.nodes, "--nproc-per-node", "1", *rendezvous]
        torchrun += ["--max-restarts", str(self.restarts)]
        files = {name: [str(self.text / f"{name}.{side}") for side in ("de", "en")] for name in ("train", "valid")}
        train = ["train", "--from", "de", "--to", "en", "--recipe", "tiny", "--out", str(self.out)]
        train += ["--train", *files["train"], "--valid", *files["valid"]]
        settings = [f"--set={name}={value}" for name, value in {**_SETTINGS, **self.settings}.items()]
        return [sys.executable, "-m", *torchrun, "-m", "allyouneed", *train, *settings]


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""  # it has ended


def write_text(folder: Path) -> Path:
    """Write pairs of letters and the same letters in reverse order."""
    rng = random.Random(1)
    folder.mkdir(parents=True, exist_ok=True)
    for name, count in (("train", 400), ("valid", 30)):
        pairs = [" ".join(rng.choices("abcdefgh", k=rng.randint(2, 7))) for _ in range(count)]
        (folder / f"{name}.de").write_text("".join(f"{line}\n" for line in pairs))
        (folder / f"{name}.en").write_text("".join(f"{line[::-1]}\n" for line in pairs))
    return folder


def largest_difference(run: Path, other: Path) -> float:
    """Return the largest difference of the weights after the last step; 0 if they are equal bit for bit."""
    name = f"checkpoints/step-{STEPS:08d}/model.safetensors"
    weights, others = read_tensors(run / name), read_tensors(other / name)
    return max(float((weights[key] - others[key]).abs().max()) for key in weights)


def losses(run: Path) -> list[tuple[int, float]]:
    """Return the loss of each step."""
    records = map(json.loads, (run / "log.jsonl").read_text().splitlines())
    return [(each["step"], each["loss"]) for each in records if each["event"] == "train"]


class Scenarios:
    """The scenarios of this module; each returns what happened, in words, and whether all promises were kept.

    Args:
        hosts: Three hosts.
        folder: Where runs are written.
    """

    def __init__(self, hosts: Sequence[Host], folder: Path):
        self.hosts, self.folder, self.text = hosts, folder, write_text(folder / "text")
        self.reference = folder / "undisturbed"
        with Training(hosts, self.reference, self.text, "3") as training:
            codes = training.wait()
        assert set(codes.values()) == {0}, training.outputs

    def stop(self) -> tuple[bool, str]:
        """Cut off the third host; the same commands resume."""
        with Training(self.hosts, self.folder / "stop", self.text, "3") as training:
            training.wait_for_step(CUT_AT)
            self.hosts[2].connect(False)
            began = time.monotonic()
            codes = training.wait("host1", "host2", seconds=300)
            training.wait_for_messages("host3")  # its torchrun waits longer for the address of the rendezvous
            seconds = time.monotonic() - began
            said = {name: training.messages(name) for name in training.processes}
        self.hosts[2].connect(True)
        with Training(self.hosts, self.folder / "stop", self.text, "3") as training:
            resumed = training.wait()
        difference = largest_difference(training.out, self.reference)
        kept = (
            0 not in codes.values()
            and all(len(lines) == 1 for lines in said.values())
            and set(resumed.values()) == {0}
            and difference == 0
        )
        return kept, (
            f"all processes ended {seconds:.0f} s after the cut, with one line on each host; resumed, the weights "
            f"differ by at most {difference:g}; host1: {said['host1']}; host3: {said['host3']}"
        )

    def continue_(self) -> tuple[bool, str]:
        """Cut off the third host; the others go on."""
        with Training(self.hosts, self.folder / "continue", self.text, "2:3", restarts=3) as training:
            training.wait_for_step(CUT_AT)
            cut_at, began = training.step(), time.monotonic()
            self.hosts[2].connect(False)
            codes = training.wait("host1", "host2")
            seconds = time.monotonic() - began
        self.hosts[2].connect(True)
        curve = losses(training.out)
        kept = codes["host1"] == codes["host2"] == 0 and [step for step, _ in curve] == list(range(1, STEPS + 1))
        worst = max(abs(loss - other) for (_, loss), (_, other) in zip(curve, losses(self.reference), strict=True))
        return kept, (
            f"cut off after step {cut_at}; two hosts finished all {STEPS} steps {seconds:.0f} s later; the loss of a "
            f"step differs by at most {worst:.2g} (other masks of dropout)"
        )

    def kill(self) -> tuple[bool, str]:
        """Kill a process with SIGKILL; torchrun restarts all."""
        with Training(self.hosts, self.folder / "kill", self.text, "3", restarts=3) as training:
            training.wait_for_step(CUT_AT)
            os.kill(training.process_of_rank(self.hosts[1]), signal.SIGKILL)
            codes = training.wait()
        difference = largest_difference(training.out, self.reference)
        return set(codes.values()) == {0} and difference == 0, f"restarted; weights differ by at most {difference:g}"

    def leave(self) -> tuple[bool, str]:
        """Resume with other numbers of hosts."""
        out, done = self.folder / "leave", []
        settings = {"model.dropout": 0.0}
        for count, until in ((2, CUT_AT), (1, 2 * CUT_AT), (3, STEPS)):
            with Training(self.hosts[:count], out, self.text, str(count), settings=settings) as training:
                if until < STEPS:
                    training.wait_for_step(until)
                    for process in training.processes.values():
                        os.killpg(process.pid, signal.SIGTERM)
                training.wait()
                done.append(training.step())
        whole = self.folder / "whole"
        with Training(self.hosts[:1], whole, self.text, "1", settings=settings) as training:
            training.wait()
        curves = losses(out), losses(whole)
        worst = max(abs(loss - other) for (_, loss), (_, other) in zip(*curves, strict=True))
        return (
            worst < 1e-3,
            f"2, 1 and 3 hosts until steps {done}; losses differ from one process by at most {worst:.2g}",
        )

    def unshared(self) -> tuple[bool, str]:
        """Hide the folder of the run from the third host."""
        out = self.folder / "unshared"
        with Training(self.hosts, out, self.text, "3", hidden=self.hosts[2]) as training:
            codes = training.wait()
            said = {name: training.messages(name) for name in training.processes}
        kept = 0 not in codes.values() and len(said["host3"]) == 1 and "must be on a file system" in said["host3"][0]
        return kept, f"host3: {said['host3']}; host1: {said['host1']}"


SCENARIOS = {
    "stop": Scenarios.stop,
    "continue": Scenarios.continue_,
    "kill": Scenarios.kill,
    "leave": Scenarios.leave,
    "unshared": Scenarios.unshared,
}


def main() -> None:
    """Run the scenarios and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SCENARIOS), help="names of scenarios, separated by commas")
    parser.add_argument("--work", type=Path, help="folder for the runs, which are kept; default: a temporary folder")
    args = parser.parse_args()
    if reason := why_not():
        sys.exit(f"cannot make hosts: {reason}")
    with tempfile.TemporaryDirectory() as temporary, network() as hosts:
        scenarios = Scenarios(hosts, args.work or Path(temporary))
        results = {name: SCENARIOS[name](scenarios) for name in args.only.split(",")}
    print("| scenario | kept | what happened |\n| --- | --- | --- |")
    for name, (kept, happened) in results.items():
        print(f"| {name} | {'yes' if kept else 'NO'} | {happened} |")
    sys.exit(not all(kept for kept, _ in results.values()))


if __name__ == "__main__":
    main()
