"""The command line as a user meets it: results on standard output, one line for a mistake, exit code 2."""

from __future__ import annotations

import json
import os
import pty
import shutil
import subprocess
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path

import pytest
from typer._completion_classes import ZshComplete as ShellComplete
from typer.main import get_command
from typer.testing import CliRunner

import allyouneed
from allyouneed.cli import app, main
from allyouneed.config import list_settings, recipe_names
from allyouneed.terminal import expand_options
from tests.conftest import TOY, toy_pairs, write_pairs


def run(*arguments: object, stdin: bytes = b"") -> subprocess.CompletedProcess:
    """Run the command in this process with streams of its own, which is faster than a new process."""
    contents = {"stdin": stdin, "stdout": b"", "stderr": b""}
    streams = {
        name: TextIOWrapper(BytesIO(content), encoding="utf-8", errors="backslashreplace")
        for name, content in contents.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["allyouneed", *map(str, arguments)])
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as left:
            main()
        for stream in streams.values():
            stream.flush()
    out, stderr = (streams[name].buffer.getvalue() for name in ("stdout", "stderr"))
    return subprocess.CompletedProcess(arguments, left.value.code, out, stderr)


def assert_mistake(done: subprocess.CompletedProcess, *words: str) -> None:
    stderr = done.stderr.decode()
    assert done.returncode == 2, stderr
    assert "Traceback" not in stderr
    last = stderr.strip().splitlines()[-1]
    assert last.lower().startswith("error: ")
    for word in words:
        assert word in last


def test_options_with_one_or_two_files():
    assert expand_options(["--test", "a", "b", "--out", "r"]) == ["--test", "a", "--test", "b", "--out", "r"]
    assert expand_options(["--test", "a.tsv"]) == ["--test", "a.tsv"]
    assert expand_options(["--test", "a", "b", "RUN"]) == ["--test", "a", "--test", "b", "RUN"]


def test_translate_line_by_line(toy_run, tmp_path):
    lines = "a b c\n\nd e\u2028f\n   \ng h"
    done = run("translate", toy_run, stdin=lines.encode())
    assert done.returncode == 0
    out = done.stdout.decode().split("\n")
    assert len(out) == 6
    assert [out[1], out[3], out[5]] == ["", "   ", ""]  # white space is copied
    (tmp_path / "in.aa").write_text(lines)
    run("translate", toy_run, tmp_path / "in.aa", "-o", tmp_path / "out.txt")
    assert (tmp_path / "out.txt").read_bytes() == done.stdout


def test_translate_nbest_and_scores(toy_run):
    done = run("translate", toy_run, "--nbest", 3, "--beam-size", 4, stdin=b"a b\nc d\n")
    rows = [line.split(" ||| ") for line in done.stdout.decode().splitlines()]
    assert [row[0] for row in rows] == ["0", "0", "0", "1", "1", "1"]
    assert float(rows[0][2]) >= float(rows[1][2])
    done = run("translate", toy_run, "--scores", stdin=b"a b\n")
    score, _, text = done.stdout.decode().rstrip("\n").partition("\t")
    assert float(score) < 0
    assert text == rows[0][1].strip()


def test_json_output(toy_run, tmp_path):
    done = run("translate", toy_run, "--json", "--nbest", 2, "--beam-size", 2, stdin=b"a b\n\nc d\n")
    records = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert [(line["line"], line["source"], len(line["hypotheses"])) for line in records] == [
        (1, "a b", 2), (2, "", 0), (3, "c d", 2),
    ]  # fmt: skip
    assert records[0]["score"] == records[0]["hypotheses"][0]["score"] < 0
    assert len(records[0]["tokens"]) == len(records[0]["log_probs"])
    test = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    scores = json.loads(run("evaluate", toy_run, "--test", *test, "--json").stdout)
    assert scores["sentences"] == 20
    assert scores["bleu_signature"].startswith("nrefs:1")
    [first, *_] = [json.loads(line) for line in run("score", toy_run, "--test", *test, "--json").stdout.splitlines()]
    assert first["line"] == 1
    assert first["score"] == pytest.approx(sum(first["log_probs"]))
    assert len(first["tokens"]) == len(first["log_probs"])
    seen = json.loads(run("look", toy_run, "a b", "--json").stdout)
    assert [len(row) for row in seen["encoder"][0][0]] == [len(seen["source_tokens"])] * len(seen["source_tokens"])
    assert sum(seen["cross"][0][0][0]) == pytest.approx(1, abs=1e-3)


