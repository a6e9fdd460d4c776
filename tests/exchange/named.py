"""Models of other systems for the commands in documents, which name folders, archives or single files of a model."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from allyouneed.bundle import Bundle, load_bundle
from allyouneed.exchange import export_argos, export_ctranslate2, export_marian, export_marian_native
from tests.compat import POST_NORM

FAIRSEQ = Path(__file__).parent / "data" / "fairseq"


def write_model(format: str, paths: Sequence[Path]) -> None:
    """Write the paths of `allyouneed import FORMAT PATH... RUN`.

    Args:
        format: The format of the model.
        paths: Folder, archive or files, whose names tell what they are to contain.
    """
    if not paths:
        return
    bundle = load_bundle(POST_NORM)
    bundle.languages = ("de", "en")
    with tempfile.TemporaryDirectory() as temporary:
        files = _files(format, bundle, Path(temporary) / "model", in_folder=len(paths) == 1 and not paths[0].suffix)
        for path in paths:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.suffix == ".zip":
                with zipfile.ZipFile(path, "w") as archive:
                    for file in files.iterdir():
                        archive.write(file, file.name)
            elif path.suffix == ".gz":
                with tarfile.open(path, "w:gz") as archive:
                    archive.add(files, "model")
            elif not path.suffix and path.name not in {file.name for file in files.iterdir()}:
                shutil.copytree(files, path)
            else:
                shutil.copy(_named(files, path), path)


def _files(format: str, bundle: Bundle, folder: Path, in_folder: bool) -> Path:
    """Write a folder with all files of a model."""
    if format == "fairseq":
        shutil.copytree(FAIRSEQ / "post", folder)
        shutil.copy(FAIRSEQ / "bpecodes", folder)
    elif format == "argos":
        export_argos(bundle, folder)
    elif format == "ctranslate2":
        export_ctranslate2(bundle, folder)
        for name in ("source.spm", "target.spm"):
            (folder / name).write_bytes(bundle.tokenizer.model)
    elif in_folder:
        export_marian(bundle, folder)
    else:
        export_marian_native(bundle, folder)
        for name in ("source.spm", "target.spm"):
            (folder / name).write_bytes(bundle.tokenizer.model)
        pieces = bundle.tokenizer.pieces(range(len(bundle.tokenizer)))
        (folder / "vocab.yml").write_text("".join(f'"{piece}": {row}\n' for row, piece in enumerate(pieces)))
    return folder


def _named(files: Path, path: Path) -> Path:
    """Find the file of a model that a name means: of this name, or else the only one of this kind."""
    return files / path.name if (files / path.name).exists() else next(files.glob(f"*{path.suffix}"))
