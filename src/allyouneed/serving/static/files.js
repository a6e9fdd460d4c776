// Translates files that are dropped or chosen: upload, polling, download link.

import { documentState, upload } from "./api.js";
import { message } from "./messages.js";

const list = document.querySelector("#files ul");
const UPLOAD_SHARE = 0.2; // share of the progress bar; the rest is for the translation
const POLL_INTERVAL = 400; // milliseconds

function createRow(file) {
  const item = document.createElement("li");
  const [name, bar, status] = ["span", "progress", "span"].map((tag) => document.createElement(tag));
  name.textContent = name.title = file.name;
  bar.value = 0;
  bar.setAttribute("aria-label", file.name);
  status.textContent = message("translating");
  item.append(name, bar, status);
  list.prepend(item);
  return { bar, status };
}

async function translateFile(file, languages) {
  const { bar, status } = createRow(file);
  try {
    let state = await upload(file, languages.source, languages.target, (sent) => (bar.value = sent * UPLOAD_SHARE));
    while (state.status === "queued" || state.status === "translating") {
      await new Promise((resolve) => setTimeout(resolve, POLL_INTERVAL));
      state = await documentState(state.id);
      if (state.total) bar.value = UPLOAD_SHARE + ((1 - UPLOAD_SHARE) * state.done) / state.total;
    }
    if (state.error) throw new Error(state.error);
    bar.value = 1;
    const link = document.createElement("a");
    [link.href, link.download, link.textContent] = [state.url, state.name, message("download")];
    status.replaceChildren(link);
  } catch (error) {
    status.textContent = error.message || message("unreachable");
    status.className = "bad";
    bar.remove();
  }
}

/** Accepts files; selectedLanguages() returns {source, target} when a file arrives. */
export function acceptFiles(selectedLanguages) {
  const translateAll = (files) => [...files].forEach((file) => translateFile(file, selectedLanguages()));
  const input = document.querySelector("#file");
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
