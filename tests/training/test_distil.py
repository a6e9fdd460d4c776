"""Distillation: the student's training text, resuming, initial layers, and invalid requests."""

from __future__ import annotations

import dataclasses
import io
import json
import shutil

import pytest
import torch
from rich.console import Console
from sacrebleu.metrics import BLEU

from allyouneed import ModelConfig, Translator, UserError
from allyouneed.bundle import build_model, load_bundle, save_bundle
from allyouneed.config import TrainingConfig
from allyouneed.data.batches import Batch
from allyouneed.data.corpora import corpus
from allyouneed.data.files.lines import read_text
from allyouneed.data.tokens.tokenizer import BOS, EOS
from allyouneed.training import distil as distilling
from allyouneed.training.distil import Distillation, distil
from allyouneed.training.distributed.ranks import Ranks
from allyouneed.training.initialise import initialise_from, spread_indices
from allyouneed.training.resolution.resolve import resolve
from allyouneed.training.resolution.run_record import RunRecord
from allyouneed.training.step import batch_loss
from allyouneed.training.train import FINISHED, train
from tests.conftest import TOY, silent, toy_pairs, toy_request, write_pairs
from tests.training.test_distributed import TORCHRUNS

STUDENT = [*TOY, "model.encoder_layers=2", "training.steps=10", "training.validate_every=5"]


def distillation(folder, teacher, **more) -> Distillation:
    train = write_pairs(folder / "text", "train", toy_pairs(60))
    valid = write_pairs(folder / "text", "valid", toy_pairs(20, seed=2))
    return Distillation(
        [teacher], [corpus(*train)], [corpus(*valid)], folder / "run", settings=STUDENT, **{"beam_size": 2, **more}
    )


def lines(path) -> list[str]:
    return list(read_text(path))


def test_the_student_trains_on_translations_and_references(toy_run, tmp_path, monkeypatch):
    request = distillation(tmp_path, toy_run, targets="both")
    outcome = distil(request, silent())
    assert outcome.status == FINISHED
    student, teacher = load_bundle(tmp_path / "run"), load_bundle(toy_run)
    assert student.tokenizer.model == teacher.tokenizer.model
    assert student.languages == teacher.languages
    assert student.config.model.encoder_layers == 2
    assert student.config.search.beam_size == 1
    translations = Translator(teacher).translate([source for source, _ in toy_pairs(60)], beam_size=2)
    taught = list(
        zip(*(lines(tmp_path / "run" / "distilled" / f"train.{side}") for side in ("source", "target")), strict=True)
    )
    expected = []
    for one, (source, target) in zip(translations, toy_pairs(60), strict=True):
        expected += [(source, text) for text in (one.text, target) if text]
    assert taught == expected
    monkeypatch.setattr(distilling, "translate_file", lambda *_, **__: pytest.fail("it was translated already"))
    assert distil(request, silent()).status == FINISHED
    with pytest.raises(UserError, match=r"started with beam_size = 2, now 3"):
        distil(dataclasses.replace(request, beam_size=3), silent())
    facts_file = tmp_path / "run" / "distilled" / "asked.json"
    facts = json.loads(facts_file.read_text())
    del facts["checksum"]
    facts_file.write_text(json.dumps({**facts, "noise": 0.1}))  # from another version
    with pytest.raises(UserError, match=r"started with noise = 0\.1, now None"):
        distil(request, silent())


@pytest.mark.parametrize(("targets", "each"), [("teacher", 1), ("beam", 3), ("closest", 1)])
def test_targets(toy_run, tmp_path, targets, each):
    request = distillation(tmp_path, toy_run, targets=targets, beam_size=3)
    distil(request, silent())
    taught = lines(tmp_path / "run" / "distilled" / "train.target")
    found = Translator.load(toy_run).translate([source for source, _ in toy_pairs(60)], beam_size=3, num_hypotheses=3)
    if targets == "closest":
        metric = BLEU(effective_order=True, tokenize="none")
        for one, (_, target) in zip(found, toy_pairs(60), strict=True):
            scores = {text: metric.sentence_score(text, [target]).score for text, _ in one.hypotheses}
            best = max(scores, key=scores.get)
            assert not best or best == taught.pop(0)
        assert not taught
    else:
        assert taught == [text for one in found for text, _ in one.hypotheses[:each] if text]


