// Translates files that are dropped or chosen: upload, progress, problems, download. A reload of the page keeps them.

import { deleteDocument, documentState, download, downloadPath, key, pauseBeforeRetry, upload } from "./api.js";
import { $, announce, element, saveAs } from "./dom.js";
import { served } from "./languages.js";
import { duration, errorMessage, message } from "./messages.js";
import { reportItem } from "./reports.js";
import { tabStore } from "./storage.js";

const list = $("#files ul");
const UPLOAD_SHARE = 0.1; // share of the progress bar; the rest is for the translation
const [FIRST_PAUSE, LONGEST_PAUSE] = [300, 2000]; // milliseconds between two questions for the progress
const rows = new Set();
let uploads = Promise.resolve(); // one after the other

/** A file in the list. */
class Row {
  /** Takes a File with its languages, or the {id, name} of a file that was uploaded before. */
  constructor({ file = null, languages = null, id = null, name = file.name }) {
    Object.assign(this, { file, languages, id, name, state: null, phase: "waiting", error: "", share: 0 });
    this.abort = new AbortController();
    this.bar = element("progress", { "aria-label": name });
    this.status = element("span", { className: "status" });
    this.actions = element("span", { className: "actions" });
    this.details = element("div", { className: "details" });
    this.item = element("li", {}, element("span", { className: "name", title: name }, name), this.bar, this.status, this.actions, this.details);
    list.prepend(this.item);
    rows.add(this);
    this.show();
  }

  get isRunning() {
    return ["waiting", "uploading", "translating", "reconnecting"].includes(this.phase);
  }

  set(changes) {
    Object.assign(this, changes);
    this.show();
  }

  show() {
    this.bar.hidden = !this.isRunning;
    this.bar.value = this.share;
    this.status.textContent = this.statusText();
    this.item.className = this.phase;
    this.showActions();
    this.details.replaceChildren(...(this.phase === "translated" ? remarks(this.state) : []));
    remember();
  }

  statusText() {
    if (this.phase === "failed") return this.error;
    const left = this.state?.seconds_remaining;
    const parts = [message(this.phase)];
    if (this.phase === "uploading" || this.phase === "translating") parts.push(`${Math.floor(100 * this.share)}%`);
    if (this.phase === "translating" && left) parts.push(message("remaining", duration(left)));
    return parts.join(" · ");
  }

  showActions() {
    const names = [];
    if (this.isRunning) names.push("cancel");
    else names.push(...(this.phase === "failed" && this.file ? ["retry"] : []), "remove");
    const focused = this.actions.contains(document.activeElement) ? document.activeElement.dataset.action : null;
    const buttons = names.map((name) => this.button(name));
    const current = [...this.actions.children].map((child) => child.dataset.action).join();
    const nodes = this.phase === "translated" ? [this.link(), ...buttons] : buttons;
    if (current === nodes.map((node) => node.dataset.action).join() && current && !this.isRelocalized()) return; // keeps the focus
    this.locale = document.documentElement.lang;
    this.actions.replaceChildren(...nodes);
    if (focused) (nodes.find((node) => node.dataset.action === focused) ?? nodes[0]).focus();
  }

  isRelocalized() {
    return this.locale !== document.documentElement.lang;
  }

  button(name) {
    const label = message("fileAction", message(name), this.name);
    const button = element("button", { type: "button", className: "quiet", "aria-label": label }, message(name));
    button.dataset.action = name;
    button.addEventListener("click", () => this[name]());
    return button;
  }

  link() {
    const label = message("fileAction", message("download"), this.state.name);
    const link = element("a", { href: downloadPath(this.id), download: this.state.name, "aria-label": label }, message("download"));
    link.dataset.action = "download";
    link.addEventListener("click", async (event) => {
      if (!key.get()) return; // the browser downloads the link
      event.preventDefault();
      try {
        saveAs(this.state.name, await download(this.id));
      } catch (error) {
        this.fail(error);
      }
    });
    return link;
  }

  start() {
    const { abort } = this;
    uploads = uploads.then(() => this.send(abort)).catch(() => {});
  }

  async send(abort, retries = 0) {
    if (abort.signal.aborted) return;
    this.set({ phase: "uploading" });
    try {
      const onProgress = (sent) => this.set({ share: sent * UPLOAD_SHARE });
      const { id } = await upload(this.file, this.languages, onProgress, abort.signal);
      this.set({ id, phase: "translating", share: UPLOAD_SHARE });
      this.follow();
    } catch (error) {
      if (error.name === "AbortError") return;
      const pause = error.retryAfter && pauseBeforeRetry(error, retries); // else the server may have the file
      if (!pause) return this.fail(error);
      this.set({ phase: "waiting", share: 0 });
      await new Promise((resolve) => {
        setTimeout(resolve, 1000 * pause);
        abort.signal.addEventListener("abort", resolve);
      });
      await this.send(abort, retries + 1);
    }
  }

