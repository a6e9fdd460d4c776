// Requests to the server.

export const key = {
  get: () => localStorage.getItem("key") ?? "",
  set: (value) => localStorage.setItem("key", value),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

/** Returns a response's JSON; throws an Error with the server's message and status. */
async function json(response) {
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw Object.assign(new Error(content?.error ?? response.statusText), { status: response.status });
  return content;
}

export async function languages() {
  return json(await fetch("/api/languages"));
}

/** Translates a text, with word scores, word alignment and alternatives. */
export async function translate(q, source, target, signal) {
  const body = JSON.stringify({ q, source, target, words: true, beam_size: 4, num_hypotheses: 4 });
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body, signal };
  return (await json(await fetch("/api/translate", options))).translations[0];
}

/** Uploads a file; onProgress gets the fraction sent. XMLHttpRequest, since fetch does not report upload progress. */
export function upload(file, source, target, onProgress) {
  const form = new FormData();
  form.append("source", source);
  form.append("target", target);
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/documents");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onProgress(event.loaded / event.total);
    request.onerror = () => reject(new Error());
    request.onload = () => {
      const content = JSON.parse(request.responseText);
      request.status < 300 ? resolve(content) : reject(new Error(content.error));
    };
    request.send(form);
  });
}

export async function documentState(id) {
  return json(await fetch(`/api/documents/${id}`, { headers: headers() }));
}