def test_an_interrupted_translation_is_resumed(toy_run, tmp_path, monkeypatch):
    request = distillation(tmp_path, toy_run)

    def stopped(translator, source, output, *_, **__):
        output.write_text("half a li")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(distilling, "translate_file", stopped)
        with pytest.raises(KeyboardInterrupt):
            distil(request, silent())
    assert distil(request, silent()).status == FINISHED
    assert len(lines(tmp_path / "run" / "distilled" / "hypotheses.txt")) == 120


def test_a_teacher_share_brings_the_distributions_closer(toy_run, tmp_path):
    teacher = load_bundle(toy_run)
    before = [parameter.clone() for parameter in teacher.model.parameters()]
    [texts] = toy_pairs(1, seed=2)
    source, target = (teacher.tokenizer.encode(text) for text in texts)
    source, target = torch.tensor([[*source, 3]]), torch.tensor([[2, *target]])
    expected = teacher.model.eval()(source, target).log_softmax(-1).detach()
    found = []
    for share in (0.0, 1.0):
        more = [*STUDENT, f"training.teacher_share={share}", "model.decoder_layers=1", "training.steps=30"]
        request = dataclasses.replace(distillation(tmp_path / str(share), toy_run), settings=more)
        assert distil(request, silent()).status == FINISHED
        log_probs = load_bundle(tmp_path / str(share) / "run").model.eval()(source, target).log_softmax(-1).detach()
        found.append(float((expected.exp() * (expected - log_probs)).sum()))
    assert found[1] < found[0]
    assert all(torch.equal(a, b) for a, b in zip(before, load_bundle(toy_run).model.parameters(), strict=True))


def perturbed(run, folder):
    """Store a copy of a bundle with other weights."""
    bundle = load_bundle(run)
    torch.manual_seed(3)
    with torch.no_grad():
        for parameter in bundle.model.parameters():
            parameter += 0.05 * torch.randn_like(parameter)
    save_bundle(bundle, folder)
    return folder


def test_several_teachers_translate_as_an_ensemble(toy_run, tmp_path):
    teachers = [toy_run, perturbed(toy_run, tmp_path / "other")]
    request = dataclasses.replace(distillation(tmp_path, toy_run, targets="teacher"), teachers=teachers)
    sources = [source for source, _ in toy_pairs(60)]
    expected = [one.text for one in Translator.load(teachers).translate(sources, beam_size=2)]
    assert expected != [one.text for one in Translator.load(toy_run).translate(sources, beam_size=2)]
    assert distil(request, silent()).status == FINISHED
    assert lines(tmp_path / "run" / "distilled" / "train.target") == [text for text in expected if text]
    with pytest.raises(UserError, match="started with teacher = "):
        distil(dataclasses.replace(request, teachers=[toy_run]), silent())
    with pytest.raises(UserError, match="no models are given"):
        distil(dataclasses.replace(request, teachers=[]), silent())


