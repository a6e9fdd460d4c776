"""SentencePiece models of the user's own: of any algorithm, with any special tokens; other files are named."""

import gzip
import io
import json

import pytest
import sentencepiece

from allyouneed.data.tokens.own_tokenizer import load_own_tokenizer
from allyouneed.data.tokens.sentencepiece_model import read_model
from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.errors import UserError
from tests.data.test_subword_sampling import TEXT

SPECIAL = {
    "default": {},  # unk 0, <s> 1, </s> 2, no padding
    "T5": {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1},
    "last": {"vocab_size": 320, "pad_id": 319, "unk_id": 318, "bos_id": 317, "eos_id": 316},
    "BERT": {"pad_piece": "[PAD]", "unk_piece": "[UNK]", "bos_piece": "[CLS]", "eos_piece": "[SEP]", "pad_id": 3},
}


def own_model(path, subwords="bpe", byte_fallback=True, **options):
    model = io.BytesIO()
    options = {"vocab_size": 320 if byte_fallback else 130, **options}
    if subwords == "char":
        del options["vocab_size"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT[:15]),
        model_writer=model,
        model_type=subwords,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        minloglevel=2,
        **options,
    )
    path.write_bytes(model.getvalue())
    return path


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("subwords", ["bpe", "unigram", "char"])
@pytest.mark.parametrize("byte_fallback", [True, False])
def test_any_model_segments_as_before(tmp_path, subwords, special, byte_fallback):
    options = SPECIAL[special]
    if special == "last" and (subwords != "bpe" or not byte_fallback):
        pytest.skip("needs a vocabulary of exactly this size")
    path = own_model(tmp_path / "own.model", subwords, byte_fallback, **options)
    theirs = sentencepiece.SentencePieceProcessor(model_file=str(path))
    tokenizer = load_own_tokenizer([path])
    assert len(tokenizer) - theirs.vocab_size() == (theirs.pad_id() < 0) + (theirs.bos_id() < 0)
    processor = tokenizer._processor
    assert [processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id()] == [PAD, UNK, BOS, EOS]
    for text in [*TEXT[:15], "unseen: 龘", " two  spaces "]:
        ids = tokenizer.encode(text)
        assert tokenizer.pieces(ids) == theirs.encode(text, out_type=str) or UNK in ids
        assert tokenizer.decode([BOS, *ids, EOS, PAD]) == theirs.decode(theirs.encode(text))
    assert (UNK in tokenizer.encode("龘")) == (not byte_fallback)


def test_normalisation_is_kept(tmp_path):
    path = own_model(tmp_path / "own.model", normalization_rule_name="nmt_nfkc_cf")
    assert load_own_tokenizer([path]).encode("LOWER") == load_own_tokenizer([path]).encode("lower")


def test_two_models_are_separate_vocabularies(tmp_path):
    paths = [own_model(tmp_path / "a.model", "bpe"), own_model(tmp_path / "b.model", "unigram")]
    tokenizer = load_own_tokenizer(paths)
    assert not tokenizer.shared
    assert [each.content.algorithm for each in (tokenizer, tokenizer.target)] == ["bpe", "unigram"]
    with pytest.raises(UserError, match="give one SentencePiece model, or one for the source and one for the target"):
        load_own_tokenizer([*paths, paths[0]])


@pytest.mark.parametrize("subwords", ["bpe", "unigram", "char"])
def test_symbols_are_added(tmp_path, subwords):
    path = own_model(tmp_path / "own.model", subwords)
    tokenizer = load_own_tokenizer([path], ["<2de>", "a,b"])
    assert len(tokenizer) == len(load_own_tokenizer([path])) + 2
    assert tokenizer.content.symbols == ["<2de>", "a,b"]
    for text in ("<2de> lower", "lower<2de>a,b"):
        pieces = tokenizer.pieces(tokenizer.encode(text))
        assert "<2de>" in pieces
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert tokenizer.split_code("<2de>a,b lower <2de>") == ("<2de>a,b", " lower <2de>")
    assert tokenizer.split_code("lower <2de>") == ("", "lower <2de>")


def test_reading_and_writing_a_model_changes_nothing(tmp_path):
    content = own_model(tmp_path / "own.model", "unigram").read_bytes()
    assert read_model(read_model(content).as_bytes()) == read_model(content)
    processor = sentencepiece.SentencePieceProcessor(model_proto=read_model(content).as_bytes())
    assert processor.encode(TEXT[0]) == sentencepiece.SentencePieceProcessor(model_proto=content).encode(TEXT[0])


OTHERS = {
    "tokenizer.json of Hugging Face": json.dumps({"version": "1.0", "added_tokens": [], "model": {"type": "BPE"}}),
    "vocabulary in JSON": json.dumps({"<pad>": 0, "the": 1}, indent=1),
    "list of BPE merges": "#version: 0.2\nt h\nth e</w>\n",
    "list of BPE merges (": "".join(f"a b{i}</w>\n" for i in range(20)),
    "SentencePiece .vocab list": "<unk>\t0\n<s>\t0\n▁the\t-3.5\n",
    "vocabulary in YAML": '"</s>": 0\n"<unk>": 1\n"▁the": 2\n',
    "tiktoken": "IQ== 0\nIg== 1\nIw== 2\n",
    "list of tokens": "[PAD]\n[UNK]\nthe\n##s\n",
    "file is empty": "",
    "compressed": gzip.compress(b"anything"),
    "not a SentencePiece model": b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_named(tmp_path, kind):
    path = tmp_path / "file"
    content = OTHERS[kind]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as caught:
        load_own_tokenizer([path])
    assert kind in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ")
    assert ".model file" in str(caught.value)


def test_damaged_and_missing_files(tmp_path):
    whole = own_model(tmp_path / "own.model").read_bytes()
    path = tmp_path / "damaged.model"
    for content in (whole[: len(whole) // 2], whole[:100], whole[:-1], whole[:500] + b"\xff" * 20 + whole[520:]):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"^{path}: a damaged SentencePiece model\. Give the \.model file"):
            load_own_tokenizer([path])
    with pytest.raises(UserError, match="cannot be read"):
        load_own_tokenizer([tmp_path / "missing"])
    with pytest.raises(UserError, match="a folder"):
        load_own_tokenizer([tmp_path])
