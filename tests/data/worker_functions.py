"""What the workers of `test_workers.py` do, in a module that they import fast."""

import os
import time

from allyouneed.errors import UserError


def length(block: list[int]) -> int:
    """Return the length of a block; the first blocks take longest."""
    time.sleep(0.02 / len(block))
    return len(block)


def refuse(block: list[int]) -> int:
    if len(block) == 3:
        raise UserError(f"block {block} is refused.")
    return len(block)


def end(block: list[int]) -> int:
    os._exit(7)


def say(block: list[int]) -> int:
    print("not an answer")
    return os.getpid()
