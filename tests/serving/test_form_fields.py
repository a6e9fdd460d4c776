"""Forms and query strings, as axios, PHP, Rails, requests and browsers spell lists in them."""

from __future__ import annotations

from urllib.parse import parse_qsl

import pytest

from allyouneed.serving.api_errors import ApiError
from allyouneed.serving.apis.form_fields import decode_fields


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("q=a", {"q": "a"}),
        ("q=a&q=b", {"q": ["a", "b"]}),
        ("q[]=a&q[]=b", {"q": ["a", "b"]}),
        ("q[0]=a&q[1]=b", {"q": ["a", "b"]}),
        ("q[]=a", {"q": ["a"]}),
        ("text=a&target=de", {"text": ["a"], "target": "de"}),
        ("d[0].s=en&d[0].t=de&d[1].s=de&d[1].t=en", {"d": [{"s": "en", "t": "de"}, {"s": "de", "t": "en"}]}),
        ("d[0][s]=en&d[0][t]=de", {"d": [{"s": "en", "t": "de"}]}),
        ("a[b]=1&[]=2", {"a[b]": "1", "[]": "2"}),
        ("", {}),
    ],
)
def test_lists_and_objects_are_decoded(query, expected):
    assert decode_fields(parse_qsl(query), lists=("text",), repeatable=("q",)) == expected


def test_a_repeated_field_is_refused_instead_of_losing_a_value():
    with pytest.raises(ApiError, match="target: given 2 times; give it once"):
        decode_fields([("target", "de"), ("target", "fr")], repeatable=("q",))
