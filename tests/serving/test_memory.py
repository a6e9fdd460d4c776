"""Memory use is constant: no data of a request is kept."""

from __future__ import annotations

import http.client
import json
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

REQUESTS, CLIENTS, SETTLING = 20_000, 64, 3000


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_memory_is_constant_over_twenty_thousand_requests(toy_run):
    command = [sys.executable, "-m", "allyouneed", "serve", str(toy_run), "--port", "0", "--threads", "2"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            while not (found := re.search(r"^http://.*:(\d+)/$", server.stderr.readline(), re.MULTILINE)):
                assert server.poll() is None
            port = int(found[1])  # printed once the server accepts requests
            threading.Thread(target=server.stderr.read, daemon=True).start()
            load(port, SETTLING)  # fill caches and allocator arenas
            sizes = [resident(server.pid)]
            for _ in range(10):
                load(port, REQUESTS // 10)
                sizes.append(resident(server.pid))
        finally:
            server.send_signal(signal.SIGTERM)
    print(f"MiB after every {REQUESTS // 10:,} requests: {', '.join(f'{size:.0f}' for size in sizes)}")
    assert max(sizes) <= 1.05 * sizes[0]


def load(port: int, count: int) -> None:
    """Send requests of all kinds from concurrent clients: valid and invalid ones, markup, streams."""
    texts = [" ".join("abcdefgh"[i % 8] for i in range(start, start + 3 + start % 5)) for start in range(50)]
    failed: list[int] = []

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for number in range(first, count, CLIENTS):
            q = texts[number % len(texts)]
            path, body = [
                ("/translate", {"q": q, "source": "aa", "target": "bb"}),
                ("/api/translate", {"q": q, "source": "aa", "target": "bb", "words": True}),
                ("/v2/translate", {"text": [q, f"<b>{q}</b>"], "target_lang": "BB", "tag_handling": "html"}),
                ("/api/stream", {"q": q, "source": "aa", "target": "bb"}),
                ("/translate", {"q": q, "source": f"x{number}", "target": "bb"}),
            ][number % 5]
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            if response.status not in (200, 400):
                failed.append(response.status)
        connection.close()

    clients = [threading.Thread(target=client, args=(first,)) for first in range(CLIENTS)]
    for thread in clients:
        thread.start()
    for thread in clients:
        thread.join()
    assert not failed


def resident(process: int) -> float:
    """Return a process's resident memory in MiB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024