def test_an_ascii_terminal(toy_run, tmp_path):
    """A token's ▁ is escaped; `translate` always writes UTF-8."""
    test = write_pairs(tmp_path, "test", toy_pairs(2))
    command = [sys.executable, "-m", "allyouneed", "score", toy_run, "--tokens", "--test", *test]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout.count(b"\n")) == (0, 2), done.stderr
    assert b"\\u2581" in done.stdout


def test_a_long_line_is_reported(toy_run):
    done = run("translate", toy_run, stdin=b"a b. " * 60 + b"\nc\n")
    assert done.stdout.count(b"\n") == 2
    assert b"standard input:1: too long, translated in" in done.stderr


def test_evaluate_prints_signatures(toy_run, tmp_path):
    test = write_pairs(tmp_path, "test", toy_pairs(20, seed=3))
    done = run("evaluate", toy_run, "--test", *test, "--tokenized", "-o", tmp_path / "translations.txt")
    bleu, chrf, exact = done.stdout.decode().splitlines()
    assert bleu.startswith("BLEU ")
    assert "tok:none" in bleu
    assert "nrefs:1" in chrf
    assert exact.endswith("of 20 sentences")
    assert len((tmp_path / "translations.txt").read_text().splitlines()) == 20


def test_translate_with_forced_words_groups_and_coverage(toy_run):
    options = ("--beam-size", 4, "--nbest", 4)
    done = run("translate", toy_run, *options, "--force", "h g", "--force", "f", stdin=b"a b\n\nc d\n")
    rows = [line.split(" ||| ") for line in done.stdout.decode().splitlines()]
    assert {row[0] for row in rows} == {"0", "1", "2"}
    assert all("h g" in text and "f" in text for number, text, _ in rows if number != "1")
    more = ("--num-beam-groups", 2, "--diversity-penalty", 2, "--coverage-penalty", 0.1)
    done = run("translate", toy_run, *options, *more, stdin=b"a b\n")
    assert 1 < len(done.stdout.splitlines()) <= 4
    assert_mistake(run("translate", toy_run, *options, "--num-beam-groups", 3, stdin=b"a\n"), "num_beam_groups = 3")


def test_distil(toy_run, tmp_path):
    files = {name: write_pairs(tmp_path, name, toy_pairs(40, seed)) for seed, name in enumerate(("train", "valid"))}
    settings = [part for name in TOY for part in ("--set", name)]
    arguments = ("--train", *files["train"], "--valid", *files["valid"], "--out", tmp_path / "student", *settings)
    done = run("distil", toy_run, *arguments, "--set", "training.steps=3", "--beam-size", 2)
    assert done.returncode == 0, done.stderr.decode()
    assert b"validation BLEU" in done.stderr
    assert run("translate", tmp_path / "student", stdin=b"a b\n").stdout.count(b"\n") == 1
    assert_mistake(run("distil", toy_run, *arguments, "--targets", "all"), "choose teacher, both")


VERBS = [(name,) for name in get_command(app).commands if name != "paper"]
PAPER = [("paper", name) for name in get_command(app).commands["paper"].commands]


@pytest.mark.parametrize("verb", [*VERBS, *PAPER], ids=" ".join)
def test_help_has_an_example_and_fits_a_terminal(verb):
    done = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "80"})
    assert max(map(len, done.output.splitlines())) <= 80
    assert done.exit_code == 0
    assert f"Example: allyouneed {' '.join(verb)}" in done.output


