"""Comparison of any PyTorch Transformer with the paper's: behaviour, each step, and the name of the mistake."""

from __future__ import annotations

from typing import TYPE_CHECKING

from allyouneed import lazy

if TYPE_CHECKING:
    from allyouneed.verification.request import Numbers, VerifyRequest, verify_file
    from allyouneed.verification.result import Verification
    from allyouneed.verification.verifier import verify

__all__ = ["Numbers", "Verification", "VerifyRequest", "verify", "verify_file"]

_MODULES = {
    "Numbers": "allyouneed.verification.request",
    "Verification": "allyouneed.verification.result",
    "VerifyRequest": "allyouneed.verification.request",
    "verify": "allyouneed.verification.verifier",
    "verify_file": "allyouneed.verification.request",
}

__getattr__ = lazy.attach(__name__, _MODULES)
