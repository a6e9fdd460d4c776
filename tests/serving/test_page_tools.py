"""Documents and glossaries on the web page, in a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
import requests

from allyouneed.serving.access.api_keys import add_key
from allyouneed.serving.server_settings import ServerSettings
from tests.serving.conftest import serving

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install '.[dev]'")
STATE = {
    "id": "1" * 32,
    "name": "notes_bb.txt",
    "status": "translating",
    "done": 0,
    "total": 0,
    "seconds_remaining": None,
    "error": None,
    "notes": [],
    "problems": [],
    "unchanged": 0,
    "url": None,
}


def choose_files(page: playwright.Page, *names: str, text: str = "a b c\nd e\n") -> None:
    files = [{"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name in names]
    page.set_input_files("#file", files)


def row(page: playwright.Page, name: str) -> playwright.Locator:
    return page.locator("#files > ul > li", has=page.locator(f".name[title='{name}']"))


def download(page: playwright.Page, link: playwright.Locator) -> tuple[str, str]:
    with page.expect_download() as started:
        link.click()
    return started.value.suggested_filename, Path(started.value.path()).read_text(encoding="utf-8")


class FakeDocuments:
    """A server's documents whose states a test decides."""

    def __init__(self, page: playwright.Page):
        self.state, self.deleted, self.status = dict(STATE), [], 200
        page.route("**/api/documents", lambda route: route.fulfill(status=202, json=STATE))
        page.route("**/api/documents/*", self._respond)

    def _respond(self, route: playwright.Route) -> None:
        if route.request.method == "DELETE":
            self.deleted.append(route.request.url.rpartition("/")[2])
            route.fulfill(status=204)
        else:
            route.fulfill(status=self.status, json=self.state if self.status == 200 else {"error": "no such file"})


def test_several_files_are_translated_and_downloaded(page):
    choose_files(page, "one.txt", "two.txt")
    for name in ("one", "two"):
        file, text = download(page, row(page, f"{name}.txt").locator("a"))
        assert file == f"{name}_bb.txt"
        assert len(text.splitlines()) == 2
    playwright.expect(page.locator("#announcement")).to_contain_text("Translated")
    row(page, "one.txt").get_by_role("button", name="Remove").click()
    playwright.expect(page.locator("#files > ul > li")).to_have_count(1)


def test_files_are_dropped(page):
    transfer = page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            for (const name of ["one.txt", "two.txt"]) transfer.items.add(new File(["a b"], name));
            return transfer;
        }"""
    )
    page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
    playwright.expect(page.locator("body")).to_have_class("dropping")
    page.dispatch_event("main", "drop", {"dataTransfer": transfer})
    playwright.expect(page.locator("#files a")).to_have_count(2)


def test_progress_and_the_time_left_are_shown(page):
    documents = FakeDocuments(page)
    documents.state |= {"done": 40, "total": 100, "seconds_remaining": 130}
    choose_files(page, "notes.txt")
    status = row(page, "notes.txt").locator(".status")
    playwright.expect(status).to_have_text("Translating · 46% · about 2 minutes left")  # 10 % are for the upload
    assert row(page, "notes.txt").locator("progress").evaluate("bar => bar.value") == pytest.approx(0.46)
    page.locator("#locale").click()
    playwright.expect(status).to_have_text("번역 중 · 46% · 약 2분 남음")
    documents.state |= {"done": 100, "seconds_remaining": None, "status": "done", "url": "/download_file/x"}
    playwright.expect(status).to_have_text("번역 완료")
    playwright.expect(row(page, "notes.txt").locator("progress")).to_be_hidden()


def test_a_running_translation_is_cancelled(page):
    documents = FakeDocuments(page)
    choose_files(page, "notes.txt")
    playwright.expect(row(page, "notes.txt").locator(".status")).to_contain_text("Translating")
    row(page, "notes.txt").get_by_role("button", name="Cancel").click()
    playwright.expect(row(page, "notes.txt").locator(".status")).to_have_text("Cancelled")
    playwright.expect(row(page, "notes.txt").get_by_role("button", name="Remove")).to_be_focused()
    assert documents.deleted == [STATE["id"]]


def test_problems_of_a_document_are_listed(page):
    documents = FakeDocuments(page)
    problems = [{"where": f"paragraph {n}", "message": "“{name}” is missing"} for n in (1, 2)]
    documents.state |= {
        "status": "done",
        "problems": problems,
        "notes": ["comments are not translated (2)"],
        "unchanged": 3,
    }
    choose_files(page, "notes.txt")
    details = row(page, "notes.txt").locator(".details")
    details.get_by_text("2 problems").click()
    playwright.expect(details.locator("details").first.locator("li")).to_have_text(
        ["paragraph 1: “{name}” is missing", "paragraph 2: “{name}” is missing"]
    )
    playwright.expect(details).to_contain_text("1 note")
    playwright.expect(details).to_contain_text("3 segments unchanged")


def test_a_file_that_cannot_be_translated_says_why(page):
    choose_files(page, "x.exe", text="MZ")
    playwright.expect(row(page, "x.exe").locator(".status")).to_have_text("This file type is not supported: .exe")
    choose_files(page, "x.docx", text="not a zip file")
    playwright.expect(row(page, "x.docx").locator(".status")).to_contain_text("x.docx")
    FakeDocuments(page)
    row(page, "x.docx").get_by_role("button", name="Try again").click()
    playwright.expect(row(page, "x.docx").locator(".status")).to_contain_text("Translating")


def test_a_file_that_is_too_large_is_not_sent(page):
    page.evaluate(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(10 * 2 ** 20 + 1)], "large.txt"));
            const input = document.querySelector("#file");
            input.files = transfer.files;
            input.dispatchEvent(new Event("change"));
        }"""
    )
    playwright.expect(row(page, "large.txt").locator(".status")).to_have_text("The file is too large: at most 10 MB.")