def test_the_help_lists_all_commands(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    done = run("--help")
    assert b"..." not in done.stdout.partition(b"Commands:")[2]  # no description is truncated
    assert done.returncode == 0
    assert b"bring parallel text" in done.stdout
    for [name] in VERBS:
        assert name.encode() in done.stdout
    assert run("--version").stdout.decode() == f"allyouneed {allyouneed.__version__}\n"


def test_the_shell_completes():
    """The request of bash after `allyouneed tr` and Tab, as `allyouneed --install-completion` sets it up."""
    request = {"_ALLYOUNEED_COMPLETE": "complete_bash", "COMP_WORDS": "allyouneed tr", "COMP_CWORD": "1"}
    script = Path(sys.executable).with_name("allyouneed")
    done = subprocess.run([script], env={**os.environ, **request}, capture_output=True, text=True)
    assert done.stdout.split() == ["train", "translate"]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("train --recipe ti", ["tiny"]),
        ("train --recipe table3/b", ["table3/base", "table3/big"]),
        ("distil --recipe sw", ["swift"]),
        ("distil --targets b", ["both", "beam"]),
        ("train --set training.see", ["training.seed="]),
        ("train --set search.b", ["search.beam_size=", "search.batch_tokens="]),
        ("train --set model.norm=p", ["model.norm=post", "model.norm=pre"]),
        (
            "train --set model.tie_embeddings=",
            [f"model.tie_embeddings={value}" for value in ("true", "false", "target", "inputs")],
        ),
        ("train --set training.seed=", []),
        ("paper table3 --set data.subwords=w", ["data.subwords=word"]),
        ("translate RUN --device c", ["cpu", "cuda"]),
        ("look RUN --device ", ["auto", "cpu", "cuda"]),
        ("serve RUN --compute-type i", ["int8"]),
        ("export RUN --format c", ["ctranslate2"]),
    ],
)
def test_values_complete(words, offered):
    command = get_command(app)
    *before, last = words.split(" ")
    found = ShellComplete(command, {}, "allyouneed", "_ALLYOUNEED_COMPLETE").get_completions(before, last)
    assert [item.value for item in found] == offered


def test_settings_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("settings").stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert "search.beam_size = 4" in lines
    assert [line for line in lines if not line.startswith(" ")] == [
        f"{setting.name} = {setting.default}" for setting in list_settings()
    ]
    only = run("settings", "search").stdout.decode()
    assert "search.length_penalty" in only
    assert "training" not in only
    [one] = json.loads(run("settings", "training.seed", "--json").stdout)
    assert one["name"] == "training.seed"
    assert one["default"] == "1"
    assert one["bounds"] == {"ge": 0, "le": 2**31 - 1}
    assert one["description"].startswith("Seed of ")
    assert len(json.loads(run("settings", "--json").stdout)) == len(list_settings())
    assert_mistake(run("settings", "trainig"), "there is no section or setting 'trainig'; did you mean training?")


def test_recipes_are_listed(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = run("recipes").stdout.decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line for line in lines if not line.startswith(" ")] == recipe_names()
    recipes = {recipe["name"]: recipe for recipe in json.loads(run("recipes", "--json").stdout)}
    assert recipes["tiny"]["settings"]["model"]["d_model"] == 128
    assert all(recipe["description"] for recipe in recipes.values())


def test_a_hint_for_input_from_a_terminal(toy_run):
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "allyouneed", "translate", str(toy_run)]
    with subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        os.write(ours, b"a b\n\x04")
        out, stderr = process.communicate(timeout=120)
    os.close(ours)
    os.close(theirs)
    assert b"Ctrl-D" in stderr
    assert out.count(b"\n") == 1


