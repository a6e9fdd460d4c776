"""When roles of heads emerge: hand-made curves, and chance levels computed in another way."""

import itertools
import random

import pytest

from allyouneed.insight.statistics.aligner import Links, alignment_error
from allyouneed.insight.statistics.emergence import ROLES, chance_alignment, emergences, first_stable, role_score
from allyouneed.insight.words import Sentence


@pytest.mark.parametrize(
    ("scores", "first"),
    [
        ([0.1, 0.6, 0.7, 0.8], 1),
        ([0.6, 0.1, 0.7, 0.8], 2),  # an early peak that does not last
        ([0.9, 0.9], 0),
        ([0.1, 0.5, 0.9], 2),  # equal to the threshold is not above it
        ([0.9, 0.1], 2),
        ([], 0),
    ],
)
def test_first_stable(scores, first):
    assert first_stable(scores, 0.5) == first


def curves(name, *values):
    return [{"previous": 0.0, "next": 0.0, "same": 0.0, "aer": None, name: value} for value in values]


CHANCE = {role: dict.fromkeys(kinds, 0.1) for role, kinds in ROLES.items()}


def test_roles_of_heads():
    heads = [
        {"kind": "decoder", "layer": 0, "head": 0},
        {"kind": "decoder", "layer": 0, "head": 1},
        {"kind": "cross", "layer": 1, "head": 0},
        {"kind": "cross", "layer": 1, "head": 1},
    ]
    series = [
        curves("previous", 0.1, 0.2, 0.6, 0.7),
        curves("previous", 0.1, 0.6, 0.6, 0.1),  # no longer above chance at the end
        curves("aer", 0.9, 0.8, 0.3, 0.2),
        curves("aer", 0.9, None, 0.3, 0.2),  # undefined in one snapshot
    ]
    found = emergences(heads, series, CHANCE)
    assert [(each.role, each.kind, each.head, each.frame) for each in found] == [
        ("alignment", "cross", 0, 2),
        ("previous", "decoder", 0, 2),
    ]
    assert (found[0].score, found[0].threshold) == (pytest.approx(0.8), pytest.approx(0.45))


def test_roles_are_defined_only_for_their_kinds():
    head = {"kind": "cross", "layer": 0, "head": 0}
    assert emergences([head], [curves("previous", 0.1, 0.9)], CHANCE) == []
    separators = [{"period": 0.1, "start": None, "end": 0.1}, {"period": 0.3, "start": None, "end": 0.4}]
    [found] = emergences([head], [separators], CHANCE)
    assert (found.role, found.score, found.frame) == ("separator", pytest.approx(0.7), 1)


def test_scores():
    assert role_score("alignment", {"aer": 0.0}) == 1
    assert role_score("alignment", {"aer": None}) is None
    assert role_score("separator", {"period": 0.2, "start": 0.1, "end": 0.3}) == pytest.approx(0.6)
    assert role_score("previous", {"previous": None}) is None


def sentence(words):
    return Sentence(list(range(words + 1)), list(range(words + 1)), [*map(str, range(words)), "</s>"])


def test_chance_alignment_is_the_mean_over_random_links():
    sure = frozenset({(0, 0), (2, 1)})
    gold = [Links(sure, sure | {(1, 1)}), Links(frozenset(), frozenset({(0, 0)}))]
    pairs = [(sentence(3), sentence(2)), (sentence(2), sentence(1))]
    scores = []
    for first, second, third in itertools.product(range(3), range(3), range(2)):
        links = [{(first, 0), (second, 1)}, {(third, 0)}]
        scores.append(1 - (alignment_error(links, gold) or 0))
    assert chance_alignment(pairs, gold) == pytest.approx(sum(scores) / len(scores))
    assert chance_alignment([(sentence(0), sentence(0))], gold[:1]) == 0


def test_emergence_does_not_depend_on_the_order_of_heads():
    rng = random.Random(1)
    heads = [{"kind": "cross", "layer": 0, "head": head} for head in range(5)]
    series = [curves("aer", *(rng.random() for _ in range(6))) for _ in heads]
    order = [3, 1, 4, 0, 2]
    shuffled = emergences([heads[i] for i in order], [series[i] for i in order], CHANCE)
    assert shuffled == emergences(heads, series, CHANCE)
