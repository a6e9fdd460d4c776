"""The store and the table of `benchmarks/opening.py`."""

from allyouneed.config import DataConfig
from allyouneed.data.corpora import corpus
from allyouneed.data.prepare import prepare
from allyouneed.data.store import open_store
from benchmarks import opening


def test_stages_of_a_random_store(tmp_path):
    opening.write_text(tmp_path / "text.tsv")
    data = DataConfig(vocab_size=opening.VOCABULARY, faults="warn")
    prepared = prepare(tmp_path / "data", [corpus(tmp_path / "text.tsv")], None, data, lambda line: None)
    opening.write_random_store(prepared.train, 2_000_000)
    size = sum(file.stat().st_size for file in prepared.train.glob("*.ids"))
    assert 1_500_000 < size < 2_000_000
    seconds = opening.stages(prepared)
    assert [*seconds, "first step"] == list(opening.STAGES)
    assert min(seconds.values()) > 0
    line = opening.row(2, 100, "yes", {**seconds, "first step": 1.0})
    assert line.count("|") == opening.HEAD.splitlines()[0].count("|") == 10
    opening.remove_checksums(prepared.train)
    open_store(prepared.train).verify()