def test_a_reader_that_closes_the_pipe(toy_run, tmp_path):
    """As `| head -1`, with more output than a pipe buffers: no traceback, and the work stops."""
    test = write_pairs(tmp_path, "test", toy_pairs(3000, seed=3))
    for verb in (
        ("translate", toy_run, test[0], "--json", "--no-repetition-guard"),
        ("score", toy_run, "--test", *test, "--json"),
    ):
        command = [sys.executable, "-m", "allyouneed", *map(str, verb)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.readline().endswith(b"\n")
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait(timeout=120) == 1


def test_a_reader_that_closes_the_pipe_before_the_first_line(toy_run):
    command = [sys.executable, "-m", "allyouneed", "translate", str(toy_run)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        process.stdout.close()
        process.stdin.write(b"a b c\n")
        process.stdin.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=120) == 1


def test_an_interrupted_command(command, monkeypatch, toy_run):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("allyouneed.translation.text_files.translate_file", interrupted)
    assert command("translate", toy_run) == (130, "", "interrupted\n")
    monkeypatch.setattr("allyouneed.quickstart.run_quickstart", interrupted)
    code, out, stderr = command("quickstart", "--out", "my run")
    assert (code, out) == (130, "")
    assert stderr.endswith("allyouneed quickstart --out 'my run'\n")
    assert stderr.count("interrupted") == 1


def closed(streams: str, *arguments: object) -> subprocess.CompletedProcess:
    """As `run`, in a shell that closes streams, `<&- >&- 2>&-`."""
    words = [sys.executable, "-m", "allyouneed", *map(str, arguments)]
    return subprocess.run(["sh", "-c", f'"$@" {streams}', "sh", *words], input=b"a b\n", capture_output=True)


def test_closed_streams(toy_run):
    assert_mistake(closed("<&-", "translate", toy_run), "standard input is closed", "give a FILE")
    assert_mistake(closed(">&-", "translate", toy_run), "standard output is closed", "give -o FILE")
    assert_mistake(closed(">&-", "check", toy_run), "standard output is closed")
    done = closed("2>&-", "translate", toy_run)
    assert (done.returncode, done.stdout.count(b"\n"), done.stderr) == (0, 1, b"")
    done = closed("2>&-", "translate", toy_run, "no file")
    assert (done.returncode, done.stdout, done.stderr) == (2, b"", b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_output_device():
    """The error is reported once, not again by Python at exit."""
    done = closed(">/dev/full", "--version")
    assert (done.returncode, done.stderr) == (2, b"error: input or output: no space left on device.\n")


def test_system_errors_are_one_line(command, monkeypatch, toy_run):
    for error, line in (
        (PermissionError(13, "Permission denied", "/a/file"), "error: /a/file: permission denied.\n"),
        (OSError("something odd"), "error: input or output: something odd.\n"),
    ):

        def refused(*arguments, error=error, **options):
            raise error

        monkeypatch.setattr("allyouneed.translation.text_files.translate_file", refused)
        assert command("translate", toy_run) == (2, "", line)


def test_a_quota_needs_a_key(command, toy_run):
    stderr = "error: --quota applies to a new key: give --keys FILE --add-key NAME too, or omit it.\n"
    assert command("serve", toy_run, "--quota", 5) == (2, "", stderr)


def test_a_key_needs_a_file(command):
    code, out, stderr = command("serve", "--add-key", "me")
    assert (code, out) == (2, "")
    assert stderr == "error: --add-key needs a file to put the key into: give --keys FILE.\n"


class TestMistakes:
    """One line, exit code 2, and existing files are unchanged."""

    def train(self, folder: Path, *more: object, files: list[Path] | None = None) -> subprocess.CompletedProcess:
        files = files or write_pairs(folder, "train", toy_pairs(50))
        return run("train", "--from", "aa", "--to", "bb", "--train", *files, "--out", folder / "run", *more)

    def test_missing_file(self, tmp_path, toy_run):
        missing = tmp_path / "missing.de"
        assert_mistake(self.train(tmp_path, files=[missing, missing]), "missing.de", "no such file")
        assert_mistake(run("translate", toy_run, missing), "missing.de", "no such file")
        assert_mistake(run("evaluate", toy_run, "--test", missing, missing), "missing.de", "no such file")

    def test_encoding(self, tmp_path, toy_run):
        files = write_pairs(tmp_path, "train", toy_pairs(50))
        files[0].write_text(files[0].read_text().replace("a", "ä"), encoding="latin-1")
        assert_mistake(self.train(tmp_path, files=files), "not UTF-8", "iconv")
        assert_mistake(run("translate", toy_run, stdin=b"a\n\xe4\n"), "standard input:2", "iconv")

    def test_arguments_that_are_not_utf8(self, toy_run, tmp_path):
        for name in ("--force", "--suppress"):
            assert_mistake(run("translate", toy_run, name, "a\udcff", stdin=b"a\n"), name, "not valid UTF-8. See ")
        assert_mistake(run("look", toy_run, "a\udcff"), "SENTENCE", "not valid UTF-8")
        assert_mistake(run("translate", toy_run, tmp_path / "\udcff"), "no such file")  # valid in a file name

    def test_unequal_line_counts(self, tmp_path, toy_run):
        files = write_pairs(tmp_path, "train", toy_pairs(50))
        files[1].write_text("".join(files[1].read_text().splitlines(keepends=True)[:-1]))
        assert_mistake(self.train(tmp_path, files=files), "50 lines", "49 lines", "near line")
        assert_mistake(run("evaluate", toy_run, "--test", *files), "50 lines", "49 lines")

    def test_unequal_validation_files(self, tmp_path):
        files = write_pairs(tmp_path, "valid", toy_pairs(20))
        files[1].write_text("".join(files[1].read_text().splitlines(keepends=True)[:-1]))
        assert_mistake(self.train(tmp_path, "--valid", *files), "20 lines", "19 lines")

    def test_steps_and_minutes_together(self, tmp_path):
        assert_mistake(self.train(tmp_path, "--minutes", 1, "--set", "training.steps=3"), "Remove one of them")

    def test_empty_corpus(self, tmp_path, toy_run):
        (tmp_path / "a").touch()
        assert_mistake(self.train(tmp_path, files=[tmp_path / "a", tmp_path / "a"]), "no usable pair", "empty")
        for verb in ("evaluate", "score"):
            assert_mistake(run(verb, toy_run, "--test", tmp_path / "a", tmp_path / "a"), "a: the file is empty.")

    def test_not_a_run(self, tmp_path):
        (tmp_path / "folder").mkdir()
        assert_mistake(run("translate", tmp_path / "folder"), "neither a RUN nor a bundle")
        assert_mistake(run("translate", tmp_path / "nothing"), "no such folder")

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.model"])
    def test_damaged_bundle(self, toy_run, tmp_path, name):
        shutil.copytree(toy_run / "bundle", tmp_path / "bundle")
        content = bytearray((tmp_path / "bundle" / name).read_bytes())
        content[len(content) // 2] ^= 1
        (tmp_path / "bundle" / name).write_bytes(content)
        assert_mistake(run("translate", tmp_path), name, "changed")

    def test_damaged_checkpoint(self, toy_run, tmp_path):
        shutil.copytree(toy_run, tmp_path / "run")
        facts = (tmp_path / "run" / "run.json").read_text()
        begun = facts[: facts.index('"finished"')].rstrip(" \n,") + "\n}"
        (tmp_path / "run" / "run.json").write_text(begun)
        newest = sorted((tmp_path / "run" / "checkpoints").glob("step-*"))[-1] / "optimizer.safetensors"
        newest.write_bytes(newest.read_bytes()[:-10])
        from tests.conftest import toy_request
        from tests.training.test_resume import command

        request = toy_request(tmp_path / "text", tmp_path / "run")
        assert_mistake(run(*command(request)[3:]), "optimizer.safetensors", "truncated", "Delete")

    def test_unknown_key_and_recipe(self, tmp_path):
        assert_mistake(self.train(tmp_path, "--set", "training.sed=1"), "did you mean training.seed?")
        assert_mistake(self.train(tmp_path, "--recipe", "tinny"), "did you mean tiny?")
        assert "did you mean" not in self.train(tmp_path, "--set", "training.wandb=1").stderr.decode()

    @pytest.mark.parametrize(
        "setting",
        [
            *("model.d_ff=2147483647", "search.beam_size=1e23", "training.matrix_learning_rate=1e308"),
            *("model.encoder_layers=2147483648", "training.seed=9223372036854775808", "data.max_length=inf"),
        ],
    )
    def test_extreme_settings(self, tmp_path, setting):
        name = setting.partition("=")[0]
        assert_mistake(self.train(tmp_path, "--set", setting), f"rror: --set: {name} = ", ": at most ")

    def test_too_few_learned_positions(self, tmp_path):
        settings = ("--set", "model.positions=learned", "--set", "model.max_positions=64")
        assert_mistake(self.train(tmp_path, *settings), "max_positions = 64")

    def test_impossible_sizes(self, tmp_path, toy_run):
        assert_mistake(self.train(tmp_path, "--set", "model.num_heads=7"), "not divisible")
        assert_mistake(self.train(tmp_path, "--minutes", "0"), "rror: --minutes: training.minutes = 0")
        assert_mistake(run("translate", toy_run, "--beam-size", 0, stdin=b"a\n"), "'--beam-size': ")
        assert_mistake(run("evaluate", toy_run, "--test", tmp_path, "--beam-size", 0), "'--beam-size': ")
        assert_mistake(run("translate", toy_run, "--nbest", 9, stdin=b"a\n"), "--nbest", "= 9: choose 1 to beam_size")
        assert_mistake(run("translate", toy_run, "--length-penalty", 11, stdin=b"a\n"), "'--length-penalty': ")
        assert_mistake(run("translate", toy_run, "--length-penalty", "nan", stdin=b"a\n"), "'--length-penalty': ")

    @pytest.mark.parametrize("number", ["nan", "inf"])
    def test_numbers_that_are_not_finite(self, command, number):
        for *verb, option in (("serve", "--seconds"), ("serve", "--file-minutes"), ("paper", "table1", "--minutes")):
            code, out, stderr = command(*verb, option, number)
            assert (code, out) == (2, "")
            assert stderr.startswith(f"error: Invalid value for '{option}': ")

    def test_existing_files_are_unchanged(self, toy_run, tmp_path):
        precious = tmp_path / "out.txt"
        precious.write_text("precious\n")
        assert_mistake(run("translate", toy_run, tmp_path / "missing", "-o", precious), "no such file")
        assert_mistake(run("translate", toy_run, "-o", precious, "--nbest", 9, stdin=b"a\n"), "--nbest")
        assert_mistake(run("translate", toy_run, precious, "-o", precious), "same file")
        assert precious.read_text() == "precious\n"
        test = write_pairs(tmp_path, "test", toy_pairs(3))
        before = test[1].read_text()
        assert_mistake(run("evaluate", toy_run, "--test", *test, "-o", test[1]), "same file")
        assert test[1].read_text() == before

    def test_devices_and_tokenizers(self, toy_run, tmp_path):
        test = write_pairs(tmp_path, "test", toy_pairs(3))
        assert_mistake(run("translate", toy_run, "--device", "tpu", stdin=b"a\n"), "device tpu", "cpu")
        assert_mistake(run("evaluate", toy_run, "--test", *test, "--tokenizer", "no"), "tokenizer no", "13a")

    def test_compute_types(self, toy_run, tmp_path):
        assert_mistake(run("translate", toy_run, "--compute-type", "int4", stdin=b"a b\n"), "int4", "float32 or int8")
        test = write_pairs(tmp_path, "test", toy_pairs(3))
        evaluate = ("evaluate", toy_run, "--test", *test, "--compute-type", "int4")
        assert_mistake(run(*evaluate), "float32 or int8")
        assert_mistake(run("serve", toy_run, "--compute-type", "int4"), "float32 or int8")

    def test_output_that_cannot_be_written(self, toy_run, tmp_path):
        assert_mistake(run("translate", toy_run, "-o", tmp_path / "no" / "out", stdin=b"a\n"), "cannot write")
        assert_mistake(run("translate", toy_run, "-o", "/dev/full", stdin=b"a\n"), "no space left")

    def test_unknown_option_and_missing_argument(self):
        assert_mistake(run("translate", "--bem", 3))
        misspelt = run("translate", "RUN", "--beem-size", 3)
        assert_mistake(misspelt, "there is no option '--beem-size'; did you mean --beam-size? See ", "translate --help")
        assert "ngram" not in misspelt.stderr.decode()
        assert_mistake(run("train", "--xyzzy"), "there is no option '--xyzzy'. See ", "train --help")
        assert_mistake(run("--versoin"), "did you mean --version?")
        assert_mistake(run("translate"))
        assert_mistake(run("trian"), "there is no command 'trian'; did you mean train?")
        assert_mistake(run("paper", "tabel2"), "did you mean table2?")
        assert "did you mean" not in run("xyzzy").stderr.decode()
        assert_mistake(run("train", "--minutes", "abc"), "as a number. See ", "train --help")
        assert_mistake(run("paper", "table4"), "See ", "paper table4 --help")

    def test_the_help_without_a_command(self):
        for words, verb in (((), b"quickstart"), (("paper",), b"table1")):
            done = run(*words)
            assert done.returncode == 2
            assert done.stderr.startswith(b"Usage: ")
            assert verb in done.stderr
