"""The fair queue: clients get equal shares, and nothing is lost."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from allyouneed.serving.queue.fair_queue import FairQueue, Submission


def add(queue: FairQueue, client: str, weights: list[int], key: str = "k", is_heavy: bool = False) -> Submission:
    submission = Submission(client, key, is_heavy)
    queue.add(submission, weights, weights)
    return submission


def take(queue: FairQueue, most_items: int = 1, most_weight: int = 10**9) -> list[tuple[str, int]]:
    """Take a batch, and return the client and the weight of each item."""
    found = queue.take(queue.next_kind(), most_items, most_weight)
    return [(item.submission.client, item.weight) for item in found]


def test_a_single_item_is_taken_before_the_backlog_of_another_client():
    queue = FairQueue()
    add(queue, "file", [5] * 1000)
    take(queue, 10)
    add(queue, "short", [5])
    assert ("short", 5) in take(queue, 2)


def test_clients_get_equal_weight_however_their_items_are_cut():
    queue = FairQueue()
    add(queue, "small", [1] * 600)
    add(queue, "large", [20] * 30)
    served: Counter[str] = Counter()
    while len(queue):
        for client, weight in take(queue, 3):
            served[client] += weight
        if queue.waiting_of("small") and queue.waiting_of("large"):
            assert abs(served["small"] - served["large"]) <= 20
    assert served == {"small": 600, "large": 600}


def test_an_idle_client_saves_nothing_up():
    """A client that was idle while others worked is not preferred afterwards beyond an equal share."""
    queue = FairQueue()
    add(queue, "steady", [1] * 1000)
    add(queue, "late", [1])
    for _ in range(500):
        take(queue)
    add(queue, "late", [1] * 100)
    served = Counter(client for _ in range(100) for client, _ in take(queue))
    assert abs(served["late"] - served["steady"]) <= 2


def test_a_client_that_returns_with_more_work_is_not_preferred():
    """A client cannot gain by submitting its next item only after the last one was taken."""
    queue = FairQueue()
    add(queue, "backlog", [10] * 100)
    served: Counter[str] = Counter()
    for _ in range(100):
        if not queue.waiting_of("one by one"):
            add(queue, "one by one", [10])
        served += Counter(client for client, _ in take(queue))
    assert abs(served["backlog"] - served["one by one"]) <= 2


def test_a_file_does_not_delay_the_short_texts_of_its_own_client():
    queue = FairQueue()
    add(queue, "anna", [5] * 100, is_heavy=True)
    take(queue, 5)
    add(queue, "anna", [1])
    assert queue.next_kind(light_only=True).is_heavy is False
    kinds = []
    for _ in range(2):
        kind = queue.next_kind()
        kinds.append(kind.is_heavy)
        queue.take(kind, 1, 10)
    assert False in kinds


def test_the_oldest_item_of_a_client_decides_the_key():
    queue = FairQueue()
    add(queue, "anna", [1], "first")
    add(queue, "anna", [1], "second")
    add(queue, "anna", [1], "first")
    keys = []
    while len(queue):
        kind = queue.next_kind()
        keys.append(kind.key)
        queue.take(kind, 1, 10)
    assert keys == ["first", "second", "first"]


def test_a_batch_is_limited_in_items_and_weight_but_has_one():
    queue = FairQueue()
    add(queue, "anna", [50, 4, 4, 4])
    assert [len(take(queue, 10, 9)) for _ in range(3)] == [1, 2, 1]


def test_removed_items_are_not_charged():
    queue = FairQueue()
    gone = add(queue, "anna", [100] * 10)
    add(queue, "bert", [1] * 10)
    assert len(queue.remove(gone)) == 10
    assert queue.remove(gone) == []
    add(queue, "anna", [1] * 10)
    order = [client for _ in range(20) for client, _ in take(queue)]
    assert max(sum(1 for _ in group) for group in [order[:2], order[2:4]]) == 2
    assert all({a, b} == {"anna", "bert"} for a, b in list(pairwise(order))[::2])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("abc"), st.sampled_from("xy"), st.booleans(), st.integers(1, 5)),
        st.tuples(st.just("take"), st.integers(1, 4)),
        st.tuples(st.just("remove"), st.integers(0, 20)),
    ),
    max_size=60,
)


@given(STEPS)
@settings(max_examples=200, deadline=None)
def test_every_item_is_taken_or_removed_once(steps):
    queue, submissions, expected, seen = FairQueue(), [], 0, []
    for step in steps:
        if step[0] == "add":
            _, client, key, is_heavy, number = step
            submissions.append(add(queue, client, [number] * number, key, is_heavy))
            expected += number
        elif step[0] == "take" and len(queue):
            kind = queue.next_kind()
            found = queue.take(kind, step[1], 10)
            assert found
            assert {(item.submission.key, item.submission.is_heavy) for item in found} == {kind}
            seen += found
        elif step[0] == "remove" and submissions:
            seen += queue.remove(submissions[step[1] % len(submissions)])
        assert len(queue) == expected - len(seen) == sum(map(queue.waiting_of, "abc"))
    while len(queue):
        seen += queue.take(queue.next_kind(), 3, 10)
    assert len({(id(item.submission), item.position) for item in seen}) == len(seen) == expected
    assert queue.waiting == queue.weight == [0, 0]