def test_polling_survives_a_lost_connection_and_notices_a_lost_file(page):
    documents = FakeDocuments(page)
    documents.status = 502  # the answer of a proxy while the server restarts
    choose_files(page, "notes.txt")
    status = row(page, "notes.txt").locator(".status")
    playwright.expect(status).to_contain_text("The server does not respond")
    documents.status = 404
    playwright.expect(status).to_have_text("The server no longer has this file.")


def test_an_upload_that_a_busy_server_rejects_is_repeated(page):
    FakeDocuments(page)
    answers = iter([429, 202])

    def respond(route: playwright.Route) -> None:
        status = next(answers)
        route.fulfill(status=status, json=STATE if status == 202 else {"error": "wait"}, headers={"Retry-After": "1"})

    page.route("**/api/documents", respond)
    choose_files(page, "notes.txt")
    playwright.expect(row(page, "notes.txt").locator(".status")).to_have_text("Waiting")
    playwright.expect(row(page, "notes.txt").locator(".status")).to_contain_text("Translating")


def test_a_reload_keeps_the_documents(page):
    choose_files(page, "notes.txt")
    playwright.expect(row(page, "notes.txt").locator("a")).to_be_visible()
    page.reload()
    assert download(page, row(page, "notes.txt").locator("a"))[0] == "notes_bb.txt"


def fill_entries(page: playwright.Page, *entries: tuple[str, str]) -> None:
    for number, cells in enumerate(entries):
        if number:
            page.locator("#add-entry").click()
        for side, cell in enumerate(cells):
            page.locator("#glossary-editor tbody tr").last.locator("input").nth(side).fill(cell)


def create_glossary(page: playwright.Page, name: str, *entries: tuple[str, str]) -> None:
    page.locator("#new-glossary").click()
    page.locator("#glossary-name").fill(name)
    fill_entries(page, *entries)
    page.locator("#save-glossary").click()
    playwright.expect(page.locator("#glossary-editor")).to_be_hidden()
    playwright.expect(page.locator("#glossary")).not_to_have_value("")  # the list is loaded anew


@pytest.fixture
def no_glossaries(address):
    """Deletes the glossaries of the shared server before and after a test."""

    def delete() -> None:
        for each in requests.get(f"{address}/v3/glossaries", timeout=60).json()["glossaries"]:
            requests.delete(f"{address}/v3/glossaries/{each['glossary_id']}", timeout=60)

    delete()
    yield
    delete()


