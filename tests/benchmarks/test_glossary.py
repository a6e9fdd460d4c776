"""The terms, the counts and the table of `benchmarks/glossary.py`, and the table of `benchmarks/ensembles.py`."""

from allyouneed.translation.terminology.glossary import Entry, Glossary
from benchmarks import ensembles, glossary


def test_terms_are_words_that_occur_together():
    sources = ["the house here", "a house there", "house and tree", "tree only"] * 2
    targets = ["das Haus hier", "ein Haus dort", "Haus und Baum", "nur Baum"] * 2
    assert glossary.frequent_pairs(sources, targets) == [Entry("house", "Haus"), Entry("tree", "Baum")]


def test_each_occurrence_of_a_term_is_counted():
    terms = Glossary((Entry("dog", "Hund"), Entry("cat", "Katze")), "en", "de")
    assert glossary.presence(terms, ["dog dog cat", "dog"], ["Hund Katze", "Hundehütte"]) == (4, 2)


def test_the_table_has_shares():
    rows = [glossary.Row("a glossary", 2.0, 4, 3, 12.345)]
    assert glossary.table(rows, 100)[2] == "| a glossary | 50 | 3 of 4 (75.0 %) | 12.35 |"


def test_the_gain_of_an_ensemble_is_over_the_mean_of_its_members():
    rows = [ensembles.Row(1, name, 4, 100.0, bleu, 50.0) for name, bleu in (("a", 30.0), ("b", 32.0))]
    table = ensembles.table([*rows, ensembles.Row(2, "a + b", 4, 50.0, 33.5, 52.0)])
    assert table[2] == "| a | 4 | 100 | 30.00 | 50.00 |  |"
    assert table[4] == "| a + b | 4 | 50 | 33.50 | 52.00 | +2.50 |"
