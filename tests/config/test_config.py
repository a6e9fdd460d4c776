import math
from pathlib import Path

import pytest
import torch

from allyouneed.bundle import load_bundle
from allyouneed.config import Config, config_from, list_settings, load_recipe, recipe_names
from allyouneed.config.descriptions import Setting
from allyouneed.errors import UserError
from allyouneed.model.transformer import Transformer
from allyouneed.suggest import nearest

COMPAT = Path(__file__).parents[1] / "compat"
TOO_MUCH = ["1e23", "1e308", "2147483648", "9223372036854775808", "inf", "1" + 400 * "0"]
EXTREMES = [
    *(0, -1, -0.0, 0.5, 1, 2**31, 2**63, 1e23, -1e308, 1e308, 5e-324, math.inf, -math.inf, math.nan, 10**400),
    *(None, True, False, "", "4", "true", "a\nb", "x" * 10_000, [], {}, (), (1, 1), (2**63, 1), ("1", "2"), object()),
]


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
    """Sections 5.1 to 6.1; 10 minutes between checkpoints are 1,500 steps of 0.4 s, or 600 steps of 1.0 s."""
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
    for symbols, expected in (("<2de>", ("<2de>",)), ("<2de>,<2fr>", ("<2de>", "<2fr>")), ('["a,b"]', ("a,b",))):
        assert config.override([f"data.symbols={symbols}"]).data.symbols == expected
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
        ("data.columns=0,1", "data.columns = 0"),
        ("data.columns=1,2,3", "data.columns = 1,2,3: expected 2 whole numbers from 1 to 10000 or names."),
        ("data.columns=1", "data.columns = 1: expected 2 whole numbers"),
        ("data.symbols=<2de>,a b", "data.symbols = a b: expected texts without spaces"),
        ("data.symbols=▁,<2de>", "data.symbols = ▁: expected texts without spaces"),
        ("data.symbols=1,2", "data.symbols = 1: expected texts without spaces"),
        ("data.vocab_size=1000000000000", "data.vocab_size = 1000000000000: at most 16777216."),
        ("data.character_coverage=0.5", "data.character_coverage = 0.5: at least 0.98."),
        ("data.max_ratio=nan", "data.max_ratio = nan: expected a number from 1 to 1000000."),
        ("model.norm={a = 1}", "model.norm = {'a': 1}: expected post or pre."),
        ("model.tie_embeddings=maybe", "model.tie_embeddings = maybe: expected true, false, target or inputs."),
        ("training.plain=1", "training.plain = 1: expected true or false."),
        ("training.steps=true", "training.steps = true: expected a whole number from 1 to 1000000000."),
        ("training.steps=1.5", "training.steps = 1.5: expected a whole number"),
        ("training.minutes='3'", "training.minutes = 3: expected a number more than 0, at most 1000000, or none."),
        ("training.beta1=1", "training.beta1 = 1: less than 1."),
        ("training.epsilon=0", "training.epsilon = 0: more than 0."),
        ("training.seed=", "training.seed = : expected"),
        ("learning_rate=3", "unknown key learning_rate; did you mean training.learning_rate?"),
        ("=3", "write SECTION.NAME=VALUE"),
        ("model.norm=" + 3000 * "[", "model.norm = [[["),
        ("training.seed=0x" + 5000 * "f", "at most 2147483647."),
    ],
)
def test_messages_name_the_setting_and_the_allowed_values(setting, message):
    with pytest.raises(UserError) as caught:
        Config().override([setting])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "?." not in str(caught.value)


@pytest.mark.parametrize("value", TOO_MUCH)
@pytest.mark.parametrize("setting", [setting for setting in list_settings() if "le" in setting.bounds])
def test_every_number_has_an_upper_bound(setting, value):
    if setting.name == "data.columns":
        value, name = f"1,{value}", "data.columns"
    else:
        name = setting.name
    with pytest.raises(UserError, match=rf"^--set: {name} = \S+: at most {setting.bounds['le']}\.$"):
        Config().override([f"{setting.name}={value}"])


def test_every_setting_is_described_and_bounded():
    settings = {setting.name: setting for setting in list_settings()}
    assert settings["training.sharding"].allowed == "full, or none"
    assert len(settings) == sum(map(len, Config().model_dump().values()))
    for setting in settings.values():
        assert setting.description
        low, high = setting.bounds.keys() & {"ge", "gt"}, setting.bounds.keys() & {"le", "lt"}
        assert setting.choices or (low and high) or "separated by commas" in setting.allowed
    assert settings["model.norm"] == Setting(
        "model.norm", "post", "post or pre", ("post", "pre"), {}, "Layer norm after (the paper) or before each sublayer"
    )
    assert settings["data.columns"].default == "1,2"
    assert settings["model.d_k"].allowed == "a whole number from 1 to 65536, or none"


