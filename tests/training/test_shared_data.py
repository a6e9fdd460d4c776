"""Prepared text that several runs share with `--data`."""

import dataclasses
import os

import pytest

from allyouneed.data.corpora import corpus
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.errors import UserError
from allyouneed.training.reporting.outcome import FINISHED
from allyouneed.training.train import train
from tests.conftest import silent, toy_pairs, toy_request, write_pairs


@pytest.fixture(scope="module")
def request_with_data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shared")
    request = toy_request(folder / "text", folder / "run", ["training.steps=4", "training.validate_every=4"])
    return dataclasses.replace(request, data=folder / "data")


def test_two_runs_share_a_folder_that_is_prepared_once(request_with_data):
    assert train(request_with_data, silent()).status == FINISHED
    made = (request_with_data.data / "corpus.json").stat().st_mtime_ns
    other = dataclasses.replace(request_with_data, out=request_with_data.out.with_name("other"))
    assert train(other, silent()).status == FINISHED
    assert (request_with_data.data / "corpus.json").stat().st_mtime_ns == made
    logs = [(run / "bundle" / "model.safetensors").read_bytes() for run in (request_with_data.out, other.out)]
    assert logs[0] == logs[1]
    assert not (other.out / "data").exists()


def test_other_text_or_settings_are_refused(request_with_data, tmp_path):
    train(request_with_data, silent())
    other = dataclasses.replace(request_with_data, out=tmp_path / "run")
    longer = dataclasses.replace(other, settings=[*other.settings, "data.max_length=39"])
    with pytest.raises(UserError, match=r"data was prepared with data\.max_length = 40, now 39\. Give the same"):
        train(longer, silent())
    text = corpus(*write_pairs(tmp_path, "train", toy_pairs(401)))
    with pytest.raises(UserError, match=r"was prepared with --train = train\.src,\d+,train\.tgt,\d+, now train\.src"):
        train(dataclasses.replace(other, out=tmp_path / "second", train=[text]), silent())
    with pytest.raises(UserError, match="was prepared with languages = aa,bb, now aa,cc"):
        train(dataclasses.replace(other, out=tmp_path / "third", languages=("aa", "cc")), silent())


def test_a_file_is_compared_by_its_content_not_by_its_time(request_with_data, tmp_path):
    train(request_with_data, silent())
    path = request_with_data.train[0].paths[0]
    before, content = path.stat(), path.read_bytes()
    os.utime(path)
    assert train(dataclasses.replace(request_with_data, out=tmp_path / "same"), silent()).status == FINISHED
    path.write_bytes(content.replace(b"a", b"b", 1))  # as large as before
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(UserError, match=rf"{path} has changed since {request_with_data.data} was prepared from it\."):
        train(dataclasses.replace(request_with_data, out=tmp_path / "changed"), silent())
    path.write_bytes(content)


def test_another_tokenizer_is_refused(request_with_data, tmp_path):
    texts = [text for pair in toy_pairs(300) for text in pair]
    for name, part in (("first", texts[:200]), ("second", texts[200:])):
        (tmp_path / name).write_bytes(learn_tokenizer(part, 272).model)
    settings = [each for each in request_with_data.settings if "vocab_size" not in each]
    given = dataclasses.replace(request_with_data, settings=settings, data=tmp_path / "data")
    first, second = (
        dataclasses.replace(given, out=tmp_path / f"{name}-run", tokenizer=[tmp_path / name])
        for name in ("first", "second")
    )
    train(first, silent())
    with pytest.raises(
        UserError, match=r"data was prepared with another tokenizer\. Give another folder: --data FOLDER"
    ):
        train(second, silent())


def test_the_option_is_on_the_command_line_and_in_python(request_with_data, tmp_path, command):
    train(request_with_data, silent())
    files = [*request_with_data.train[0].paths, "--valid", *request_with_data.valid[0].paths]
    settings = [word for each in request_with_data.settings for word in ("--set", each)]
    options = ["--data", request_with_data.data, "--recipe", "tiny", *settings, "--out", tmp_path / "run"]
    code, _, _ = command("train", "--from", "aa", "--to", "bb", "--train", *files, *options)
    assert code == 0
    assert not (tmp_path / "run" / "data").exists()
