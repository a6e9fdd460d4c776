"""What `import` and `export` write: a complete folder or none, whenever they are interrupted."""

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from allyouneed import exchange
from allyouneed.bundle import load_bundle
from allyouneed.errors import UserError
from allyouneed.exchange.hugging_face.export import export_marian
from allyouneed.exchange.importer import import_bundle
from allyouneed.exchange.marian_native.export import export_marian_native
from allyouneed.files import check_folder
from tests.compat import POST_NORM

MODEL = Path(__file__).parent / "data" / "sockeye" / "default"


def import_model(run: Path) -> str:
    return import_bundle("sockeye", [MODEL], run, "en", "de")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_import_that_was_killed_at_any_moment_can_be_repeated(tmp_path, monkeypatch):
    states, real = list[Path](), {name: getattr(os, name) for name in ("fsync", "replace", "mkdir")}

    def recorded(name):
        def call(*arguments, **options):
            with monkeypatch.context() as original:
                for other, function in real.items():
                    original.setattr(os, other, function)
                states.append(shutil.copytree(tmp_path / "out", tmp_path / f"state {len(states)}"))
            return real[name](*arguments, **options)

        return call

    (tmp_path / "out").mkdir()
    with monkeypatch.context() as patched:
        for name in real:
            patched.setattr(os, name, recorded(name))
        said = import_model(tmp_path / "out" / "run")
    expected = files(tmp_path / "out")
    assert "run/bundle/model.safetensors" in expected
    unfinished = [state for state in states if (state / "run" / "bundle.unfinished").exists()]
    complete = [state for state in states if (state / "run" / "bundle").exists()]
    assert len(unfinished) > len(expected)
    assert complete
    different = {tuple(sorted(files(state))): state for state in states}
    for state in different.values():
        assert import_model(state / "run").replace(str(state), str(tmp_path / "out")) == said
        assert files(state) == expected


@pytest.mark.parametrize("name", ["run.json", "bundle", "bundle/config.json", "bundle/more"])
def test_other_files_are_kept(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("precious")
    with pytest.raises(UserError, match=r"not empty: give a new folder|already exists\. Choose a new or empty folder"):
        import_model(tmp_path)
    assert files(tmp_path) == {name: b"precious"}


def test_a_changed_bundle_is_kept(tmp_path):
    import_model(tmp_path)
    path = tmp_path / "bundle" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    before = files(tmp_path)
    with pytest.raises(UserError, match="already exists"):
        import_model(tmp_path)
    assert files(tmp_path) == before


@pytest.mark.parametrize("export", [export_marian, export_marian_native])
def test_an_export_can_be_repeated(export, tmp_path):
    bundle = load_bundle(POST_NORM)
    export(bundle, tmp_path)
    before = files(tmp_path)
    export(bundle, tmp_path)
    other = replace(bundle, config=bundle.config.replace(search={"beam_size": 7}))
    with pytest.raises(UserError, match="already exists"):
        export(other, tmp_path)
    assert files(tmp_path) == before


def test_an_export_that_cannot_be_loaded_is_one_line(tmp_path, monkeypatch):
    def fail(*arguments):
        raise RuntimeError("File model.bin is incomplete:\nfailed to read")

    monkeypatch.setattr(exchange, "marian_translator", fail)
    with pytest.raises(
        UserError, match=r"out: written, but it cannot be loaded .*incomplete: failed to read\)\. Keep it"
    ):
        exchange.export_bundle(POST_NORM, "marian", tmp_path / "out")
    check_folder(tmp_path / "out", ["model.safetensors"], "")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_an_error_of_the_disk_leaves_no_bundle(call, tmp_path, monkeypatch):
    def fail(*arguments):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as broken:
        broken.setattr(os, call, fail)
        with pytest.raises(UserError, match=r"cannot write .*bundle: input/output error"):
            import_model(tmp_path / "run")
    assert not files(tmp_path)
    import_model(tmp_path / "run")
    check_folder(tmp_path / "run" / "bundle", ["model.safetensors"], "")
