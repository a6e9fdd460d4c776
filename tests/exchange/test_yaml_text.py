"""Settings in YAML from other systems' models: text values, aliases written out, and limits."""

from __future__ import annotations

import pytest

from allyouneed import UserError
from allyouneed.exchange.reading.yaml_text import read_yaml

yaml = pytest.importorskip("yaml", reason="the package pyyaml is not installed")
ALIASES = """
base: &base {type: transformer, size: 8, norm: pre}
encoder: {<<: *base, size: 16}
decoder:
  <<: [{norm: post}, *base]
lists: [*base, &one [1, 2], *one]
"""


def test_aliases_are_those_of_safe_load():
    found = read_yaml(ALIASES, "config.yaml")
    assert found["encoder"] == {"type": "transformer", "size": "16", "norm": "pre"}
    expected = yaml.safe_load(ALIASES.replace("16", "'16'").replace("8,", "'8',").replace("1, 2", "'1', '2'"))
    assert found == expected


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a{n}: &a{n} [*a{p}, *a{p}, *a{p}]", "65,536 values"),
        ("a{n}: &a{n} {{<<: [*a{p}, *a{p}], k{n}: [*a{p}, *a{p}]}}", "65,536 values"),
        ("a{n}: &a{n} [*a{n}]", "not valid YAML"),
    ],
)
def test_aliases_of_aliases_are_bounded(line, message):
    lines = ["a0: &a0 {x: 1}", *(line.format(n=n, p=n - 1) for n in range(1, 40))]
    with pytest.raises(UserError, match=message):
        read_yaml("\n".join(lines), "config.yaml")