def refusal(make_config) -> str:
    """The message of a refusal, or "" where the settings are valid and survive JSON."""
    try:
        config = make_config()
    except UserError as error:
        return str(error)
    assert config == config_from(config.model_dump(mode="json"), "test")
    return ""


@pytest.mark.parametrize("name", [setting.name for setting in list_settings()])
def test_extreme_values_are_valid_or_refused_in_one_line(name):
    section, _, key = name.partition(".")
    refusals = [refusal(lambda value=value: Config().replace(**{section: {key: value}})) for value in EXTREMES]
    typed = [refusal(lambda value=value: Config().override([f"{name}={value}"])) for value in map(str, EXTREMES[:14])]
    for message in filter(None, refusals):
        assert message.startswith((f"{name} = ", f"{name}.", "model.d_model = ", "these sizes"))
    for message in filter(None, refusals + typed):
        assert message.endswith(".")
        assert len(message.splitlines()) == 1
        assert len(message) < 300
    assert sum(map(bool, refusals)) > 15


@pytest.mark.parametrize(
    "sizes",
    [
        {"d_ff": 1_048_576, "d_model": 65_536},
        {"d_k": 65_536, "d_v": 65_536, "num_heads": 1024},
        {"d_model": 65_536, "num_heads": 1, "encoder_layers": 1024},
    ],
)
def test_impossibly_large_models_are_refused(sizes):
    with pytest.raises(UserError, match=r"^these sizes make a model of .+ parameters, the maximum is 1e\+11"):
        Config().replace(model=sizes)


def test_whole_floats_are_whole_numbers():
    training = Config().override(["training.steps=1e5", "training.warmup=300.0"]).training
    assert (training.steps, training.warmup) == (100_000, 300)
    assert type(training.steps) is int
    assert type(Config().replace(training={"minutes": 3}).training.minutes) is float


def test_replace_gives_a_validated_copy():
    config = Config()
    changed = config.replace(search={"beam_size": 1}, training={"minutes": 3, "seed": 2}, data={"columns": [2, 1]})
    assert (changed.search.beam_size, changed.training.minutes, changed.training.seed) == (1, 3.0, 2)
    assert changed.data.columns == (2, 1)
    assert changed.model == config.model
    assert config == Config()
    with pytest.raises(UserError, match=r"^search\.beam_size = 0: at least 1\.$"):
        config.replace(search={"beam_size": 0})
    with pytest.raises(UserError, match=r"^unknown key search\.beamsize; did you mean search\.beam_size\?$"):
        config.replace(search={"beamsize": 1})


@pytest.mark.parametrize("bundle", sorted(path.parent.name for path in COMPAT.glob("*/config.json")))
def test_stored_bundles_are_within_the_bounds(bundle):
    assert load_bundle(COMPAT / bundle).config


def test_weights_are_counted_before_the_model_is_built():
    with torch.device("meta"):
        for name in recipe_names():
            config = load_recipe(name)
            count = Transformer(config.model, config.data.vocab_size).num_parameters()
            assert config.model.count_weights(config.data.vocab_size) == pytest.approx(count, rel=0.05)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("training.learning_rat", "training.learning_rate"),
        ("model.dmodel", "model.d_model"),
        ("search.beamsize", "search.beam_size"),
        ("learning_rate", "training.learning_rate"),
        ("model.dropuot", "model.dropout"),
        ("training.dropout", "model.dropout"),
        ("search.batch_token", "search.batch_tokens"),
        ("training.batch_token", "training.batch_tokens"),
        ("Model.D_FF", "model.d_ff"),
        ("training.wandb", None),
        ("training.epochs", None),
        ("model.save_steps", None),
        ("foo", None),
        ("", None),
    ],
)
def test_only_similar_names_are_suggested(name, meant):
    assert nearest(name, [setting.name for setting in list_settings()]) == meant


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
        ("[data]\ncolumns = [0, 1]\n", "data.columns = 0"),
        ("[model]\nnorm = 1\nd_ff = 0\n", "model.d_ff = 0: at least 1."),
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
