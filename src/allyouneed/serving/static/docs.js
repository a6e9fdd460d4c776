// API documentation, rendered from the server's OpenAPI document.

import { localizePage, message } from "./messages.js";
import { showTheme } from "./theme.js";

function element(tag, ...content) {
  const created = document.createElement(tag);
  created.append(...content);
  return created;
}

function typeOf(schema) {
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.anyOf) return schema.anyOf.map(typeOf).join(" | ");
  if (schema.type === "array") return `[${typeOf(schema.items ?? {})}]`;
  return schema.format === "binary" ? "file" : (schema.type ?? "any");
}

/** Table of a body's fields: name, type, default, description. */
function fieldTable(schema) {
  const rows = Object.entries(schema.properties ?? {}).map(([name, field]) => {
    const isRequired = (schema.required ?? []).includes(name);
    const hasDefault = field.default !== undefined && field.default !== null;
    const presence = isRequired ? message("required") : hasDefault ? message("defaultValue", JSON.stringify(field.default)) : "";
    const cells = [element("code", name), typeOf(field), presence, field.description ?? ""];
    return element("tr", ...cells.map((cell) => element("td", cell)));
  });
  return element("table", ...rows);
}

function routeArticle(path, method, route) {
  const article = element("article", element("h3", element("b", method.toUpperCase()), path));
  const content = Object.entries(route.requestBody?.content ?? {});
  if (route.description) article.append(element("p", route.description));
  if (content.length) {
    const [, { schema }] = content[0];
    article.append(fieldTable(schema), element("p", element("small", content.map(([mediaType]) => mediaType).join(", "))));
  }
  return article;
}

showTheme();
localizePage();
const { paths } = await (await fetch("openapi.json")).json();
const groups = new Map();
for (const [path, methods] of Object.entries(paths)) {
  for (const [method, route] of Object.entries(methods)) {
    const tag = route.tags?.[0] ?? "";
    groups.set(tag, [...(groups.get(tag) ?? []), routeArticle(path, method, route)]);
  }
}
for (const [tag, articles] of groups) document.querySelector("#api").append(element("h2", tag), ...articles);
