"""Translation of uploaded files, which are stored in a temporary folder under random names until they expire."""

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

from allyouneed.documents.formats.markup_structure import MarkupRules
from allyouneed.errors import UserError
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.archive import check_archive
from allyouneed.serving.body import TOO_LARGE, check_length
from allyouneed.serving.model_worker import TranslationOptions
from allyouneed.serving.pipeline import TranslationPipeline
from allyouneed.serving.registry import Route
from allyouneed.serving.server_settings import ServerSettings

_log = logging.getLogger(__name__)
_LINES_PER_BLOCK = 64  # translated together, so that a large file does not fill the queue
ProgressCallback = Callable[[int, int], None]  # (finished, total) blocks


async def _translate_plain(
    text: str, pipeline: TranslationPipeline, route: Route, on_progress: ProgressCallback
) -> str:
    """Translate plain text in blocks of lines; line endings are kept."""
    code, start = pipeline.split_code(text, route)
    lines = text[start:].splitlines(keepends=True)
    blocks = ["".join(lines[i : i + _LINES_PER_BLOCK]) for i in range(0, len(lines), _LINES_PER_BLOCK)]
    translated = []
    for finished, block in enumerate(blocks, 1):
        [translation] = await pipeline.translate([f"{code} {block}" if code else block], route, TranslationOptions())
        translated.append(translation.text)
        on_progress(finished, len(blocks))
    return "".join(translated)


async def _translate_html(text: str, pipeline: TranslationPipeline, route: Route, on_progress: ProgressCallback) -> str:
    translated = await pipeline.translate_markup(text, route, TranslationOptions(), MarkupRules())
    on_progress(1, 1)
    return translated


# Translators of file formats, by file name extension.
FORMATS: dict[str, Callable[[str, TranslationPipeline, Route, ProgressCallback], Awaitable[str]]] = {
    ".txt": _translate_plain,
    ".html": _translate_html,
    ".htm": _translate_html,
}


def _decode(data: bytes, max_characters: int) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ApiError(400, f"the file is not UTF-8 (byte {error.start:,}); save it as UTF-8") from None
    if "\0" in text:
        raise ApiError(400, "the file is not text")
    check_length(len(text), max_characters)
    return text


@dataclass
class DocumentJob:
    """One uploaded file and the state of its translation.

    Attributes:
        id: Random id, under which the translation is stored.
        key: Secret that DeepL's clients send to access the document.
        name: File name of the translation, for display only.
        characters: Size of the source text.
        expires: Monotonic time at which the file is deleted.
        status: "queued", "translating", "done" or "error".
        done: Number of finished blocks.
        total: Number of blocks.
        error: Why the translation failed.
    """

    id: str
    key: str
    name: str
    characters: int
    expires: float
    status: str = "queued"
    done: int = 0
    total: int = 0
    error: ApiError | None = None
    task: asyncio.Task[None] | None = field(default=None, repr=False)


class DocumentJobs:
    """All uploaded files of a server, in a temporary folder that `close` deletes.

    Args:
        pipeline: Translates the files.
        settings: Limits on size, number and lifetime.

    Attributes:
        folder: The temporary folder.
    """

    def __init__(self, pipeline: TranslationPipeline, settings: ServerSettings):
        self._pipeline, self._settings = pipeline, settings
        self.folder = Path(tempfile.mkdtemp(prefix="allyouneed-"))
        self._jobs: dict[str, DocumentJob] = {}

    def check(self, filename: str, data: bytes) -> str:
        """Check size and format of an upload.

        Returns:
            The extension, a key of `FORMATS`.

        Raises:
            ApiError: 400 or 413.
        """
        if len(data) > self._settings.file_bytes:
            raise ApiError(TOO_LARGE, f"the file is too large: at most {self._settings.file_bytes:,} bytes")
        suffix = PurePath(filename).suffix.lower()
        check_archive(data, self._settings.file_bytes)
        if suffix not in FORMATS:
            raise ApiError(400, f"this file type is not supported; supported types: {', '.join(FORMATS)}")
        return suffix

    def submit(self, filename: str, data: bytes, route: Route) -> DocumentJob:
        """Start to translate a file.

        Args:
            filename: Name given by the client.
            data: Content of the file.
            route: Language pairs to translate through.

        Raises:
            ApiError: 400 or 413 for a file that cannot be translated, 503 if too many files are stored.
        """
        suffix = self.check(filename, data)
        self.delete_expired()
        if len(self._jobs) >= self._settings.files:
            raise ApiError(503, "too many files are stored already; try again later", 60)
        job = DocumentJob(
            id=secrets.token_hex(16),
            key=secrets.token_hex(32),
            name=f"{_safe_stem(filename)}_{route[-1][1]}{suffix}",
            characters=len(data.decode("utf-8", "replace")),
            expires=time.monotonic() + self._settings.file_minutes * 60,
        )
        self._jobs[job.id] = job
        job.task = asyncio.create_task(self._translate(job, suffix, data, route))
        return job

    async def wait(self, job: DocumentJob) -> DocumentJob:
        """Wait until a file is translated.

        Raises:
            ApiError: If the translation failed.
        """
        if job.task:
            await asyncio.wait([job.task])
        if job.error:
            raise job.error
        return job

    def find(self, identifier: str, key: str | None = None) -> DocumentJob:
        """Return a job by its id, and by its key if one is given.

        Raises:
            ApiError: 404 if there is no such job, or it has expired.
        """
        self.delete_expired()
        job = self._jobs.get(identifier)
        if job is None or (key is not None and not secrets.compare_digest(job.key.encode(), key.encode())):
            raise ApiError(404, "no such file, or it has expired")
        return job

    def path(self, job: DocumentJob) -> Path:
        """Return the path of the translation, which exists once the job is done."""
        return self.folder / job.id

    def delete(self, job: DocumentJob) -> None:
        """Cancel a job and delete its file."""
        if job.task and not job.task.done():
            job.task.cancel()
        self._jobs.pop(job.id, None)
        with contextlib.suppress(FileNotFoundError):
            self.path(job).unlink()

    def delete_expired(self) -> None:
        """Delete expired jobs and their files."""
        now = time.monotonic()
        for job in [job for job in self._jobs.values() if job.expires < now]:
            self.delete(job)

    async def close(self) -> None:
        """Cancel running jobs and delete all files; results cannot be fetched after shutdown."""
        tasks = [job.task for job in self._jobs.values() if job.task and not job.task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    async def _translate(self, job: DocumentJob, suffix: str, data: bytes, route: Route) -> None:
        def on_progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        job.status = "translating"
        try:
            text = _decode(data, self._settings.file_characters)
            translated = await FORMATS[suffix](text, self._pipeline, route, on_progress)
            await asyncio.to_thread(self.path(job).write_bytes, translated.encode("utf-8"))
            job.status = "done"
        except ApiError as error:
            job.status, job.error = "error", error
        except UserError as error:
            job.status, job.error = "error", ApiError(400, str(error))
        except Exception:  # reported when the client asks for the file
            _log.exception("a file could not be translated")
            job.status, job.error = "error", ApiError(503, "the file could not be translated; try later", 60)


def _safe_stem(filename: str) -> str:
    """Return the name without folders, extension and unusual characters."""
    stem = PurePath(filename.replace("\\", "/")).stem
    return "".join(c for c in stem if c.isalnum() or c in " -_.")[:80] or "file"
