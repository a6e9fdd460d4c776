"""Translation of document files and folders from the command line."""

from __future__ import annotations

import json

import pytest

from allyouneed import Translator, documents
from allyouneed.documents import document_files, document_translation
from allyouneed.translation.resuming import note_path


def test_a_document_is_translated_and_the_counts_are_reported(command, toy_run, tmp_path):
    source, output = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_bytes(b"a b\r\n\r\nc d\r\n")
    code, out, err = command("translate", toy_run, source, "-o", output)
    assert (code, out) == (0, "")
    assert "2 segments translated" in err
    lines = output.read_bytes().split(b"\r\n")
    assert len(lines) == 4
    assert lines[1] == lines[3] == b""
    assert not note_path(output).exists()


def test_a_folder_is_translated_and_other_files_are_named(command, toy_run, tmp_path):
    folder, output = tmp_path / "in", tmp_path / "out"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a b\n")
    (folder / "sub" / "b.txt").write_text("c d\n")
    (folder / "picture.xyz").write_bytes(b"\0")
    (folder / ".hidden.txt").write_text("a")
    code, _, err = command("translate", toy_run, folder, "-o", output)
    assert code == 0
    assert sorted(p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_file()) == ["a.txt", "sub/b.txt"]
    assert "1 files of other types were left out" in err
    code, _, err = command("translate", toy_run, folder)
    assert code == 2
    assert "-o FOLDER" in err


def test_unchanged_segments_are_said(command, toy_run, tmp_path, monkeypatch):
    def same(translator, sentences, options, links):
        return [document_translation.TranslatedSentence(each.text) for each in sentences]

    monkeypatch.setattr(document_translation, "translate_sentences", same)
    source, remarks = tmp_path / "a.txt", tmp_path / "remarks.jsonl"
    source.write_text("a b\n12\n")
    code, out, err = command("translate", toy_run, source, "--remarks", remarks)
    assert (code, out) == (0, "a b\n12\n")
    assert 'a.txt, line 1: the translation equals the source: "a b"' in err
    assert "line 2" not in err
    [remark] = map(json.loads, remarks.read_text().splitlines())
    assert (remark["where"], remark["source"]) == ("line 1", "a b")


def test_an_interrupted_translation_continues(command, toy_run, tmp_path, monkeypatch):
    monkeypatch.setattr(document_translation, "_MIN_SENTENCES", 1)
    source, output = tmp_path / "a.txt", tmp_path / "b.txt"
    source.write_text("a b\nc d\ne f\n")
    command("translate", toy_run, source, "-o", output)
    expected, translate, asked = output.read_text(), document_translation.translate_sentences, []
    output.write_text("before")

    def interrupted(translator, sentences, options, links):
        asked.extend(each.text for each in sentences)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return translate(translator, sentences, options, links)

    monkeypatch.setattr(document_translation, "translate_sentences", interrupted)
    code, _, err = command("translate", toy_run, source, "-o", output)
    assert code == 130
    assert "--resume" in err
    assert output.read_text() == "before"
    monkeypatch.setattr(document_translation, "translate_sentences", translate)
    code, _, _ = command("translate", toy_run, source, "-o", output, "--resume")
    assert code == 0
    assert output.read_text() == expected
    assert not note_path(output).exists()


@pytest.mark.parametrize("option", ["--scores", "--json"])
def test_options_of_lines_are_refused_for_documents(command, toy_run, tmp_path, option):
    (tmp_path / "a.docx").write_text("a")
    code, _, err = command("translate", toy_run, tmp_path / "a.docx", option)
    assert code == 2
    assert "--lines" in err


def test_problems_are_listed_and_give_exit_code_1(command, toy_run, tmp_path, monkeypatch):
    def doubtful(translator, sentences, options, links):
        problem = "the position of %s is uncertain"
        return [document_translation.TranslatedSentence("x", problems=(problem,)) for _ in sentences]

    monkeypatch.setattr(document_translation, "translate_sentences", doubtful)
    source = tmp_path / "a.txt"
    source.write_text("a %s b\n")
    code, _, err = command("translate", toy_run, source, "-o", tmp_path / "b.txt")
    assert code == 1
    assert 'a.txt, line 1: the position of %s is uncertain: "a %s b"' in err


