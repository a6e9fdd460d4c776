"""Old bundles remain readable and give their stored translations, token for token."""

from __future__ import annotations

import json
import shutil

import pytest

from allyouneed import UserError
from allyouneed.bundle import FORMAT, load_bundle
from allyouneed.files import sha256
from allyouneed.translation.reference_outputs import translate_references
from tests.compat import BUNDLES


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_gives_its_stored_translations(folder):
    stored = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    bundle = load_bundle(folder)
    for beam_size, expected in stored["said"].items():
        assert translate_references(bundle, stored["sources"], int(beam_size)) == expected


@pytest.mark.parametrize("folder", BUNDLES, ids=lambda folder: folder.name)
def test_a_bundle_gives_its_own_reference_outputs(folder):
    bundle = load_bundle(folder)
    sources = [sample["source"] for sample in bundle.samples]
    for beam_size in (1, 4):
        assert translate_references(bundle, sources, beam_size) == [
            sample["said"][str(beam_size)] for sample in bundle.samples
        ]


def test_there_is_a_small_bundle_of_each_format():
    formats = {json.loads((folder / "config.json").read_text())["format"] for folder in BUNDLES}
    assert formats == set(range(1, FORMAT + 1))
    for folder in BUNDLES:
        assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000


def test_a_newer_format_is_refused_with_a_remedy(tmp_path):
    shutil.copytree(BUNDLES[-1], tmp_path / "bundle")
    facts = tmp_path / "bundle" / "config.json"
    facts.write_text(facts.read_text().replace(f'"format": {FORMAT}', f'"format": {FORMAT + 1}'))
    manifest = tmp_path / "bundle" / "manifest.json"
    sums = json.loads(manifest.read_text())
    sums["sha256"]["config.json"] = sha256(facts)
    manifest.write_text(json.dumps(sums))
    with pytest.raises(UserError, match="Upgrade allyouneed"):
        load_bundle(tmp_path)
