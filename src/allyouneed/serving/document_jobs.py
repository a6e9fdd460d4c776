"""Translation of uploaded documents, which are stored in a temporary folder under random names until they expire.

Reading and writing documents takes place in threads, and their sentences are translated through the request queue.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import NamedTuple

from allyouneed.documents.document import FORMATS, Document, ReadOptions, format_of, is_document, read_document
from allyouneed.documents.document_translation import DocumentTranslation, Remark, finish_document
from allyouneed.documents.segment_translation import Finders
from allyouneed.errors import UserError
from allyouneed.serving.access.usage import Charge
from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.body import TOO_LARGE, check_length
from allyouneed.serving.pipeline.text_pipeline import TranslationPipeline
from allyouneed.serving.queue.model_worker import TranslationOptions
from allyouneed.serving.registry import LanguagePair, Route
from allyouneed.serving.server_settings import ServerSettings
from allyouneed.serving.temporary_folder import TemporaryFolder
from allyouneed.zip_files import ZipLimits

_log = logging.getLogger(__name__)
_MOST_ENTRIES = 10_000  # of a document that is a ZIP archive
_LONGEST_SUFFIX = 20  # characters of a file name's suffix in a message
_CODE_CHARACTERS = 100  # at the beginning of a text file, in which a target-language code may be
_ATTEMPTS = 10  # for sentences of a file, if the queue is full or a model fails
_BYTES = 10_000  # added to the size of each file, since a small archive may have much content


@dataclass
class DocumentJob:
    """An uploaded document and the state of its translation.

    Attributes:
        id: Random id, under which the translation is stored.
        key: Secret that DeepL's clients send to access the document.
        link: Secret part of the path under which the translation can be downloaded without an API key.
        owner: Identifier of the API key that the document belongs to.
        name: File name of the translation, for display only.
        characters: Size of the source text.
        expires: Monotonic time at which the file is deleted; infinite until it is translated.
        status: "queued", "translating", "done" or "error".
        done: Number of translated sentences.
        total: Number of sentences.
        error: Why the translation failed.
        notes: What the user should know about the document.
        problems: What could not be guaranteed in the translation.
        unchanged: Number of sentences that equal their translation although they have text.
        started: Monotonic time at which the translation started.
    """

    id: str
    key: str
    link: str
    owner: str
    name: str
    characters: int
    expires: float = math.inf
    status: str = "queued"
    done: int = 0
    total: int = 0
    error: ApiError | None = None
    notes: list[str] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    unchanged: int = 0
    started: float = field(default_factory=time.monotonic)
    task: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def seconds_remaining(self) -> int:
        """Estimate of the remaining time, at least 1."""
        elapsed = time.monotonic() - self.started
        return max(1, math.ceil(elapsed * (self.total - self.done) / max(1, self.done)))


class UploadedDocument(NamedTuple):
    """A document that was received and read.

    Attributes:
        name: File name given by the client.
        document: Its segments.
        texts: The texts that are translated.
        size: Size for fair sharing of threads, in bytes.
        code: Target-language code at the beginning of a text file, such as `>>fr<<`; it is not part of the document.
    """

    name: str
    document: Document
    texts: list[str]
    size: int
    code: str = ""


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
        self._temporary = TemporaryFolder()
        self.folder = self._temporary.path
        self._jobs: dict[str, DocumentJob] = {}

    def check(self, filename: str, data: bytes) -> None:
        """Check the size and the file type of an upload.

        Raises:
            ApiError: 400 or 413.
        """
        if len(data) > self._settings.file_bytes:
            raise ApiError(TOO_LARGE, f"the file is too large: at most {self._settings.file_bytes:,} bytes")
        if not is_document(filename):
            suffix = PurePath(filename).suffix[:_LONGEST_SUFFIX] or "(none)"
            supported = ", ".join(file_types())
            raise ApiError(400, f"Invalid file: the file extension {suffix} is not supported; supported: {supported}")

    async def read(self, filename: str, data: bytes, languages: LanguagePair, route: Route | None) -> UploadedDocument:
        """Read a document.

        Args:
            filename: Name given by the client.
            data: Content of the file.
            languages: Source and target language, "und" for an unknown one.
            route: Language pairs to translate through, if they are known.

        Raises:
            ApiError: 400 if its text is too long.
            UserError: If it is damaged, or the package for its format is not installed.
        """
        code, start = "", 0
        if route and format_of(filename, data).title == "plain text":
            code, start = self._pipeline.sentences.split_code(data[:_CODE_CHARACTERS].decode("utf-8", "replace"), route)
        limits = ZipLimits(_MOST_ENTRIES, self._settings.unpacked_bytes)
        options = ReadOptions(PurePath(filename).name, *languages, limits=limits)

        def read_it() -> UploadedDocument:
            document = read_document(data[start:], options)
            texts = [segment.text for segment in document.segments if not segment.is_finished]
            check_length(sum(map(len, texts)), self._settings.file_characters)
            return UploadedDocument(filename, document, texts, _BYTES + len(data), code)

        return await self._pipeline.preparation.run(read_it, _BYTES + len(data))

    def submit(
        self,
        uploaded: UploadedDocument,
        route: Route,
        finders: Finders | None,
        owner: str,
        charge: Charge | None = None,
    ) -> DocumentJob:
        """Start to translate a document.

        Args:
            uploaded: The document.
            route: Language pairs to translate through.
            finders: Find what must be kept, and terms; None for the default.
            owner: Identifier of the API key that the document belongs to.
            charge: Its characters, which are charged once it is translated.

        Raises:
            ApiError: 503 if too many files are stored.
        """
        suffix = uploaded.document.suffix or PurePath(uploaded.name).suffix.lower()
        name = f"{_safe_stem(uploaded.name)}_{route[-1][1]}{suffix}"
        job = self._new_job(name, sum(map(len, uploaded.texts)), owner)
        job.task = asyncio.create_task(self._translate(job, uploaded, route, finders))
        if charge:
            job.task.add_done_callback(lambda _: charge.settle(job.status == "done"))
        return job

    def failed(self, filename: str, error: ApiError, owner: str) -> DocumentJob:
        """Return a job for a document that cannot be translated; its state has the reason.

        Raises:
            ApiError: 503 if too many files are stored.
        """
        job = self._new_job(_safe_stem(filename), 0, owner)
        job.status, job.error = "error", error
        job.expires = time.monotonic() + self._settings.file_minutes * 60
        return job

    def _new_job(self, name: str, characters: int, owner: str) -> DocumentJob:
        self.delete_expired()
        if len(self._jobs) >= self._settings.files:
            raise ApiError(503, "too many files are stored already; try again later", 60)
        identifier, key = secrets.token_hex(16).upper(), secrets.token_hex(32).upper()  # as DeepL's clients show them
        self._jobs[identifier] = job = DocumentJob(identifier, key, secrets.token_urlsafe(32), owner, name, characters)
        return job

    async def wait(self, job: DocumentJob) -> DocumentJob:
        """Wait until a file is translated.

        Raises:
            ApiError: If the translation failed.
        """
        if job.task:
            try:
                await asyncio.wait([job.task])
            except asyncio.CancelledError:  # the client has left, and nobody else knows the id
                self.delete(job)
                raise
        if job.error:
            raise job.error
        return job

    def find(self, identifier: str, owner: str, key: str | None = None) -> DocumentJob:
        """Return a job of an owner by its id, and by its key if one is given.

        Raises:
            ApiError: 404 if there is no such job, it has expired, or it belongs to another key.
        """
        self.delete_expired()
        job = self._jobs.get(identifier)
        if job is None or job.owner != owner or not (key is None or _is_same(job.key, key)):
            raise ApiError(404, "no such file, or it has expired")
        return job

    def find_link(self, link: str) -> DocumentJob | None:
        """Return a job by the secret part of its link."""
        self.delete_expired()
        return next((job for job in self._jobs.values() if _is_same(job.link, link)), None)

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

    def cancel(self) -> list[asyncio.Task[None]]:
        """Cancel running jobs, and return them."""
        running = [job for job in self._jobs.values() if job.task and not job.task.done()]
        for job in running:
            job.status, job.error = "error", ApiError(503, "the server is shutting down; try again", 5)
        tasks = [job.task for job in running if job.task]
        for task in tasks:
            task.cancel()
        return tasks

    async def close(self) -> None:
        """Cancel running jobs and delete all files; results cannot be fetched after shutdown."""
        tasks = self.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._temporary.close()

    async def _translate(
        self, job: DocumentJob, uploaded: UploadedDocument, route: Route, finders: Finders | None
    ) -> None:
        job.status = "translating"
        try:
            result = await self._translated(job, uploaded, route, finders)
            path = self.path(job)
            await self._pipeline.preparation.run(lambda: path.write_bytes(result.data), len(result.data))
            job.notes, job.problems, job.unchanged = result.notes, result.problems, len(result.unchanged)
            job.status = "done"
        except ApiError as error:
            job.status, job.error = "error", error
        except UserError as error:
            job.status, job.error = "error", ApiError(400, str(error))
        except Exception:  # reported when the client asks for the file
            _log.exception("a file could not be translated")
            job.status, job.error = "error", ApiError(503, "the file could not be translated; try later", 60)
        finally:
            job.expires = time.monotonic() + self._settings.file_minutes * 60

    async def _translated(
        self, job: DocumentJob, uploaded: UploadedDocument, route: Route, finders: Finders | None
    ) -> DocumentTranslation:
        def on_progress(done: int, total: int) -> None:
            job.done, job.total = done, total

        segments = uploaded.document.segments
        sources = [segment.source for segment in segments if not segment.is_finished]
        found = iter(
            await self._pipeline.translate_segments(
                sources,
                route,
                TranslationOptions(),
                finders=finders,
                code=uploaded.code,
                on_progress=on_progress,
                attempts=_ATTEMPTS,
            )
        )
        translations = [None if segment.is_finished else next(found) for segment in segments]
        return await self._pipeline.preparation.run(
            lambda: finish_document(uploaded.document, translations), uploaded.size
        )


def _is_same(secret: str, given: str) -> bool:
    return secrets.compare_digest(secret.encode(), given.encode("utf-8", "replace"))


def file_types() -> list[str]:
    """Return the suffixes of the documents that can be translated."""
    return list(dict.fromkeys(suffix for each in FORMATS for suffix in each.suffixes))


def _safe_stem(filename: str) -> str:
    """Return the name without folders, extension and unusual characters."""
    stem = PurePath(filename.replace("\\", "/")).stem
    return "".join(c for c in stem if c.isalnum() or c in " -_.")[:80] or "file"