def test_python_api(toy_run, tmp_path):
    source = tmp_path / "a.html"
    source.write_text("<p>a <b>b</b> c</p>\n")
    translator = Translator.load(toy_run)
    outcome = documents.translate_documents(translator, str(source), str(tmp_path / "b.html"))
    assert outcome.exit_code in (0, 1)
    written = (tmp_path / "b.html").read_text()
    assert written.startswith("<p>")
    assert written.count("<b>") == written.count("</b>") == 1


def test_no_document_is_replaced_by_mistake(command, toy_run, tmp_path):
    folder = tmp_path / "in"
    (folder / "in").mkdir(parents=True)
    for name in ("a.txt", "in/a.txt", "a.docx"):
        (folder / name).write_text("a b\n")
    (tmp_path / "a.pdf").write_bytes(b"%PDF-")
    (tmp_path / "a.docx").write_bytes(b"Word")
    (tmp_path / "empty").mkdir()
    for arguments, message in (
        ((folder / "a.txt", "-o", tmp_path / "b.txt", "--remarks", folder / "a.txt"), "one of the documents"),
        ((folder / "a.txt", "-o", tmp_path / "b.txt", "--remarks", tmp_path / "b.txt"), "one of the documents"),
        ((folder, "-o", tmp_path / "other", "--remarks", folder / "in" / "a.txt"), "one of the documents"),
        ((folder, "-o", folder), "the same as the input"),
        ((folder / "in", "-o", folder, "--columns", "1"), "in/a.txt → "),
        ((tmp_path / "a.pdf", "-o", tmp_path / "a.txt"), "this one exists"),
        ((folder, "-o", tmp_path / "a.docx" / "out"), "cannot write"),
        ((tmp_path / "empty", "-o", tmp_path / "out"), "no documents"),
    ):
        code, _, err = command("translate", toy_run, *arguments)
        assert message in err
        assert code == (0 if "→" in message else 2)
    assert (folder / "in" / "a.txt").read_text() == "a b\n"
    assert (tmp_path / "a.docx").read_bytes() == b"Word"


def test_columns_of_a_table_are_chosen(command, toy_run, tmp_path):
    source = tmp_path / "a.csv"
    source.write_text("id,text,note\nx1,a b c,d\n")
    code, out, _ = command("translate", toy_run, source, "--columns", "note,1")
    [_, row] = out.splitlines()
    assert code == 0
    assert row.split(",")[1] == "a b c"
    assert row.split(",")[2] != "d"
    assert command("translate", toy_run, source, "--columns", "4")[0] == 2


def test_a_pdf_document_in_a_folder_does_not_replace_the_word_document(tmp_path):
    (tmp_path / "a.docx").touch()
    folder_output = document_files._folder_output
    assert folder_output(tmp_path / "a.pdf", tmp_path / "out" / "a.pdf") == tmp_path / "out" / "a.pdf.docx"
    assert folder_output(tmp_path / "b.PDF", tmp_path / "out" / "b.PDF") == tmp_path / "out" / "b.docx"


def test_one_segment_is_counted_in_the_singular(command, toy_run, tmp_path):
    source = tmp_path / "a.txt"
    source.write_text("a b\n")
    assert "1 segment translated" in command("translate", toy_run, source, "-o", tmp_path / "b.txt")[2]


def test_a_name_that_promises_another_format_is_refused(command, toy_run, tmp_path):
    source, output = tmp_path / "a.html", tmp_path / "b.docx"
    source.write_text("<p>a b</p>")
    code, _, err = command("translate", toy_run, source, "-o", output)
    assert code == 2
    assert "b.docx: a document keeps its format. Name the output with the suffix .html." in err
    assert not output.exists()
    assert command("translate", toy_run, source, "-o", tmp_path / "b.htm")[0] == 0
    assert command("translate", toy_run, source, "-o", tmp_path / "b.en")[0] == 0
