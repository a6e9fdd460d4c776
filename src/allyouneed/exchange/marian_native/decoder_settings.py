"""Settings of Marian's decoder (`decoder.yml`) as settings of our search.

Marian divides the log probability of a hypothesis of length |Y|, the end included, by |Y|^α, with α = `normalize`.
Source: `translator/history.h` and `common/config_parser.cpp` of marian-dev 1.12.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from allyouneed.errors import UserError

_MOST_BEAMS, _MOST_ALPHA = 1024, 10.0  # bounds of our settings
_DEFAULTS = {"beam-size": 12.0, "normalize": 0.0, "word-penalty": 0.0}  # Marian's own
_USED = {"models", "vocabs", "beam-size", "normalize", "word-penalty", "weights"}
_IRRELEVANT = {  # batches, memory, devices, logging, forms of the output
    *(
        "mini-batch",
        "mini-batch-words",
        "maxi-batch",
        "maxi-batch-sort",
        "workspace",
        "cpu-threads",
        "devices",
        "num-devices",
    ),
    *(
        "relative-paths",
        "quiet",
        "quiet-translation",
        "log",
        "log-level",
        "log-time-zone",
        "seed",
        "n-best",
        "alignment",
    ),
    *("version", "build-info", "cite", "authors", "input", "output", "port", "ssplit-mode", "ssplit-prefix-file"),
    *(
        "skip-cost",
        "word-scores",
        "stat-freq",
        "model-mmap",
        "max-length-break",
        "mini-batch-sort",
        "interpolate-env-vars",
    ),
}
_OFF = ("false", "0", "0.0", "", "none", "[]")
_EFFECTS = {
    "shortlist": "The lexical shortlist is not used: every token can be generated.",
    "output-approx-knn": "The approximate output layer is not used: logits are exact.",
    "gemm-precision": "Products are computed in fp32, not in integers.",
    "int8shiftAlphaAll": "Products are computed in fp32, not in integers.",
    "optimize": "Products are computed in fp32, not in integers.",
    "max-length": "Long sources are divided into parts; max-length is not used.",
    "max-length-crop": "Long sources are divided into parts, not cropped.",
    "max-length-factor": "search.max_extra_length limits a translation; max-length-factor is not used.",
}
_REFUSED = ("allow-unk", "allow-special", "output-sampling", "input-reorder", "force-decode", "tsv")


def search_settings(decoder: Mapping[str, Any], name: str) -> tuple[dict[str, Any], list[str]]:
    """Convert the settings of a decoder.

    Args:
        decoder: Settings as text, by name; empty if the model has none.
        name: Name of the model, for messages.

    Returns:
        Settings of our search, and remarks for the user on settings that are not used.

    Raises:
        UserError: If a setting is invalid, or changes translations and has no equivalent.
    """
    beams, alpha, words = (_number(decoder, key, default, name) for key, default in _DEFAULTS.items())
    if beams != int(beams) or not 1 <= beams <= _MOST_BEAMS:
        raise UserError(f"{name}: beam-size = {beams:g} is not a whole number from 1 to {_MOST_BEAMS}.")
    if abs(alpha) > _MOST_ALPHA:
        raise UserError(f"{name}: normalize = {alpha:g} is beyond ±{_MOST_ALPHA:g}.")
    if words:
        raise UserError(f"{name}: word-penalty = {words:g} is not supported. Set it to 0 in the decoder's settings.")
    remarks = []
    for key, value in decoder.items():
        if key in _USED | _IRRELEVANT or str(value) in _OFF:
            continue
        if key in _REFUSED:
            raise UserError(f"{name}: {key} = {value} is not supported. Remove it from the decoder's settings.")
        remarks.append(_EFFECTS.get(key, f"The decoder's setting {key} is not used."))
    return {"beam_size": int(beams), "length_penalty": alpha, "length_offset": 0.0}, list(dict.fromkeys(remarks))


def _number(decoder: Mapping[str, Any], key: str, default: float, name: str) -> float:
    value = decoder.get(key, default)
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"{name}: {key} = {value} is not a number.")
    return number
