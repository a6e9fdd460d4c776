"""Errors that are sent to clients; `app.py` formats them for each API."""

from __future__ import annotations

from allyouneed.serving.detection.detector import DetectedLanguage


class ApiError(Exception):
    """An error that is sent to the client.

    Args:
        status: HTTP status.
        message: One sentence, with the remedy.
        retry_after: Seconds after which a retry may succeed, for the `Retry-After` header.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after


class UnservedLanguageError(ApiError):
    """A text is in a language that cannot be translated into the target language.

    Args:
        message: One sentence, with the remedy.
        detected: Its language.
    """

    def __init__(self, message: str, detected: DetectedLanguage):
        super().__init__(400, message)
        self.detected = detected
