"""Uploaded files: checked, kept in a folder of the server's own under names of its own, translated, and deleted."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
import shutil
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from allyouneed.errors import UserError
from allyouneed.serving import markup
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.archive import check_archive
from allyouneed.serving.body import refuse_long
from allyouneed.serving.model_worker import Options
from allyouneed.serving.pairs import Pair
from allyouneed.serving.pipeline import Desk
from allyouneed.serving.server_settings import Settings

_log = logging.getLogger(__name__)
_LINES_AT_ONCE = 64  # so that a large file leaves room in the queue for others
Progress = Callable[[int, int], None]


async def _plain(data: bytes, desk: Desk, way: list[Pair], told: Progress, most: int) -> bytes:
    """Text in UTF-8, line by line; line ends stay as they are."""
    text = _decoded(data, most)
    code, start = desk.code(text, way)
    lines = text[start:].splitlines(keepends=True)
    blocks = ["".join(lines[i : i + _LINES_AT_ONCE]) for i in range(0, len(lines), _LINES_AT_ONCE)]
    translated = []
    for done, block in enumerate(blocks):
        asked = f"{code} {block}" if code else block
        translated.append((await desk.text(asked, way, Options())).text)
        told(done + 1, len(blocks))
    return "".join(translated).encode("utf-8")


async def _html(data: bytes, desk: Desk, way: list[Pair], told: Progress, most: int) -> bytes:
    translated = await desk.marked(_decoded(data, most), way, Options(), markup.Form())
    told(1, 1)
    return translated.encode("utf-8")


# Formats by the end of the file's name: (data, desk, way, told, most characters) -> the translated file.
FORMATS: dict[str, Callable[[bytes, Desk, list[Pair], Progress, int], Awaitable[bytes]]] = {
    ".txt": _plain,
    ".html": _html,
    ".htm": _html,
}


def _decoded(data: bytes, most: int) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the file is not UTF-8 (byte {error.start:,}); save it as UTF-8") from None
    if "\0" in text:
        raise ApiError(400, "the file is not text")
    refuse_long(len(text), most)
    return text


@dataclass
class Document:
    """name: of the translated file, for the user; key: a secret that DeepL's clients have to show; done, total: parts;
    status: queued, translating, done, error."""

    id: str
    key: str
    name: str
    characters: int
    until: float
    status: str = "queued"
    done: int = 0
    total: int = 0
    error: ApiError | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class Documents:
    """All uploads of one server. Their folder goes when the server does."""

    def __init__(self, desk: Desk, settings: Settings):
        self._desk, self._settings = desk, settings
        self._folder = Path(tempfile.mkdtemp(prefix="allyouneed-"))
        self._documents: dict[str, Document] = {}

    def check(self, filename: str, data: bytes) -> str:
        """The format of an upload. Errors: `ApiError` 400 or 413."""
        if len(data) > self._settings.file_bytes:
            raise ApiError(413, f"the file is too large: at most {self._settings.file_bytes:,} bytes")
        suffix = PurePath(filename).suffix.lower()
        check_archive(data, self._settings.file_bytes)
        if suffix not in FORMATS:
            raise ApiError(400, f"files of this type are not translated; these are: {', '.join(FORMATS)}")
        return suffix

    def accept(self, filename: str, data: bytes, way: list[Pair]) -> Document:
        """Begins to translate. Errors: `ApiError`."""
        suffix = self.check(filename, data)
        self.expire()
        if len(self._documents) >= self._settings.files:
            raise ApiError(503, "too many files are kept already; try again later", 60)
        characters = len(data.decode("utf-8", "replace"))
        # The name is only shown, never a path: without folders, control characters and the like.
        stem = "".join(c for c in PurePath(filename.replace("\\", "/")).stem if c.isalnum() or c in " -_.")[:80]
        until = time.monotonic() + self._settings.file_minutes * 60
        document = Document(
            secrets.token_hex(16), secrets.token_hex(32), f"{stem or 'file'}_{way[-1][1]}{suffix}", characters, until
        )
        self._documents[document.id] = document
        document.task = asyncio.create_task(self._translate(document, suffix, data, way))
        return document

    async def finished(self, document: Document) -> Document:
        """Waits. Errors: `ApiError` for what was wrong with the file."""
        if document.task:
            await asyncio.wait([document.task])
        if document.error:
            raise document.error
        return document

    def find(self, identifier: str, key: str | None = None) -> Document:
        """By its id, and its key if one has to be shown. Errors: `ApiError` 404."""
        self.expire()
        document = self._documents.get(identifier)
        if document is None or (key is not None and not secrets.compare_digest(document.key.encode(), key.encode())):
            raise ApiError(404, "there is no such file, or its time is over")
        return document

    def path(self, document: Document) -> Path:
        """Of the translation, once it is done."""
        return self._folder / document.id

    def delete(self, document: Document) -> None:
        if document.task and not document.task.done():
            document.task.cancel()
        self._documents.pop(document.id, None)
        with contextlib.suppress(FileNotFoundError):
            self.path(document).unlink()

    def expire(self) -> None:
        now = time.monotonic()
        for document in [document for document in self._documents.values() if document.until < now]:
            self.delete(document)

    async def close(self) -> None:
        """Ends what is being translated, which nobody could fetch any more, and deletes everything."""
        tasks = [document.task for document in self._documents.values() if document.task and not document.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def _translate(self, document: Document, suffix: str, data: bytes, way: list[Pair]) -> None:
        def told(done: int, total: int) -> None:
            document.done, document.total = done, total

        document.status = "translating"
        try:
            translated = await FORMATS[suffix](data, self._desk, way, told, self._settings.file_characters)
            await asyncio.to_thread(self.path(document).write_bytes, translated)
            document.status = "done"
        except ApiError as error:
            document.status, document.error = "error", error
        except UserError as error:
            document.status, document.error = "error", ApiError(400, str(error))
        except Exception:  # whatever it was, whoever asks for the file must be told
            _log.exception("a file could not be translated")
            document.status, document.error = "error", ApiError(503, "the file could not be translated; try later", 60)
