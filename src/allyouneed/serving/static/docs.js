// The API, read from the server's own OpenAPI document.

import { showTheme } from "./theme.js";

function element(tag, ...content) {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
}

function typeOf(schema) {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `[${typeOf(schema.items ?? {})}]`;
  return schema.format === "binary" ? "file" : (schema.type ?? "any");
}

function fields(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const needed = (schema.required ?? []).includes(name);
    const rest = needed ? "required" : field.default === undefined || field.default === null ? "" : `default ${JSON.stringify(field.default)}`;
    return element("tr", element("td", element("code", name)), element("td", typeOf(field)), element("td", rest));
  });
  return element("table", ...rows);
}

function article(path, method, route) {
  const made = element("article", element("h3", element("b", method.toUpperCase()), path));
  const content = Object.entries(route.requestBody?.content ?? {});
  if (route.description) made.append(element("p", route.description));
  if (content.length) {
    const [, { schema }] = content[0];
    if (schema.description) made.append(element("p", schema.description));
    made.append(fields(schema), element("p", element("small", content.map(([form]) => form).join(", "))));
  }
  return made;
}

showTheme();
const { paths } = await (await fetch("/openapi.json")).json();
const groups = new Map();
for (const [path, methods] of Object.entries(paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const tag = route.tags?.[0] ?? "";
    groups.set(tag, [...(groups.get(tag) ?? []), article(path, method, route)]);
  }
}
for (const [tag, articles] of groups) document.querySelector("#api").append(element("h2", tag), ...articles);
