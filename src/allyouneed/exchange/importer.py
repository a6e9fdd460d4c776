"""`allyouneed import`: converts another system's model to a RUN."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from allyouneed.bundle import save_bundle
from allyouneed.errors import UserError
from allyouneed.exchange.formats import FORMATS
from allyouneed.files import intended_name
from allyouneed.languages import describe_pair, language_code
from allyouneed.suggest import did_you_mean
from allyouneed.untrusted import check_regular

_BUNDLE = "bundle"


def import_bundle(
    format: str, paths: Sequence[Path], run: Path, source: str | None = None, target: str | None = None
) -> str:
    """Import a model of another system as a RUN.

    Args:
        format: The format of the model, one of `formats.FORMATS`.
        paths: The model's folder or files.
        run: A new or empty folder, or one in which this import was interrupted, or has written its bundle.
        source: Code of the source language; None reads it from the model.
        target: Code of the target language; None reads it from the model.

    Returns:
        A description of the new bundle for the user.

    Raises:
        UserError: If the format does not exist, a path is missing, only one language is given, the folder has files, or
            the model cannot be represented (see the format's module).
    """
    if format == "opennmt-tf":
        raise UserError(
            "opennmt-tf: models of OpenNMT-tf are imported through CTranslate2. Install ctranslate2 and OpenNMT-tf, "
            "convert the model, ct2-opennmt-tf-converter --config config.yml --auto_config --output_dir CT2, and "
            "import CT2: import ctranslate2 CT2 SUBWORDS.model RUN."
        )
    if format not in FORMATS:
        raise UserError(f"format {format}{did_you_mean(format, FORMATS)} Choose {', '.join(FORMATS)}.")
    if bool(source) != bool(target):
        raise UserError("give both languages, --from CODE --to CODE, or neither.")
    if not paths:
        raise UserError(f"import {format} takes {FORMATS[format].takes}, and RUN, a new folder.")
    if run.is_file() or (run.exists() and any(intended_name(path.name) != _BUNDLE for path in run.iterdir())):
        raise UserError(f"{run} is not empty: give a new folder as the last argument.")
    for path in paths:
        if not path.exists():
            raise UserError(f"{path}: no such file or folder. import {format} takes {FORMATS[format].takes}.")
        check_regular(path)
    languages = (language_code(source), language_code(target)) if source and target else None
    bundle = FORMATS[format].load()(paths, languages)
    save_bundle(bundle, run / _BUNDLE, replace=False)
    direction, *remarks = describe_pair(*bundle.languages)
    described = f"{direction}: {bundle.described()}, vocabulary of {len(bundle.tokenizer):,}"
    remarks += [str(bundle.notes["remarks"])] if "remarks" in bundle.notes else []
    return "\n".join([described, *remarks, f"bundle: {run / _BUNDLE}"])
