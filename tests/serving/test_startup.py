import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import pytest
import requests

from allyouneed.errors import UserError
from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.app import _handle_hangup, build_app
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.startup import require_keys_or_public, serve


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.3.2.1"])
def test_loopback_needs_no_keys(host):
    require_keys_or_public(ServerSettings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "example.org", "::"])
def test_a_public_address_needs_keys_or_the_public_option(host, tmp_path):
    with pytest.raises(UserError, match="--keys"):
        require_keys_or_public(ServerSettings(host=host))
    require_keys_or_public(ServerSettings(host=host, public=True))
    require_keys_or_public(ServerSettings(host=host, keys=tmp_path / "keys.json"))


def test_missing_runs_are_reported(tmp_path):
    with pytest.raises(UserError, match="at least one RUN"):
        serve([], ServerSettings(), print)
    with pytest.raises(UserError, match="no such folder"):
        serve([tmp_path / "none"], ServerSettings(), print)


def test_the_command_makes_keys_and_serves_with_them(toy_run, tmp_path, command):
    """`allyouneed serve`, from key creation to SIGTERM."""
    serve, keys = [sys.executable, "-m", "allyouneed", "serve"], tmp_path / "keys.json"
    made = subprocess.run([*serve, "--keys", keys, "--add-key", "anna"], capture_output=True, text=True, check=True)
    secret = made.stdout.strip()
    arguments = [str(toy_run), "--port", "0", "--host", "0.0.0.0", "--keys", str(keys), "--threads", "1"]
    with subprocess.Popen([*serve, *arguments], stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr.readline() == "aa → bb\n"
            while not (found := re.search(r"^http://0.0.0.0:(\d+)/$", server.stderr.readline(), re.MULTILINE)):
                assert server.poll() is None
            port = int(found[1])  # printed once the server listens
            url = f"http://127.0.0.1:{port}/translate"
            body = {"q": "a b c", "source": "aa", "target": "bb"}
            assert requests.post(url, json=body, timeout=30).status_code == 403
            assert requests.post(url, json={**body, "api_key": secret}, timeout=30).status_code == 200
            code, second, _ = command("serve", "--keys", keys, "--add-key", "otto")
            assert code == 0
            server.send_signal(signal.SIGHUP)
            assert requests.post(url, json={**body, "api_key": second.strip()}, timeout=30).status_code == 200
        finally:
            server.terminate()
        logged = server.stderr.read()
    assert server.returncode in (0, -signal.SIGTERM)
    assert '"characters": 5, "key": "anna"' in logged
    assert '"message": "keys reloaded: 2"' in logged


def test_a_port_in_use_is_reported(toy_run):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot listen on"):
            serve([toy_run], ServerSettings(port=taken.getsockname()[1]), print)


def test_a_folder_of_glossaries_that_cannot_be_made_is_reported(registry, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "glossaries"):
        with pytest.raises(UserError, match=f"--glossaries {path} is not a folder"):
            build_app(registry, ServerSettings(glossaries=path))


@pytest.mark.parametrize("has_keys", [False, True])
def test_a_closed_terminal_ends_a_server_without_keys_and_reloads_keys(registry, tmp_path, monkeypatch, has_keys):
    add_key(tmp_path / "keys.json", "anna")
    state = build_app(registry, ServerSettings(keys=tmp_path / "keys.json" if has_keys else None)).state.application
    received: list[object] = []
    monkeypatch.setattr(state.access, "reload_keys", lambda: received.append("reload"))
    monkeypatch.setattr(signal, "raise_signal", received.append)

    async def hang_up() -> None:
        _handle_hangup(state)
        os.kill(os.getpid(), signal.SIGHUP)
        while not received:
            await asyncio.sleep(0.01)

    asyncio.run(hang_up())
    assert received == ["reload" if has_keys else signal.SIGTERM]


def test_kernels_that_cannot_be_stored_are_remarked(toy_run, monkeypatch):
    monkeypatch.setattr("allyouneed.kernels.disk_cache.folder", lambda: None)
    lines: list[str] = []
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match="cannot listen on"):
            serve([toy_run], ServerSettings(port=taken.getsockname()[1]), lines.append)
    assert any("NUMBA_CACHE_DIR" in line for line in lines)
