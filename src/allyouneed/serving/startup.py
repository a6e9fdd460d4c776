"""Loads the runs, opens the socket and runs uvicorn, for `allyouneed serve`."""

from __future__ import annotations

import gc
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from allyouneed.errors import UserError
from allyouneed.serving.access.addresses import bracketed, is_loopback
from allyouneed.serving.access.api_keys import permissions_remark
from allyouneed.serving.app import build_app
from allyouneed.serving.bounded_server import BoundedServer
from allyouneed.serving.queue.model_processes import ModelProcesses, ProcessWorker
from allyouneed.serving.queue.model_threads import Worker
from allyouneed.serving.queue.model_worker import ModelWorker
from allyouneed.serving.registry import TranslatorRegistry, load_registry
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.telemetry import log_as_json
from allyouneed.translation.engine import compile_in_background
from allyouneed.translation.warming import can_store, compile_all

_OTHER_FILES = 256  # open files besides connections: uploads, glossaries, libraries
_SWITCH_SECONDS = 0.0005  # Python's default of 0.005 delays a model thread after every kernel while responses are sent


def serve(runs: Sequence[Path], settings: ServerSettings, log: Callable[[str], None]) -> None:
    """Serve runs until a signal arrives, then finish the accepted requests.

    Args:
        runs: Folders of runs or bundles, one per language pair.
        settings: Address, limits and keys.
        log: Called with the language pairs, and with the address once the server accepts requests.

    Raises:
        UserError: If a run cannot be loaded, the address is not available, or the server would be open to other
            machines unintentionally (see `require_keys_or_public`).
    """
    require_keys_or_public(settings)
    if not runs:
        raise UserError("nothing to serve: give at least one RUN, made by `allyouneed train`.")
    if not can_store():
        log("compiled kernels cannot be stored, so the start takes long. Set NUMBA_CACHE_DIR to a folder.")
    make_worker: Callable[[], Worker]
    if settings.processes > 1:
        registry, make_worker = _load_for_processes(runs, settings, log)
    else:
        compile_in_background(compute_type=settings.compute_type)
        registry = load_registry(runs, settings.compute_type)
        make_worker = partial(ModelWorker, registry)
    app = build_app(registry, settings, make_worker)
    _exempt_from_collection()
    listening = _listen(settings)
    log_as_json()
    sys.setswitchinterval(_SWITCH_SECONDS)
    _allow_open_files(settings.connections)
    log(", ".join(f"{source} → {target}" for source, target in sorted(registry.translators)))
    if settings.keys and (remark := permissions_remark(settings.keys)):
        log(remark)
    url = f"http://{bracketed(settings.host)}:{listening.getsockname()[1]}/"
    BoundedServer(app, settings, lambda: log(url)).run(sockets=[listening])


def _load_for_processes(
    runs: Sequence[Path], settings: ServerSettings, log: Callable[[str], None]
) -> tuple[TranslatorRegistry, Callable[[], ProcessWorker]]:
    """Load runs and fork the template of the model processes, which shares their memory.

    Raises:
        UserError: See `load_registry` and `ModelProcesses`.
    """
    if settings.threads:
        raise UserError("--threads and --processes are both given. Remove one of them.")
    torch.set_num_threads(1)  # threads of PyTorch would not survive in forked processes
    compile_all(lambda: log("compiling kernels for this machine ..."))
    registry = load_registry(runs, settings.compute_type)
    ModelWorker(registry)  # loads the kernels once for all processes
    _exempt_from_collection()  # the collector would write to the memory that they share
    return registry, partial(ProcessWorker, ModelProcesses(registry))


def _exempt_from_collection() -> None:
    """Exempt what exists now from garbage collection.

    PyTorch, Numba and the models consist of hundreds of thousands of objects. Going through them took half of the
    server's processor time per request, a tenth of a second at a time.
    """
    gc.collect()
    gc.freeze()


def require_keys_or_public(settings: ServerSettings) -> None:
    """Check that a server without keys is not reachable from other machines by accident.

    Raises:
        UserError: If the address is not loopback and neither `keys` nor `public` is set.
    """
    if settings.keys or settings.public or is_loopback(settings.host.strip("[]")):
        return
    raise UserError(
        f"--host {settings.host} makes the server reachable from other machines. Require keys with --keys FILE "
        "(create one with --add-key NAME), or allow everyone with --public."
    )


def _listen(settings: ServerSettings) -> socket.socket:
    host = settings.host.strip("[]")
    try:
        family, *_, address = socket.getaddrinfo(host, settings.port, type=socket.SOCK_STREAM)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"cannot listen on {settings.host} port {settings.port}: {reason}. Choose another address or port."
        ) from error
    return listening


def _allow_open_files(connections: int) -> None:
    """Raise the process's limit of open files, if the system lets it, so that every connection can be accepted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = connections + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (needed if hard == resource.RLIM_INFINITY else min(needed, hard), hard)
        )