def test_the_logits_of_several_teachers_are_averaged(toy_run, tmp_path):
    models = [load_bundle(run).model.eval() for run in (toy_run, perturbed(toy_run, tmp_path / "other"))]
    [texts] = toy_pairs(1, seed=2)
    source, target = (torch.tensor([[*load_bundle(toy_run).tokenizer.encode(text), EOS]]) for text in texts)
    target_ids = torch.cat([torch.tensor([[BOS]]), target], dim=1)
    student = load_bundle(toy_run).model.eval()
    settings = TrainingConfig(teacher_share=0.6, label_smoothing=0.0)
    loss, nll = batch_loss(student, Batch(source, target_ids), settings, torch.device("cpu"), models)
    log_p = student(source, target_ids[:, :-1]).log_softmax(-1)
    taught = torch.stack([model(source, target_ids[:, :-1]) for model in models]).mean(0).softmax(-1)
    correct = log_p.gather(2, target[..., None]).sum()
    torch.testing.assert_close(nll, -correct, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(loss, -0.4 * correct - 0.6 * (taught * log_p).sum(), rtol=1e-5, atol=1e-5)


def test_a_teacher_share_needs_a_teacher(tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run", settings=[*TOY, "training.teacher_share=0.5"])
    with pytest.raises(UserError, match="needs the teacher of `allyouneed distil`"):
        train(request, silent())


def test_mistakes(toy_run, tmp_path):
    with pytest.raises(UserError, match="choose teacher, both"):
        distil(distillation(tmp_path, toy_run, targets="all"), silent())
    with pytest.raises(UserError, match="no such folder"):
        distil(distillation(tmp_path, tmp_path / "nobody"), silent())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").touch()
    with pytest.raises(UserError, match="do not belong to a run"):
        distil(distillation(tmp_path, toy_run), silent())


@pytest.mark.parametrize("wrong", [{"beam_size": 0}, {"beam_size": -1}, {"length_penalty": 99}])
def test_impossible_search_options_are_refused_before_writing(toy_run, tmp_path, wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(UserError, match=rf"search\.{name} = {value}: "):
        distil(distillation(tmp_path, toy_run, **wrong), silent())
    assert distil(distillation(tmp_path, toy_run), silent()).status == FINISHED


def test_several_processes_are_refused(toy_run, tmp_path, monkeypatch):
    for name, value in TORCHRUNS.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="start it without torchrun"):
        distil(distillation(tmp_path, toy_run), silent())


def test_the_run_records_its_teacher(toy_run, tmp_path):
    shutil.copytree(toy_run, tmp_path / "teacher")
    distil(distillation(tmp_path, tmp_path / "teacher"), silent())
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["asked"]["teacher"].startswith(str(tmp_path / "teacher"))
    assert facts["config"]["data"]["vocab_size"] == len(load_bundle(toy_run).tokenizer)


def test_copied_layers_are_spread_out():
    assert spread_indices(4, 6) == [0, 1, 2, 3]
    assert spread_indices(4, 1) == [0]
    assert spread_indices(6, 2) == [0, 5]
    assert spread_indices(6, 3) == [0, 2, 5]


def test_a_deeper_student_initially_equals_its_teacher(toy_run):
    teacher = load_bundle(toy_run)
    config = teacher.config.model.model_copy(update={"encoder_layers": 3, "decoder_layers": 2})
    student = build_model(config, teacher.tokenizer)
    assert "encoder 1; decoder 1" in initialise_from(student, teacher.model)
    source, target = torch.tensor([[5, 6, 7, 3]]), torch.tensor([[2, 8, 9]])
    with torch.inference_mode():
        logits = [model.eval()(source, target) for model in (student, teacher.model)]
    assert torch.allclose(*logits, atol=1e-5)


def test_nothing_is_copied_from_a_teacher_of_a_different_width(toy_run):
    teacher = load_bundle(toy_run)
    student = build_model(teacher.config.model.model_copy(update={"d_ff": 96}), teacher.tokenizer)
    before = student.output.weight.clone()
    assert "its d_ff is 64, the student's is 96" in initialise_from(student, teacher.model)
    assert torch.equal(before, student.output.weight)


def test_layers_of_another_shape_are_copied_only_if_equal(toy_run):
    teacher = load_bundle(toy_run)
    changes = {"embedding_norm": True, "final_norm": False, "decoder_heads": 1}  # the toy run is pre-norm
    of_shape = teacher.config.model.model_copy(update=changes)
    theirs = build_model(of_shape, teacher.tokenizer)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    student = build_model(of_shape, teacher.tokenizer)
    assert "encoder 1; decoder 1" in initialise_from(student, theirs)
    assert all(torch.equal(*pair) for pair in zip(student.parameters(), theirs.parameters(), strict=True))
    for name in changes:
        other = of_shape.model_copy(update={name: getattr(teacher.config.model, name)})
        assert f"its {name} is" in initialise_from(build_model(other, teacher.tokenizer), theirs)


def test_a_teacher_of_another_shape_teaches_a_student_of_the_papers(toy_run, tmp_path):
    teacher = load_bundle(toy_run)
    config = teacher.config.replace(model={"activation": "gelu_tanh", "norm_epsilon": 1e-6})
    model = build_model(config.model, teacher.tokenizer)
    model.load_state_dict(teacher.model.state_dict())  # close to ReLU, so that its translations are still text
    teacher = dataclasses.replace(teacher, config=config, model=model.eval())
    save_bundle(teacher, tmp_path / "teacher" / "bundle")
    more = [*STUDENT, "training.teacher_share=0.5"]
    request = dataclasses.replace(distillation(tmp_path, tmp_path / "teacher"), settings=more)
    assert distil(request, silent()).status == FINISHED
    student = load_bundle(tmp_path / "run")
    assert student.config.model.activation == "relu"
    assert student.notes["initial layers"].startswith("no layers copied from the teacher: its norm_epsilon is 1e-06")


def test_learned_positions_are_copied_only_if_as_many(toy_run):
    teacher = load_bundle(toy_run)
    learned = teacher.config.model.model_copy(update={"positions": "learned", "max_positions": 100})
    theirs = build_model(learned, teacher.tokenizer)
    fewer = build_model(learned.model_copy(update={"max_positions": 60}), teacher.tokenizer)
    assert "its max_positions is 100, the student's is 60" in initialise_from(fewer, theirs)
    assert "layers copied" in initialise_from(build_model(learned, teacher.tokenizer), theirs)
    sinusoids = teacher.config.model.model_copy(update={"max_positions": 60})  # has no effect on sinusoids
    assert "layers copied" in initialise_from(build_model(sinusoids, teacher.tokenizer), teacher.model)


def test_copied_layers_are_reported_once_with_a_budget(toy_run, tmp_path):
    settings = [setting for setting in TOY if not setting.startswith("training.steps")]
    request = dataclasses.replace(
        toy_request(tmp_path / "text", tmp_path / "run"),
        settings=[*settings, "training.minutes=0.05"],
        teachers=[toy_run],
    )
    output = io.StringIO()
    assert train(request, Console(file=output)).status == FINISHED
    assert output.getvalue().count("layers copied from the teacher") == 1
    assert "measuring the speed" in output.getvalue()
    assert load_bundle(request.out).notes["initial layers"].startswith("layers copied from the teacher")


def test_without_a_recipe_the_student_is_the_papers_base(toy_run, tmp_path):
    request = toy_request(tmp_path / "text", tmp_path / "run")
    request = dataclasses.replace(request, recipe=None, settings=[], teachers=[toy_run])
    record = RunRecord(tmp_path / "run" / "run.json")
    config = resolve(request, record, torch.device("cpu"), Ranks(), print).config
    assert config.model == ModelConfig()
    assert config.data.vocab_size == len(load_bundle(toy_run).tokenizer)


def test_settings_that_the_teacher_fixes_are_refused_before_it_translates(toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr("allyouneed.training.distil.translate_file", lambda *_, **__: pytest.fail("translated"))
    files = toy_request(tmp_path / "text", tmp_path / "run")
    request = Distillation([toy_run], files.train, files.valid, tmp_path / "run", settings=["data.vocab_size=500"])
    with pytest.raises(UserError, match=r"vocab_size = 500, but .*/run has \d+, and its vocabulary is kept\."):
        distil(request, silent())
