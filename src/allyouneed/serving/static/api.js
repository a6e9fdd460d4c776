// The server, as the page sees it.

export const key = {
  get: () => localStorage.getItem("key") ?? "",
  set: (value) => localStorage.setItem("key", value),
};

function headers(more = {}) {
  return key.get() ? { ...more, Authorization: `Bearer ${key.get()}` } : more;
}

/** An answer as JSON, or an Error with the server's message and its status. */
async function answer(response) {
  const content = response.status === 204 ? null : await response.json();
  if (!response.ok) throw Object.assign(new Error(content?.error ?? response.statusText), { status: response.status });
  return content;
}

export async function languages() {
  return answer(await fetch("/api/languages"));
}

/** One text's translation with words, links and alternatives. */
export async function translate(q, source, target, signal) {
  const body = JSON.stringify({ q, source, target, words: true, beam_size: 4, num_hypotheses: 4 });
  const options = { method: "POST", headers: headers({ "Content-Type": "application/json" }), body, signal };
  return (await answer(await fetch("/api/translate", options))).translations[0];
}

/** Sends a file and tells how much of it is sent, 0 to 1. fetch cannot tell that yet. */
export function upload(file, source, target, progress) {
  const form = new FormData();
  form.append("source", source);
  form.append("target", target);
  form.append("file", file);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", "/api/documents");
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => progress(event.loaded / event.total);
    request.onerror = () => reject(new Error());
    request.onload = () => {
      const content = JSON.parse(request.responseText);
      request.status < 300 ? resolve(content) : reject(new Error(content.error));
    };
    request.send(form);
  });
}

export async function documentState(id) {
  return answer(await fetch(`/api/documents/${id}`, { headers: headers() }));
}
