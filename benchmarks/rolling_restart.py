"""Restart two servers behind nginx, one after the other, while clients send requests.

`python benchmarks/rolling_restart.py RUN` needs nginx (`apt-get install nginx`) and about a minute. It starts two
`allyouneed serve RUN` and nginx with deploy/nginx.conf on loopback. Each client sends translations, streams and pages,
and checks every answer. Meanwhile each server gets SIGTERM, exits, is started again and becomes ready. The command
prints the number of requests, how many were lost, and the longest wait; it exits with 1 if a request was lost.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
CONFIGURATION = ROOT / "deploy" / "nginx.conf"
_MAIN = """daemon off;
{user}
pid {folder}/nginx.pid;
error_log {folder}/error.log;
worker_processes 1;
events {{}}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/allyouneed.conf;
}}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--text", default="Ein Hund rennt über die Wiese.")
    args = parser.parse_args()
    run = [sys.executable, "-m", "allyouneed", "serve", str(args.run), "--threads", "1"]
    servers = [Server([*run, "--port", str(free_port())]) for _ in range(2)]
    with tempfile.TemporaryDirectory() as folder, nginx([server.port for server in servers], Path(folder)) as address:
        try:
            for server in servers:
                server.start()
            with urllib.request.urlopen(f"{address}/api/languages", timeout=60) as response:
                [source, target] = json.load(response)["direct"][0]
            clients = Clients(address, args.text, source, target, args.clients)
            with clients.running():
                for server in servers:
                    server.restart()
                    clients.wait_for(10 * args.clients)
        finally:
            for server in servers:
                server.stop()
    print(clients.report())
    sys.exit(bool(clients.lost))


class Server:
    """A server process on a port of its own.

    Args:
        command: The command line, with the port at its end.
    """

    def __init__(self, command: list[str]):
        self._command, self.port = command, int(command[-1])
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it is ready."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        while not self._is_ready():
            if self._process.poll() is not None:
                sys.exit(f"the server on port {self.port} ended with {self._process.returncode}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Ask the server to finish its requests and wait until it has exited."""
        if self._process:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop the server and start it again."""
        self.stop()
        self.start()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/ready", timeout=10) as response:
                return response.status == 200
        except OSError:
            return False


class Clients:
    """Clients that send requests one after the other and count the lost ones.

    Args:
        address: Address of the proxy.
        text: Text to translate.
        source: Its language.
        target: Language of the translations.
        count: Number of clients.

    Attributes:
        answered: Number of answered requests of each kind.
        lost: A description of each request without the expected answer.
        longest: Longest wait for an answer in seconds.
    """

    def __init__(self, address: str, text: str, source: str, target: str, count: int):
        self._address, self._count = address, count
        self._body = json.dumps({"q": text, "source": source, "target": target}).encode()
        self._stop, self._lock = threading.Event(), threading.Condition()
        self.answered, self.lost, self.longest = Counter[str](), list[str](), 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests for the duration of the block."""
        threads = [threading.Thread(target=self._send, daemon=True) for _ in range(self._count)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, more: int) -> None:
        """Wait until this many more requests have been answered or lost."""
        with self._lock:
            aim = self._finished() + more
            self._lock.wait_for(lambda: self._finished() >= aim)

    def report(self) -> str:
        """Return the counts, and the first lost requests."""
        counts = ", ".join(f"{count:,} {kind}" for kind, count in sorted(self.answered.items()))
        summary = f"answered: {counts}; lost: {len(self.lost)}; longest wait: {self.longest:.1f} s"
        return "\n".join([summary, *self.lost[:10]])

    def _finished(self) -> int:
        return self.answered.total() + len(self.lost)

    def _send(self) -> None:
        kinds: dict[str, Callable[[], bool]] = {
            "translations": lambda: b"translatedText" in self._post("/translate", self._body),
            "streams": lambda: b"event: done" in self._post("/api/stream", self._body),
            "pages": lambda: b"<title>allyouneed" in self._get("/"),
        }
        while not self._stop.is_set():
            for kind, request in kinds.items():
                begun = time.monotonic()
                try:
                    problem = "" if request() else "another answer"
                except OSError as error:  # also HTTP errors
                    problem = str(error)
                with self._lock:
                    self.longest = max(self.longest, time.monotonic() - begun)
                    if problem:
                        self.lost.append(f"{kind}: {problem}")
                    else:
                        self.answered[kind] += 1
                    self._lock.notify_all()

    def _post(self, path: str, body: bytes) -> bytes:
        request = urllib.request.Request(self._address + path, body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=120) as response:
            return response.read()

    def _get(self, path: str) -> bytes:
        with urllib.request.urlopen(self._address + path, timeout=120) as response:
            return response.read()


@contextmanager
def nginx(ports: list[int], folder: Path) -> Iterator[str]:
    """Run nginx with deploy/nginx.conf in front of two local servers, and yield its address.

    Args:
        ports: Ports of the servers.
        folder: Empty folder for its files.
    """
    program = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
    if program is None:
        sys.exit("nginx is missing: apt-get install nginx")
    port = free_port()
    text = CONFIGURATION.read_text(encoding="utf-8").replace("listen 8080", f"listen 127.0.0.1:{port}")
    for number, server in enumerate(ports, start=1):
        text = text.replace(f"server-{number}:5000", f"127.0.0.1:{server}")
    (folder / "allyouneed.conf").write_text(text, encoding="utf-8")
    user = "user root;" if os.geteuid() == 0 else ""  # the workers write in the folder
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user), encoding="utf-8")
    process = subprocess.Popen([program, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"])
    try:
        while not _listens(port):
            if process.poll() is not None:
                sys.exit((folder / "error.log").read_text(encoding="utf-8"))
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGQUIT)  # answers the open requests first
        process.wait()


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    main()
