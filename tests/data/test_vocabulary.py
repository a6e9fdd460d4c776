import pytest

from allyouneed.data.tokens.tokenizer import BOS, EOS, PAD, UNK
from allyouneed.data.tokens.tokenizer_training import learn_tokenizer
from allyouneed.data.tokens.vocabulary import ADDED, Vocabulary, VocabularyTokenizer, load_tokenizers
from allyouneed.errors import UserError

CODE = ">>fr<<"
TEXT = ["the dog runs", "the cat sleeps"] * 20


@pytest.fixture(scope="module")
def tokenizer() -> VocabularyTokenizer:
    """A tokenizer with different vocabularies for source and target, ordered differently from the model's."""
    learnt = learn_tokenizer(TEXT, 300)
    others = learnt.pieces(range(4, len(learnt)))
    names = [["<pad>", "<unk>", "<s>", "</s>", *more] for more in ([CODE, *others], others[::-1])]
    target, source = (Vocabulary(of_side, list(range(len(of_side)))) for of_side in reversed(names))
    return VocabularyTokenizer(learnt.model, source, VocabularyTokenizer(learnt.model, target))


def test_sides_have_different_ids_for_the_same_text(tokenizer):
    source, target = tokenizer.encode("the dog"), tokenizer.target.encode("the dog")
    assert source != target
    assert tokenizer.pieces(source) == tokenizer.target.pieces(target)
    assert tokenizer.decode([BOS, *source, EOS, PAD]) == tokenizer.target.decode(target) == "the dog"
    assert tokenizer.encode_all(["the dog", "the cat"]) == [source, tokenizer.encode("the cat")]
    assert len(tokenizer) == len(tokenizer.target) + 1


def test_a_leading_language_code_is_one_token(tokenizer):
    assert tokenizer.encode(f"{CODE} the dog") == [4, *tokenizer.encode("the dog")]
    assert tokenizer.encode(">>de<< the dog") == [UNK, *tokenizer.encode("the dog")]


@pytest.mark.parametrize("text", [">> the dog << runs", ">>the dog<<", ">> the dog", ">><<", "the >>fr<<", ""])
def test_quoted_text_is_not_a_language_code(tokenizer, text):
    assert tokenizer.split_code(text) == ("", text)


def test_loading_from_files(tokenizer, tmp_path):
    for name, content in tokenizer.files().items():
        (tmp_path / name).write_bytes(content)
    loaded = load_tokenizers(tmp_path)
    assert loaded.vocabulary == tokenizer.vocabulary
    assert loaded.target.vocabulary == tokenizer.target.vocabulary
    assert loaded.files() == tokenizer.files()
    one = VocabularyTokenizer(tokenizer.model, Vocabulary(["<pad>", "<unk>", "<s>", "</s>"], [3, 1, ADDED, 0]))
    for name, content in one.files().items():
        (tmp_path / name).write_bytes(content)
    both = load_tokenizers(tmp_path)
    assert both.target is both


@pytest.mark.parametrize("name", ["source.spm", "target.spm", "vocabulary.json"])
@pytest.mark.parametrize("content", [b"", b"nonsense", b'{"source": {}}', None])
def test_a_damaged_file_is_reported(tokenizer, tmp_path, name, content):
    for each, whole in tokenizer.files().items():
        (tmp_path / each).write_bytes(whole)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=str(tmp_path)):
        load_tokenizers(tmp_path)


def test_a_tokenizer_with_a_code_puts_it_before_sources_only(tokenizer):
    coded = tokenizer.with_code(CODE)
    assert tokenizer.codes == [CODE]
    assert coded.encode("the dog") == tokenizer.encode(f"{CODE} the dog") == coded.encode(f"{CODE} the dog")
    assert coded.encode("") == []
    assert coded.target.encode("the dog") == tokenizer.target.encode("the dog")
    assert tokenizer.encode("the dog")[0] != 4
