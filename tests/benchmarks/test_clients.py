"""Results page of the clients' suites, from invented outcomes; the suites are fetched by who runs the benchmark."""

from __future__ import annotations

from benchmarks.clients import merged, page, reason_of
from benchmarks.clients_corpus import corpus
from benchmarks.clients_suites import Outcome

NOT_SERVED = "deepl.exceptions.DeepLException: Bad request, message: Value for 'target_lang' not supported: GET /v2"
SKIPPED = Outcome("deepl-python", "a: retries", "skipped", "Skipped: this test requires a mock server")


def test_reasons_are_found_in_the_answers_of_the_server():
    outcomes = {
        "passed": Outcome("s", "t", "passed"),
        "language not served": Outcome("s", "t", "failed", NOT_SERVED),
        "product not offered": Outcome(
            "s", "t", "failed", "Not found, message: style rules: not supported by this server"
        ),
        "option refused": Outcome("s", "t", "failed", "style_id: not supported by this server; leave it out"),
        "simulated by the mock server": SKIPPED,
        "failed": Outcome("s", "t", "failed", "AssertionError: assert 'a' == 'b'"),
    }
    assert {reason_of(outcome): outcome for outcome in outcomes.values()} == outcomes


def test_the_second_round_replaces_skipped_tests():
    passed = Outcome("deepl-python", "a: retries", "passed")
    assert merged([SKIPPED], [passed]) == [passed]
    [kept] = merged([SKIPPED], [passed._replace(result="failed", message="DID NOT RAISE")])
    assert reason_of(kept) == "simulated by the mock server"
    [explained] = merged([SKIPPED], [passed._replace(result="failed", message=NOT_SERVED)])
    assert reason_of(explained) == "language not served"
    failed = passed._replace(result="failed", message="x")
    assert merged([passed], [failed]) == [passed]


def test_the_page_counts_and_lists_tests(monkeypatch):
    monkeypatch.setattr("sys.argv", ["clients.py", "--deepl-python", "/home/me/deepl-python"])
    text = page("2026-01-02", [SKIPPED, Outcome("deepl-python", "b: text|x", "failed", "\nassert 1 == 2\nmore")])
    assert "| deepl-python | 2 | 0 | 0 | 0 | 0 | 1 | 1 |" in text
    assert "| deepl-python | b: text\\|x | failed: assert 1 == 2 |" in text
    assert "--deepl-python deepl-python" in text
    assert "/home" not in text


def test_the_corpus_has_each_direction_once():
    pairs = corpus(["de", "es", "fr"])
    assert ("Protonenstrahl", "proton beam") in pairs["de", "en"]
    assert len(pairs["de", "en"]) > 1
    assert pairs["fr", "de"] == [("faisceau de protons", "Protonenstrahl")]
    assert ("How are you?", "Wie geht es Ihnen?") in pairs["en", "de-x-formal"]
