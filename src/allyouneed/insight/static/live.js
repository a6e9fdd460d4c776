// Requests to the server that delivered the page, with the API key that the translation page stored.

async function postJson(url, body) {
  const key = localStorage.getItem("key");
  const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
  const response = await fetch(url, { method: "POST", headers, body: JSON.stringify(body) });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error ?? answer.message ?? response.statusText);
  return answer;
}

/** Make `fetchVariant` for `start`: it posts `body` with the switches to `url` and returns the variant. */
export const asking = ({ url, body }) => (switches) => postJson(url, { ...body, switches });

/** Make `fetchAttribution` for `start`: candidate and insteadOf are the tokens of two translations, or their beginnings. */
export const askingAttribution = ({ url, body: { q, source, target } }) => (candidate, insteadOf) =>
  postJson(`${url}/attribution`, { q, source, target, candidate, instead_of: insteadOf });

/** Make `fetchPatching` for `start`: it returns the patching of the page's sentence into another one. */
export const askingPatching = ({ url, body: { q, source, target } }) => (against) => postJson(`${url}/patching`, { q, source, target, against });