@pytest.mark.usefixtures("no_glossaries")
def test_a_glossary_is_created_chosen_edited_and_deleted(page, address):
    create_glossary(page, "Letters", ("d", "QQ"), ("e", "RR"))
    playwright.expect(page.locator("#glossary option:checked")).to_contain_text("Letters (")
    page.locator("#text").fill("c d")
    playwright.expect(page.locator("#translation")).to_contain_text("QQ")

    page.locator("#edit-glossary").click()
    playwright.expect(page.locator("#entry-count")).to_have_text("2 entries")
    page.locator("#glossary-search").fill("q")
    playwright.expect(page.locator("#glossary-editor tbody tr")).to_have_count(1)
    page.locator("#glossary-editor tbody input").nth(1).fill("SS")
    page.locator("#glossary-name").fill("Better letters")
    page.locator("#save-glossary").click()
    playwright.expect(page.locator("#translation")).to_contain_text("SS")
    playwright.expect(page.locator("#glossary option:checked")).to_contain_text("Better letters")

    page.reload()  # it stays chosen
    page.select_option("#source", "aa")
    playwright.expect(page.locator("#glossary option:checked")).to_contain_text("Better letters")
    page.once("dialog", lambda dialog: dialog.accept())
    page.locator("#edit-glossary").click()
    page.locator("#delete-glossary").click()
    playwright.expect(page.locator("#glossary option")).to_have_text(["No glossary"])
    assert requests.get(f"{address}/v3/glossaries", timeout=60).json()["glossaries"] == []


@pytest.mark.usefixtures("no_glossaries")
def test_a_word_that_displaces_a_term_is_reported(page):
    create_glossary(page, "Letters", ("d", "QQ"))
    page.locator("#text").fill("c d e f")
    playwright.expect(page.locator("#translation")).to_contain_text("QQ")
    page.locator("#translation .word").first.click()
    other = page.locator("#words button:not([aria-current=true])").first
    other.click()
    playwright.expect(page.locator("#translation")).not_to_contain_text("QQ")
    playwright.expect(page.locator("#problems li")).to_contain_text("“QQ” is missing")


@pytest.mark.usefixtures("no_glossaries")
def test_a_glossary_that_was_deleted_elsewhere_is_no_longer_used(page, address):
    create_glossary(page, "Letters", ("d", "QQ"))
    [glossary] = requests.get(f"{address}/v3/glossaries", timeout=60).json()["glossaries"]
    requests.delete(f"{address}/v3/glossaries/{glossary['glossary_id']}", timeout=60)
    page.locator("#text").fill("c d e f")
    playwright.expect(page.locator("#notice")).to_contain_text("The glossary no longer exists.")
    playwright.expect(page.locator("#translation .word").first).to_be_visible()
    playwright.expect(page.locator("#glossary")).to_have_value("")


@pytest.mark.usefixtures("no_glossaries")
def test_a_glossary_applies_to_documents(page):
    create_glossary(page, "Letters", ("d", "QQ"))
    choose_files(page, "notes.txt", text="c d\n")
    assert "QQ" in download(page, row(page, "notes.txt").locator("a"))[1]


@pytest.mark.usefixtures("no_glossaries")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("terms.tsv", b"d\tQQ\r\ne\tR, R\r\n"),
        ("terms.csv", '\ufeffd,QQ\r\n"e","R, R"\r\n'.encode()),
        ("terms.csv", b"d;QQ\n\ne;R, R\n"),
        ("terms.txt", "d\tQQ\ne\tR, R\n".encode("utf-16")),
        ("terms.csv", b'Source,Target\nd,QQ\ne,"R, R"\n'),
        ("terms.tsv", b"bb\taa\nQQ\td\nR, R\te\n"),
    ],
)
def test_entries_are_imported_and_exported(page, name, content):
    page.locator("#new-glossary").click()
    page.set_input_files("#import-entries", {"name": name, "mimeType": "text/plain", "buffer": content})
    playwright.expect(page.locator("#entry-count")).to_contain_text("Imported 2 rows")
    page.locator("#glossary-name").fill("Terms")
    assert download(page, page.locator("#export-tsv")) == ("Terms.tsv", "d\tQQ\ne\tR, R\n")
    exported = download(page, page.locator("#export-csv"))
    assert exported == ("Terms.csv", 'd,QQ\ne,"R, R"\n')  # read_text converts CRLF
    page.locator("#save-glossary").click()
    playwright.expect(page.locator("#glossary option")).to_have_count(2)


