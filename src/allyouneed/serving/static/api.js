// Requests to the server. Addresses are relative, so that a proxy can serve the page under any path.

import { browserStore } from "./storage.js";

export const key = {
  get: () => browserStore.get("key") ?? "",
  set: (value) => browserStore.set("key", value),
};

const MOST_RETRIES = 5; // of a request that a busy server has rejected
const LONGEST_PAUSE = 10; // seconds between two attempts to reach the server

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

/** Returns an Error with the server's message and status, the seconds after which to try again, and a language, if given. */
function failure(status, content, retryAfter) {
  const text = content?.error ?? content?.message ?? "";
  return Object.assign(new Error(text), { status, retryAfter: Number(retryAfter) || 0, detected: content?.detected });
}

/** Whether no server has answered, as during a restart; behind a proxy, that is its status. */
export const isUnreachable = ({ status }) => [undefined, 0, 502, 504].includes(status);

/** Returns the seconds after which to send a failed request again, or 0 if that would not help. */
export function pauseBeforeRetry(error, retries) {
  if (error.retryAfter) return retries < MOST_RETRIES ? error.retryAfter : 0;
  return isUnreachable(error) && error.status !== undefined ? Math.min(2 ** retries, LONGEST_PAUSE) : 0;
}

/** Sends a request and returns the response's JSON; throws an Error with the server's message and status. */
async function send(method, path, body, signal) {
  const json = body === undefined ? {} : { "Content-Type": "application/json" };
  const options = { method, headers: headers(json), body: body && JSON.stringify(body), signal };
  const response = await fetch(path, options).catch((error) => {
    throw error.name === "AbortError" ? error : failure(0);
  });
  const content = response.status === 204 ? null : await response.json().catch(() => null); // a proxy may send HTML
  if (!response.ok) throw failure(response.status, content, response.headers.get("Retry-After"));
  return content;
}

export const languages = () => send("GET", "api/languages");

/** Translates a text, with word scores, word alignment and alternatives. */
export async function translate(q, { source, target, glossary }, signal) {
  const options = { words: true, beam_size: 4, num_hypotheses: 4, ...(glossary && { glossary_ids: [glossary] }) };
  return (await send("POST", "api/translate", { q, source, target, ...options }, signal)).translations[0];
}

/** Returns other words after the beginning of a sentence's translation, most likely first. */
export async function alternatives(q, { source, target, glossary }, target_prefix, signal) {
  const options = { num_hypotheses: 6, beam_size: 4, ...(glossary && { glossary_ids: [glossary] }) };
  const body = { q, source, target, target_prefix, ...options };
  return (await send("POST", "api/alternatives", body, signal)).alternatives;
}

/** Uploads a file; onProgress gets the fraction sent. XMLHttpRequest, since fetch does not report upload progress. */
export function upload(file, { source, target, glossary }, onProgress, signal) {
  const form = new FormData();
  form.append("source", source);
  form.append("target", target);
  if (glossary) form.append("glossary_id", glossary);
  form.append("file", file); // last, so that the server knows the other fields first
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "api/documents");
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(failure(0));
    request.onabort = () => reject(new DOMException("", "AbortError"));
    request.onload = () => {
      if (request.status < 300) resolve(request.response);
      else reject(failure(request.status, request.response, request.getResponseHeader("Retry-After")));
    };
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

export const documentState = (id) => send("GET", `api/documents/${id}`);
export const deleteDocument = (id) => send("DELETE", `api/documents/${id}`);
export const downloadPath = (id) => `download_file/${id}`;

/** Returns a translated file; a link cannot send the key. */
export async function download(id) {
  const response = await fetch(downloadPath(id), { headers: headers() });
  if (!response.ok) throw failure(response.status, await response.json().catch(() => null));
  return response.blob();
}

/** The glossaries of the key; a dictionary is {source_lang, target_lang, entries} with entries as TSV. */
export const glossaries = {
  all: async () => (await send("GET", "v3/glossaries")).glossaries,
  create: (name, dictionary) => send("POST", "v3/glossaries", { name, dictionaries: [dictionary] }),
  rename: (id, name) => send("PATCH", `v3/glossaries/${id}`, { name }),
  replace: (id, dictionary) => send("PUT", `v3/glossaries/${id}/dictionaries`, dictionary),
  remove: (id) => send("DELETE", `v3/glossaries/${id}`),
  removeDictionary: (id, pair) => send("DELETE", `v3/glossaries/${id}/dictionaries?${new URLSearchParams(pair)}`),
  entries: async (id, pair) => {
    const found = await send("GET", `v3/glossaries/${id}/entries?${new URLSearchParams(pair)}`);
    return found.dictionaries[0].entries;
  },
};