  /** Asks for the progress until the file is translated. */
  async follow() {
    const { abort } = this;
    for (let pause = FIRST_PAUSE; this.isRunning && !abort.signal.aborted; pause = Math.min(LONGEST_PAUSE, 1.3 * pause)) {
      await new Promise((resolve) => setTimeout(resolve, pause));
      try {
        const state = await documentState(this.id);
        if (!abort.signal.aborted) this.showState(state);
      } catch (error) {
        if (abort.signal.aborted) return;
        if (error.status === 404) this.set({ phase: "failed", error: message("lost") });
        else if (error.status === 403) this.fail(error);
        else this.set({ phase: "reconnecting" });
      }
    }
  }

  showState(state) {
    const share = state.total ? UPLOAD_SHARE + ((1 - UPLOAD_SHARE) * state.done) / state.total : UPLOAD_SHARE;
    if (state.status === "error") this.fail(Object.assign(new Error(state.error), { status: 400 }));
    else if (state.status === "done") {
      this.set({ state, share: 1, phase: "translated" });
      announce(`${this.name}: ${message("translated")}`);
    } else this.set({ state, share, phase: state.status === "queued" ? "waiting" : "translating" });
  }

  fail(error) {
    this.set({ phase: "failed", error: errorMessage(error) });
    announce(`${this.name}: ${this.error}`);
  }

  cancel() {
    this.abort.abort();
    this.set({ phase: "cancelled" });
    this.deleteOnServer();
  }

  retry() {
    this.abort = new AbortController();
    this.set({ id: null, state: null, share: 0, phase: "waiting" });
    this.start();
  }

  remove() {
    const next = this.item.nextElementSibling ?? this.item.previousElementSibling;
    rows.delete(this);
    this.item.remove();
    (next?.querySelector("a, button") ?? $("#file")).focus();
    this.deleteOnServer();
    remember();
  }

  deleteOnServer() {
    if (this.id) deleteDocument(this.id).catch(() => {}); // it expires otherwise
    this.id = null;
  }
}

/** Returns why the server would not take a file, or "". */
function refusal({ name, size }) {
  const suffix = /\.[^.]*$/.exec(name)?.[0].toLowerCase() ?? name;
  if (!served.file_formats.includes(suffix)) return message("unsupportedFile", suffix);
  return size > served.file_bytes ? message("fileTooLarge", Math.floor(served.file_bytes / 2 ** 20)) : "";
}

/** Lists what the user should check in a translated file. */
function remarks({ problems, problem_count = problems.length, notes, unchanged }) {
  const nodes = [];
  const fold = (summary, texts, hidden) => {
    const items = texts.map(([text, where]) => reportItem(text, where));
    if (hidden > 0) items.push(element("li", {}, message("more", hidden)));
    nodes.push(element("details", {}, element("summary", {}, summary), element("ul", {}, ...items)));
  };
  const texts = problems.map(({ where, message: text }) => [text, where]);
  if (problem_count) fold(message("problemCount", problem_count), texts, problem_count - texts.length);
  if (notes.length) fold(message("noteCount", notes.length), notes.map((note) => [note]), 0);
  if (unchanged) nodes.push(element("p", {}, message("unchangedCount", unchanged)));
  return nodes;
}

/** Keeps the ids of uploaded files for a reload of this tab. */
function remember() {
  const kept = [...rows].filter(({ id, phase }) => id && phase !== "failed").map(({ id, name }) => ({ id, name }));
  tabStore.set("documents", JSON.stringify(kept));
}

/** Writes the list again after the page's language has changed. */
export function showDocuments() {
  for (const row of rows) row.show();
}

/** Accepts files; selection() returns {source, target, glossary} when a file arrives. */
export function acceptFiles(selection) {
  const translateAll = (files) => {
    for (const file of files) {
      const row = new Row({ file, languages: selection() });
      const error = refusal(file);
      if (error) row.set({ phase: "failed", error, file: null });
      else row.start();
    }
  };
  for (const known of tabStore.list("documents")) {
    const row = new Row(known);
    row.set({ phase: "translating" });
    row.follow();
  }
  const input = $("#file");
  input.addEventListener("change", () => {
    translateAll(input.files);
    input.value = "";
  });
  const hasFiles = (event) => event.dataTransfer?.types.includes("Files");
  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.add("dropping");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dropping");
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    document.body.classList.remove("dropping");
    translateAll(event.dataTransfer.files);
  });
}
