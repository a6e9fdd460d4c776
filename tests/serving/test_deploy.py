"""The files of deploy/: image, compose file and systemd unit."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from click import Context
from typer.main import get_command

from allyouneed.serving.commands import app as command
from allyouneed.serving.supervisor import notify_supervisor

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
IGNORE_FILE = ROOT / ".containerignore"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the container file with their arguments, on one line each."""
    lines = re.sub(r"^#.*\n", "", (DEPLOY / "Containerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    joined = re.sub(r"\s*\\\n\s*", " ", lines)
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def arguments(name: str) -> list[str]:
    return [rest for each, rest in instructions() if each == name]


def test_the_base_image_is_pinned():
    [declared] = [rest for rest in arguments("ARG") if rest.startswith("BASE=")]
    assert re.fullmatch(r"BASE=[\w.]+/[\w./-]+:\d+\.\d+[\w.-]*", declared)
    assert arguments("FROM") == ["${BASE}"]


def test_copied_files_exist_and_are_not_ignored():
    kept = {line[1:] for line in IGNORE_FILE.read_text().splitlines() if line.startswith("!")}
    sources = [source for rest in arguments("COPY") for source in rest.split()[:-1]]
    assert all((ROOT / source).exists() for source in sources)
    assert set(sources) == kept


def test_what_the_package_needs_is_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    copied = " ".join(arguments("COPY")).split()
    assert {"pyproject.toml", "setup.py", "README.md", "src", *project["license-files"]} <= set(copied)
    [extras] = re.findall(r"/source\[([\w,]+)\]", " ".join(arguments("RUN")))
    assert {"serve", "documents"} == set(extras.split(",")) <= project["optional-dependencies"].keys()


def test_the_image_runs_without_root_and_without_secrets():
    names = [name for name, _ in instructions()]
    [user] = arguments("USER")
    assert user.isdigit()
    assert int(user) >= 10_000
    assert names.index("USER") > max(i for i, name in enumerate(names) if name in ("RUN", "COPY"))
    given = " ".join([*arguments("ENV"), *arguments("ARG")])
    assert not re.search(r"KEY|TOKEN|SECRET|PASSWORD", given, re.IGNORECASE)
    [install] = re.findall(r"pip install [^&]*", " ".join(arguments("RUN")))
    assert "--no-cache-dir" in install
    assert "--constraint" in install


def test_the_image_checks_its_health(address):
    [check] = arguments("HEALTHCHECK")
    program = json.loads(check.partition("CMD ")[2])
    assert program[0] == "python3"
    at = address.partition("//")[2]
    healthy = [sys.executable, *(argument.replace("127.0.0.1:5000", at) for argument in program[1:])]
    assert subprocess.run(healthy, capture_output=True).returncode == 0
    broken = [argument.replace("/ready", "/missing") for argument in healthy]
    assert subprocess.run(broken, capture_output=True).returncode != 0


def options_of(arguments: list[str]) -> set[str]:
    return {argument for argument in arguments if argument.startswith("--")}


def served_options() -> set[str]:
    serve = get_command(command)
    return {flag for parameter in serve.get_params(Context(serve)) for flag in parameter.opts}


def test_the_compose_file_fits_the_image_and_nginx():
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
    services = compose["services"]
    servers = [services["server-1"], services["server-2"]]
    proxy = services["proxy"]
    addresses = [service["networks"]["inside"]["ipv4_address"] for service in (*servers, proxy)]
    assert len(set(addresses)) == 3
    for server in servers:
        assert options_of(server["command"]) <= served_options()
        assert server["environment"]["FORWARDED_ALLOW_IPS"] == addresses[2]
        assert server["build"] == {"context": "..", "dockerfile": "deploy/Containerfile"}
        assert server["read_only"]
        assert json.dumps(server["healthcheck"]["test"][1:]) == arguments("HEALTHCHECK")[0].partition("CMD ")[2]
        assert server["cap_drop"] == ["ALL"]
        assert "ports" not in server  # only the proxy is reachable
    volumes = [{volume.rpartition(":/state")[0] for volume in server["volumes"]} for server in servers]
    assert "state-1" in volumes[0]
    assert "state-2" in volumes[1]
    assert re.fullmatch(r"[\w./]+:\d+\.\d+\.\d+[\w.-]*", proxy["image"])
    assert proxy["volumes"] == ["./nginx.conf:/etc/nginx/conf.d/default.conf:ro"]
    configuration = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    assert set(re.findall(r"server ([\w-]+):5000", configuration)) == {"server-1", "server-2"}
    [listened] = re.findall(r"^ *listen (\d+);", configuration, re.MULTILINE)
    assert proxy["ports"] == [f"127.0.0.1:{listened}:{listened}"]


def test_the_unit_is_valid_and_confined(tmp_path):
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        pytest.skip("systemd-analyze is missing")
    unit = (DEPLOY / "allyouneed.service").read_text(encoding="utf-8")
    [start] = re.findall(r"^ExecStart=(.*)$", unit, re.MULTILINE)
    program, verb, _, *rest = shlex.split(start)
    assert (program, verb) == ("/opt/allyouneed/bin/allyouneed", "serve")
    assert options_of(rest) <= served_options()
    installed = tmp_path / "allyouneed.service"
    installed.write_text(unit.replace(program, sys.executable))
    verified = subprocess.run([analyze, "verify", "--man=no", installed], capture_output=True, text=True)
    assert [line for line in verified.stderr.splitlines() if "allyouneed" in line] == []
    command = [analyze, "security", "--offline=true", "--threshold=15", "--no-pager", installed]
    confined = subprocess.run(command, capture_output=True, text=True)
    assert confined.returncode == 0, confined.stdout


def test_the_supervisor_is_notified(tmp_path, monkeypatch):
    path = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(path))
        monkeypatch.setenv("NOTIFY_SOCKET", str(path))
        notify_supervisor("READY=1")
        assert supervisor.recv(100) == b"READY=1"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind("\0allyouneed-test")
        monkeypatch.setenv("NOTIFY_SOCKET", "@allyouneed-test")
        notify_supervisor("STOPPING=1")
        assert supervisor.recv(100) == b"STOPPING=1"
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "of-a-parent-process"))
    notify_supervisor("READY=1")
    monkeypatch.delenv("NOTIFY_SOCKET")
    notify_supervisor("READY=1")
