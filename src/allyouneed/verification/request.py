"""The command `allyouneed verify`: loads the user's file and verifies a module in it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from allyouneed.errors import UserError
from allyouneed.files import check_output, write_file
from allyouneed.verification.findings import LANGUAGES
from allyouneed.verification.loading import get_name, load_file, split_target
from allyouneed.verification.result import Verification
from allyouneed.verification.verifier import verify


class Numbers(TypedDict):
    """Numbers that `verify` takes; None for those to be found."""

    num_heads: int | None
    pad_id: int | None
    bos_id: int | None
    vocab_size: int | None
    target_vocab_size: int | None


@dataclass(frozen=True)
class VerifyRequest:
    """Arguments of the command.

    Attributes:
        target: FILE.py:NAME.
        page: HTML file to write, or None.
        language: "en" or "ko".
        functions: Names in the file of `forward`, `loss` and `step`, each None if not given.
        numbers: Further arguments of `verify`.
        debug: Let errors of the user's code pass with their traceback.
    """

    target: str
    page: Path | None
    language: str
    functions: tuple[str | None, str | None, str | None]
    numbers: Numbers
    debug: bool = False


def verify_file(request: VerifyRequest) -> Verification:
    """Load the file, verify the module, and write the page if requested.

    Raises:
        UserError: If the file or a name does not exist, or the user's code raises an error.
    """
    if request.language not in LANGUAGES:
        raise UserError(f"--language {request.language}: choose en or ko.")
    path, name = split_target(request.target)
    if request.page is not None:
        check_output(request.page, path)
    module = load_file(path, request.debug)
    subject = get_name(module, name)
    forward, loss, step = (None if each is None else get_name(module, each) for each in request.functions)
    try:
        result = verify(subject, forward=forward, loss=loss, step=step, **request.numbers)
    except UserError:
        raise
    except Exception as error:
        if request.debug:
            raise
        words = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".")
        raise UserError(f"{request.target}: {words}. Use --debug for the traceback.") from error
    if request.page is not None:
        write_file(request.page, result.html(request.language))
    return result
