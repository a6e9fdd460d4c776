// A page that a server gave out asks it for any combination of switches, with the key that its own page keeps.

/** ask: {url, body}. -> fetchVariant for `start`: the body with the switches is posted, the answer is a variant. */
export function asking({ url, body }) {
  return async (switches) => {
    const key = localStorage.getItem("key");
    const headers = { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
    const request = { method: "POST", headers, body: JSON.stringify({ ...body, switches }) };
    const response = await fetch(url, request);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error ?? answer.message ?? response.statusText);
    return answer;
  };
}
