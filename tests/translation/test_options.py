"""Search options: validation, and the declaration from which the command line and HTTP derive their options."""

from __future__ import annotations

import subprocess
import sys
from typing import get_type_hints

import numpy as np
import pytest
from pydantic import ValidationError

from allyouneed import UserError
from allyouneed.config import SearchConfig
from allyouneed.translation.options import ResolvedOptions, SearchOptions, SearchOverrides, option_of


def test_every_field_is_described_bounded_and_named():
    for name, field in SearchOptions.model_fields.items():
        assert field.description.endswith("."), name
        assert option_of(name).group, name
        schema = SearchOptions.model_json_schema()["properties"][name]
        [kind] = [each for each in schema.get("anyOf", [schema]) if each["type"] != "null"]
        if kind["type"] in ("integer", "number"):
            assert {"minimum", "exclusiveMinimum"} & kind.keys(), name
            assert {"maximum", "exclusiveMaximum"} & kind.keys(), name
        if kind["type"] == "array":
            assert "maxItems" in kind, name


def test_typed_overrides_are_the_fields():
    hints = get_type_hints(SearchOverrides)
    assert hints.keys() == SearchOptions.model_fields.keys()
    for name, field in SearchOptions.model_fields.items():
        if name != "suppress_sequences":  # it also takes a list
            assert hints[name] == field.annotation, name


def test_names_are_ctranslate2s():
    ctranslate2 = pytest.importorskip("ctranslate2")
    known = ctranslate2.Translator.translate_batch.__doc__
    for name in SearchOptions.model_fields:
        theirs = option_of(name).ctranslate2
        assert theirs is None or f"{theirs}: " in known, name


def test_values_are_checked_and_do_not_change():
    with pytest.raises(UserError, match=r"^beam_size = 0: must be at least 1\.$"):
        SearchOptions.from_values({"beam_size": 0})
    with pytest.raises(UserError, match=r"^length_penalty = nan: must be a finite number\.$"):
        SearchOptions.from_values({"length_penalty": float("nan")})
    with pytest.raises(TypeError, match="'beam'"):
        SearchOptions.from_values({"beam": 4})
    with pytest.raises(UserError, match=r"^suppress_sequences = x,x,[x,]*\.\.\.: "):
        SearchOptions.from_values({"suppress_sequences": ["x"] * 10_001})
    with pytest.raises(UserError, match=r"^suppress_sequences = a: must be a list\.$"):
        SearchOptions.from_values({"suppress_sequences": "a"})
    options = SearchOptions.from_values({"beam_size": np.int64(4)})
    with pytest.raises(ValidationError, match="frozen"):
        options.beam_size = 5
    assert options.replace({"num_hypotheses": 2}) == SearchOptions(beam_size=4, num_hypotheses=2)
    with pytest.raises(UserError, match=r"^num_hypotheses \(--nbest\) = 5: choose 1 to beam_size = 4\.$"):
        options.replace({"num_hypotheses": 5})


@pytest.mark.parametrize("name", ["beam_size", "num_hypotheses", "length_penalty", "coverage_penalty"])
def test_booleans_are_not_numbers(name):
    with pytest.raises(UserError, match=rf"^{name} = true: must be a number\.$"):
        SearchOptions().replace({name: True})
    with pytest.raises(ValidationError, match="must be a number"):
        SearchOptions(**{name: True})
    assert SearchOptions(**{name: 1.0}) == SearchOptions(**{name: 1})
    assert SearchOptions(return_scores=False).return_scores is False


def test_the_bundles_settings_fill_in():
    settings = SearchConfig(beam_size=3, length_penalty=0.2)
    resolved = SearchOptions(length_penalty=1.0).resolve(settings)
    assert isinstance(resolved, ResolvedOptions)
    assert (resolved.beam_size, resolved.length_penalty) == (3, 1.0)
    assert SearchOptions(sampling_topk=5).resolve(settings).beam_size == 1
    with pytest.raises(UserError, match="num_beam_groups = 2: choose a divisor of beam_size = 3"):
        SearchOptions(num_beam_groups=2).resolve(settings)


def test_bounds_are_those_of_the_settings():
    options, settings = (kind.model_json_schema()["properties"] for kind in (SearchOptions, SearchConfig))
    for name, setting in settings.items():
        [option] = [each for each in options[name]["anyOf"] if each["type"] != "null"]
        for bound in ("minimum", "maximum"):
            assert option[bound] == setting[bound], name


def test_its_module_loads_neither_torch_nor_numpy():
    code = "import sys, allyouneed.translation.options; sys.exit(bool({'torch', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
