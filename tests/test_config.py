import pytest

from allyouneed.config import Config, config_from, load_recipe, recipe_names
from allyouneed.errors import UserError


def test_defaults_are_the_papers_base():
    config = load_recipe("base")
    assert config == Config()
    model, training, search = config.model, config.training, config.search
    assert (model.d_model, model.d_ff, model.num_heads, model.key_size, model.value_size) == (512, 2048, 8, 64, 64)
    assert (model.encoder_layers, model.decoder_layers, model.dropout, model.norm) == (6, 6, 0.1, "post")
    assert (training.beta1, training.beta2, training.epsilon, training.warmup) == (0.9, 0.98, 1e-9, 4000)
    assert (training.steps, training.batch_tokens, training.label_smoothing) == (100_000, 25_000, 0.1)
    assert (search.beam_size, search.length_penalty, search.max_extra_length) == (4, 0.6, 50)


@pytest.mark.parametrize(
    ("name", "vocab_size", "dropout", "steps", "average", "average_every"),
    [
        ("base", 37_000, 0.1, 100_000, 5, 1500),
        ("base-en-fr", 32_000, 0.1, 100_000, 5, 1500),
        ("big", 37_000, 0.3, 300_000, 20, 600),
        ("big-en-fr", 32_000, 0.1, 300_000, 20, 600),
    ],
)
def test_the_papers_settings_for_wmt14(name, vocab_size, dropout, steps, average, average_every):
    """Sections 5.1 to 6.1; a checkpoint each 10 minutes is one in 1,500 steps of 0.4 s, or in 600 of 1.0 s."""
    config = load_recipe(name)
    training = config.training
    assert (config.data.vocab_size, config.model.dropout) == (vocab_size, dropout)
    assert (training.steps, training.average, training.average_every) == (steps, average, average_every)
    assert (training.optimizer, training.decay, training.learning_rate) == ("adam", "inverse_sqrt", None)
    assert config.search == Config().search


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name):
    assert load_recipe(name)


def test_overrides_in_toml_notation():
    config = Config().override(
        ["model.norm=pre", "training.minutes=2.5", "data.columns=2,1", "model.tie_embeddings=false"]
    )
    assert (config.model.norm, config.training.minutes) == ("pre", 2.5)
    assert config.data.columns == (2, 1)
    assert config.model.tie_embeddings is False
    assert config.override(["training.minutes=none"]).training.minutes is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.sed=2", "unknown key training.sed; did you mean training.seed?"),
        ("xyz.qqq=2", "unknown key xyz.qqq."),
        ("modle.d_ff=2", "did you mean model.d_ff?"),
        ("training.seed", "write SECTION.NAME=VALUE"),
        ("model.num_heads=3", "not divisible by model.num_heads = 3"),
        ("search.beam_size=0", "search.beam_size = 0"),
        ("model.dropout=1.5", "model.dropout = 1.5"),
        ("model.norm=both", "model.norm = both"),
        ("training.steps=many", "training.steps = many"),
        ("data.columns=0,1", "data.columns.0 = 0"),
        ("data.columns=1,2,3", "at most 2 items"),
        ("data.vocab_size=1000000000000", "data.vocab_size = 1000000000000: input should be less than"),
        ("data.character_coverage=0.5", "data.character_coverage = 0.5: input should be greater than or equal to 0.98"),
        ("data.max_ratio=nan", "data.max_ratio = nan"),
        ("model.norm={a = 1}", "model.norm = {'a': 1}: input should be 'post' or 'pre'"),
        ("model.tie_embeddings=maybe", "model.tie_embeddings = maybe: input should be a valid boolean"),
        ("model.tie_embeddings=maybe", ", or input should be 'target'."),
    ],
)
def test_mistakes_name_the_key_and_the_remedy(setting, message):
    with pytest.raises(UserError) as caught:
        Config().override([setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "?." not in str(caught.value)


def test_unknown_recipe_and_broken_toml(tmp_path):
    with pytest.raises(UserError, match=r"there is no recipe 'tinny'; did you mean tiny\? Recipes: "):
        load_recipe("tinny")
    (tmp_path / "a.toml").write_text("[model\n")
    with pytest.raises(UserError, match="not TOML"):
        load_recipe(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text("d_model = 3\n")
    with pytest.raises(UserError, match="outside a section"):
        load_recipe(tmp_path / "b.toml")
    (tmp_path / "c.toml").write_bytes(b"# \xff\n")
    for name in ("missing.toml", "c.toml", "."):
        with pytest.raises(UserError, match=r"cannot be read|no recipe '/"):
            load_recipe(tmp_path / name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[modle]\nd_ff = 2\n", "unknown key modle.d_ff; did you mean model.d_ff?"),
        ("[nothing]\n", "unknown key nothing"),
        ("[model]\nheads = 2\n", "did you mean model.num_heads?"),
        ("[model]\nd_model = 7\nnum_heads = 7\n", "d_model = 7 is odd"),
        ("[data]\ncolumns = [0, 1]\n", "data.columns.0 = 0"),
        ("[model]\nnorm = 1\nd_ff = 0\n", "model.d_ff = 0: input should be greater than or equal to 1."),
        ("[model]\npositions = 'learned'\nmax_positions = 9\n", "max_positions = 9 is less than"),
    ],
)
def test_mistakes_in_a_recipe_name_the_file_and_the_key(tmp_path, text, message):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"recipe {path}: ")
    assert message in str(caught.value)


def test_settings_survive_json():
    config = load_recipe("tiny")
    assert config_from(config.model_dump(mode="json"), "test") == config
