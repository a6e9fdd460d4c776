// Glossary entries as text: rows of two cells, as TSV or CSV.

/** Parses a file's text. The delimiter is a tab if there is one, else a semicolon or comma, with CSV's quoting. */
export function parseEntries(text) {
  const lines = text.split(/\r\n|\n|\r/).filter((line) => line.trim());
  if (text.includes("\t")) return lines.map((line) => cells(line.split("\t")));
  const first = lines[0]?.replace(/"[^"]*"/g, "") ?? "";
  const delimiter = first.includes(";") && !first.includes(",") ? ";" : ",";
  return lines.map((line) => cells(splitQuoted(line, delimiter)));
}

const cells = ([source, target = ""]) => [source.trim(), target.trim()];

function splitQuoted(line, delimiter) {
  const found = (delimiter + line).matchAll(new RegExp(`${delimiter}(?:"((?:[^"]|"")*)"|([^${delimiter}]*))`, "g"));
  return [...found].map(([, quoted, plain]) => (quoted !== undefined ? quoted.replaceAll('""', '"') : plain));
}

/** Removes a first row of `source` and `target`, or of the two languages, and puts the columns into the order of `pair`. */
export function withoutHeader(entries, pair) {
  const header = (entries[0] ?? []).map((cell) => cell.toLowerCase()).join();
  if (["source,target", pair.join()].includes(header)) return entries.slice(1);
  return header === [...pair].reverse().join() ? entries.slice(1).map(([first, second]) => [second, first]) : entries;
}

export function toTsv(entries) {
  return entries.map((entry) => entry.join("\t") + "\n").join("");
}

export function toCsv(entries) {
  const quote = (cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell);
  return entries.map((entry) => entry.map(quote).join(",") + "\r\n").join("");
}

/** Reads a text file in UTF-8, or in UTF-16 with a byte order mark, as spreadsheets write it. */
export async function readText(file) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const mark = bytes[0] * 256 + bytes[1];
  const encoding = { 0xfffe: "utf-16le", 0xfeff: "utf-16be" }[mark] ?? "utf-8";
  return new TextDecoder(encoding).decode(bytes);
}
