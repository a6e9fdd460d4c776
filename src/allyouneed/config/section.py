"""The base of all sections of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, field_validator

_EXACT = 2.0**53  # floats below this limit represent every integer exactly


class Section(BaseModel):
    """Immutable settings. Values must have the declared type; integers may be written as floats, such as 1e5."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _accept_whole_floats(cls, value: object) -> object:
        return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT else value