def test_an_empty_cell_does_not_shift_a_row(page):
    page.locator("#new-glossary").click()
    file = {"name": "terms.csv", "mimeType": "text/csv", "buffer": b'd,QQ\n,RR\n"","S,S"\n'}
    page.set_input_files("#import-entries", file)
    playwright.expect(page.locator("#entry-count")).to_contain_text("Imported 3 rows")
    cells = page.locator("#glossary-editor tbody input").evaluate_all("all => all.map(each => each.value)")
    assert cells == ["d", "QQ", "", "RR", "", "S,S"]


@pytest.mark.usefixtures("no_glossaries")
def test_wrong_entries_are_explained(page):
    page.locator("#new-glossary").click()
    page.locator("#save-glossary").click()
    problem = page.locator("#glossary-problem")
    playwright.expect(problem).to_have_text("Enter a name.")
    page.locator("#glossary-name").fill("Terms")
    page.locator("#save-glossary").click()
    playwright.expect(problem).to_have_text("Add at least one entry.")
    fill_entries(page, ("d", ""))
    page.locator("#save-glossary").click()
    playwright.expect(problem).to_have_text("Each entry needs a term and a translation.")
    playwright.expect(page.locator("[aria-invalid=true]")).to_be_focused()
    fill_entries(page, ("d", "x"), ("d", "y"))
    page.locator("#save-glossary").click()
    playwright.expect(problem).to_have_text("The term “d” occurs twice.")


def test_the_editor_is_used_by_keyboard(page):
    page.locator("#new-glossary").focus()
    page.keyboard.press("Enter")
    playwright.expect(page.locator("#glossary-name")).to_be_focused()
    page.locator("#glossary-editor tbody input").first.focus()
    page.keyboard.type("d")
    page.keyboard.press("Enter")
    page.keyboard.type("x")
    page.keyboard.press("Enter")  # a new row
    playwright.expect(page.locator("#glossary-editor tbody tr")).to_have_count(2)
    playwright.expect(page.locator("#glossary-editor tbody tr").last.locator("input").first).to_be_focused()
    dialogs = []
    page.once("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.accept()))
    page.keyboard.press("Escape")
    playwright.expect(page.locator("#glossary-editor")).to_be_hidden()
    assert dialogs == ["Discard the changes?"]
    playwright.expect(page.locator("#new-glossary")).to_be_focused()


def test_a_large_glossary_is_shown_in_parts(page):
    page.locator("#new-glossary").click()
    text = "".join(f"a{n}\tb{n}\n" for n in range(250))
    page.set_input_files("#import-entries", {"name": "x.tsv", "mimeType": "text/plain", "buffer": text.encode()})
    rows = page.locator("#glossary-editor tbody tr")
    playwright.expect(rows).to_have_count(100)
    page.locator("#more-entries").click()
    playwright.expect(rows).to_have_count(200)
    page.locator("#glossary-search").fill("a249")
    playwright.expect(rows).to_have_count(1)


def test_a_server_with_keys_asks_for_one(browser, registry, tmp_path):
    key = add_key(tmp_path / "keys.json", "team")
    settings = ServerSettings(keys=tmp_path / "keys.json", threads=1, seconds=300)
    with serving(registry, settings) as address:
        page = browser.new_context(locale="en-US").new_page()
        page.goto(address)
        page.select_option("#source", "aa")
        page.locator("#text").fill("c d")
        playwright.expect(page.locator("#notice")).to_have_text("This server requires an API key.")
        page.locator("#key").fill("wrong")
        page.locator("#key").press("Enter")
        playwright.expect(page.locator("#notice")).to_have_text("The API key is not valid.")
        page.locator("#key").fill(key)
        page.locator("#key").press("Enter")
        playwright.expect(page.locator("#notice")).to_be_hidden()
        create_glossary(page, "Letters", ("d", "QQ"))
        playwright.expect(page.locator("#translation")).to_contain_text("QQ")
        choose_files(page, "notes.txt", text="c d\n")
        assert "QQ" in download(page, row(page, "notes.txt").locator("a"))[1]
        page.context.close()
