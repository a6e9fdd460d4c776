// Helpers for building the page.

export const $ = (selector) => document.querySelector(selector);

/** Creates an element; properties with a dash, and role, are set as attributes. */
export function element(tag, properties = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role") created.setAttribute(name, value);
    else created[name] = value;
  }
  created.append(...children);
  return created;
}

/** Reads a text aloud in screen readers without moving the focus. */
export function announce(text) {
  $("#announcement").textContent = text;
}

/** Saves data that the page has as a file. */
export function saveAs(name, blob) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
