"""What a folder or file is, whoever made it: recognised by its contents, without reading its weights."""

from __future__ import annotations

import io
import lzma
import pickletools
import struct
import tarfile
import zlib
from contextlib import suppress
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from allyouneed.errors import UserError
from allyouneed.untrusted import check_regular, open_regular, parse_json, read_regular
from allyouneed.zip_files import damage_reported, open_zip

OURS = "allyouneed"
_BUNDLE_KEYS = {"format", "languages", "vocab_size", "config"}
_NPZ, _ZIP, _PICKLE = b"\x93NUMPY", b"PK\x03\x04", b"\x80\x02"
_MOST_JSON = 1 << 26  # bytes of a settings file
_MOST_PICKLE = 1 << 22  # bytes of a checkpoint's structure that are looked at
_CTRANSLATE2_VERSIONS = range(1, 10)
_TENSORFLOW = "a model of TensorFlow. Convert one of OpenNMT-tf by ct2-opennmt-tf-converter, and import the result"
_LEGACY_PICKLES = 4  # of a checkpoint before PyTorch 1.6: a mark, its version, the system, the content
_TARS = (".tar", ".gz", ".tgz", ".bz2", ".xz")
_MOST_MEMBERS = 1000
_MARIAN_BINARY = 1  # version of Marian's binary format
_CHECKPOINTS = {  # names found in a checkpoint's structure
    "fairseq": ({"model"}, {"args", "cfg", "task_state", "extra_state", "optimizer_history"}),
    "joeynmt": ({"model_state"}, {"optimizer_state", "best_ckpt_score", "steps"}),
    "opennmt-py": ({"model", "generator"}, {"vocab", "opt"}),
}


class Identity(NamedTuple):
    """What a folder or file is.

    Attributes:
        system: A key of `formats.FORMATS`, `OURS`, or empty for files that no reader exists for.
        title: A description for the user.
        model: The folder or file that `allyouneed import` takes.
    """

    system: str
    title: str
    model: Path


def identify(path: Path) -> Identity:
    """Tell what a folder or file is.

    Args:
        path: A folder or file of any system.

    Raises:
        UserError: If it does not exist or is not recognised.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder.")
    check_regular(path)
    found = _folder(path) if path.is_dir() else _file(path)
    if found is None:
        raise UserError(
            f"{path}: not recognised as a model. Give the folder of a RUN, or a model of Marian (Hugging Face's or its "
            "own format), CTranslate2, Argos, fairseq, OpenNMT-py, Eole, Joey NMT or Sockeye."
        )
    return found


def _folder(folder: Path) -> Identity | None:
    for candidate in (folder / "bundle", folder):
        settings = _json(candidate / "config.json")
        if settings.keys() >= _BUNDLE_KEYS:
            return Identity(OURS, "a RUN" if candidate != folder else "a bundle", folder)
    names = {path.name for path in folder.iterdir()}
    settings = _json(folder / "config.json")
    if "model_type" in settings and names & {"model.safetensors", "pytorch_model.bin", "model.safetensors.index.json"}:
        return _hugging_face(str(settings["model_type"]), folder)
    if "saved_model.pb" in names or any(f"{name[:-6]}.data-00000-of-00001" in names for name in names):  # X.index
        return Identity("", _TENSORFLOW, folder)
    if "model.bin" in names and _is_ctranslate2(folder / "model.bin"):
        return Identity("ctranslate2", "a CTranslate2 model", folder)
    if "metadata.json" in names and (folder / "model" / "model.bin").is_file():
        return Identity("argos", "an unpacked Argos package", folder)
    if "decoder.yml" in names or any(_is_marian_npz(path) for path in sorted(folder.glob("*.npz"))):
        return Identity("marian", "a Marian model in its own format", folder)
    if any(name.endswith(".bin") and _is_marian_binary(folder / name) for name in names):
        return Identity("marian", "a Marian model in its binary format", folder)
    if {"config", "version"} <= names and any(name.startswith("params.") for name in names):
        return Identity("sockeye", "a Sockeye model", folder)
    if "vocab.json" in names and any(name.startswith("model") and name.endswith(".safetensors") for name in names):
        return Identity("eole", "an Eole model", folder)
    if "config.yaml" in names and any(name.endswith(".ckpt") for name in names):
        return Identity("joeynmt", "a Joey NMT model", folder)
    checkpoints = sorted(path for path in folder.glob("*.pt") if path.is_file())
    recognised = [each for each in map(_file, checkpoints) if each]
    if recognised and recognised[0].system == "opennmt-py":  # whose reader takes a checkpoint, here the newest
        return max(recognised, key=lambda each: each.model.stat().st_mtime)
    return recognised[0]._replace(model=folder) if recognised else None


def _is_marian_npz(path: Path) -> bool:
    found = _file(path)
    return found is not None and found.system == "marian"


def _hugging_face(kind: str, folder: Path) -> Identity:
    if kind == "marian":
        return Identity("marian", "a Marian model in the format of Hugging Face", folder)
    return Identity("", f"a {kind} model in the format of Hugging Face", folder)


def _file(path: Path) -> Identity | None:
    start = b""
    with suppress(OSError), open_regular(path) as file:
        start = file.read(8)
        if start.startswith(_ZIP):
            return _archive(path)
        if start.startswith(_PICKLE):
            return _checkpoint(_texts(start + file.read(_MOST_PICKLE)), path)
    if _is_ctranslate2(path):
        return Identity("ctranslate2", "the weights of a CTranslate2 model", path.parent)
    if path.suffix == ".bin" and _is_marian_binary(path):
        return Identity("marian", "a Marian model in its binary format", path)
    if path.suffix in (".spm", ".model") and start[:1] == b"\n":
        return Identity("", "a SentencePiece model, without a translation model", path)
    if path.suffix in _TARS and _has_checkpoint(path):
        return Identity("fairseq", "a packed fairseq model", path)
    if path.suffix == ".safetensors":
        return Identity("", "weights without settings and vocabulary", path)
    return None


def _archive(path: Path) -> Identity | None:
    """Recognise a ZIP file: a package, Marian's weights, or a checkpoint of PyTorch."""
    with suppress(OSError, UserError), open_zip(path, path.name) as archive, damage_reported(path.name):
        names = archive.namelist()
        last_parts = {name.rpartition("/")[2] for name in names}
        if "metadata.json" in last_parts and "model.bin" in last_parts:
            return Identity("argos", "an Argos package", path)
        if "special:model.yml.npy" in last_parts or (path.suffix == ".npz" and "Wemb.npy" in last_parts):
            return Identity("marian", "a Marian model in its own format", path)
        if "decoder.yml" in last_parts or any(name.endswith(".npz") for name in names):
            return Identity("marian", "a packed Marian model", path)
        for name in names:
            if name.endswith("data.pkl"):
                with archive.open(name) as structure:
                    return _checkpoint(_texts(structure.read(_MOST_PICKLE)), path)
    return None


