"""What a client is told when a request cannot be answered. Each API has its own form for it: see `app.py`."""

from __future__ import annotations


class ApiError(Exception):
    """status: of HTTP; message: one sentence with the remedy; retry_after: seconds, where trying again helps."""

    def __init__(self, status: int, message: str, retry_after: int | None = None):
        super().__init__(message)
        self.status, self.message, self.retry_after = status, message, retry_after
