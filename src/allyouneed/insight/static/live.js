// Requests to the server that delivered the page, for any combination of switches, with the API key that the
// translation page stored.

/** Make `fetchVariant` for `start`: it posts `body` with the switches to `url` and returns the variant. */
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