def _has_checkpoint(path: Path) -> bool:
    """Return whether an archive has a checkpoint and a dictionary, as the published models of fairseq do."""
    with suppress(OSError, EOFError, ValueError, zlib.error, lzma.LZMAError, tarfile.TarError):
        with tarfile.open(path) as archive:
            names = [PurePosixPath(member.name).name for member in islice(archive, _MOST_MEMBERS)]
        return any(name.endswith(".pt") for name in names) and any(name.startswith("dict.") for name in names)
    return False


def _checkpoint(names: set[str], path: Path) -> Identity | None:
    titles = {"fairseq": "a fairseq model", "joeynmt": "a Joey NMT model", "opennmt-py": "an OpenNMT-py model"}
    for system, (required, some) in _CHECKPOINTS.items():
        if names >= required and names & some:
            return Identity(system, titles[system], path)
    return Identity("", "a PyTorch checkpoint of an unknown program", path) if names else None


def _texts(pickled: bytes) -> set[str]:
    """Return the texts in the pickles at the start of a file, as far as they are complete, without executing them."""
    found, file = set[str](), io.BytesIO(pickled)
    with suppress(ValueError, IndexError, EOFError, OverflowError, struct.error):
        for _ in range(_LEGACY_PICKLES):
            found.update(argument for _, argument, _ in pickletools.genops(file) if isinstance(argument, str))
    return found


def _is_ctranslate2(path: Path) -> bool:
    """Return whether a file is the weights of a CTranslate2 model: a version number, vocabularies beside it."""
    with suppress(OSError, struct.error), open_regular(path) as file:
        [version] = struct.unpack("<I", file.read(4))
        return version in _CTRANSLATE2_VERSIONS and any(path.parent.glob("*vocabulary.*"))
    return False


def _is_marian_binary(path: Path) -> bool:
    """Return whether a file begins as Marian's binary format does: its version, and a number of items."""
    with suppress(OSError, struct.error), open_regular(path) as file:
        version, items = struct.unpack("<QQ", file.read(16))
        return version == _MARIAN_BINARY and 0 < items < 100_000
    return False


def _json(path: Path) -> dict[str, Any]:
    """Read a JSON object; empty if there is none."""
    with suppress(OSError, ValueError):
        content = parse_json(read_regular(path, _MOST_JSON))
        return content if isinstance(content, dict) else {}
    return {}
