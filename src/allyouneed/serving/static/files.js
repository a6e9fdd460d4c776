// Files: dropped or chosen, sent, translated, fetched.

import { documentState, upload } from "./api.js";
import { say } from "./texts.js";

const list = document.querySelector("#files ul");
const SENDING = 0.2; // of the bar; the rest is translating
const ASK_AGAIN = 400; // milliseconds

function row(file) {
  const item = document.createElement("li");
  const [name, bar, end] = ["span", "progress", "span"].map((tag) => document.createElement(tag));
  name.textContent = name.title = file.name;
  bar.value = 0;
  bar.setAttribute("aria-label", file.name);
  end.textContent = say("waiting");
  item.append(name, bar, end);
  list.prepend(item);
  return { bar, end };
}

async function translateFile(file, languages) {
  const { bar, end } = row(file);
  try {
    let state = await upload(file, languages.source, languages.target, (sent) => (bar.value = sent * SENDING));
    while (state.status === "queued" || state.status === "translating") {
      await new Promise((resolve) => setTimeout(resolve, ASK_AGAIN));
      state = await documentState(state.id);
      if (state.total) bar.value = SENDING + ((1 - SENDING) * state.done) / state.total;
    }
    if (state.error) throw new Error(state.error);
    bar.value = 1;
    const link = document.createElement("a");
    [link.href, link.download, link.textContent] = [state.url, state.name, say("download")];
    end.replaceChildren(link);
  } catch (error) {
    end.textContent = error.message || say("down");
    end.className = "bad";
    bar.remove();
  }
}

/** languages(): {source, target} at the time a file comes. */
export function acceptFiles(languages) {
  const take = (files) => [...files].forEach((file) => translateFile(file, languages()));
  const input = document.querySelector("#file");
  input.addEventListener("change", () => {
    take(input.files);
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
    take(event.dataTransfer.files);
  });
}
