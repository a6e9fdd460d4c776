// Activation patching: heat maps of normalised effects, and what the model predicts with the selected cell.
import { integers, matrixAt, shown } from "./data.js";
import { clipped, el, hideTip, number, scroller, showTip } from "./draw.js";
import { headName } from "./heads.js";
import "./patching_texts.js";
import { t } from "./texts.js";

const SOURCE_MAPS = ["encoder stream", "encoder", "encoder feed-forward"];
const TARGET_MAPS = ["decoder stream", "decoder", "cross", "decoder feed-forward"];
const HEAD_MAPS = ["encoder heads", "decoder heads", "cross heads"];
const ALL_MAPS = [...SOURCE_MAPS, ...TARGET_MAPS, ...HEAD_MAPS];
const STRONGEST = 8;

/** state.patchPlace: index of the examined prediction; state.patchCell: [map, row, column] of the selected cell. */
export function patchingView(data, state, set) {
  const found = state.patched ?? data.patching;
  const section = el("section", {}, el("p", { class: "lead" }, t(found?.kind === "models" ? "ptLeadModels" : "ptLead")));
  if (state.fetchPatching) section.append(askCard(data, state, set));
  if (!found) return section;
  const at = Math.min(state.patchPlace ?? 0, found.places.length - 1);
  const ranking = rankedCells(found, at);
  const cell = state.patchCell ?? ranking.find(({ cell: [name] }) => !name.endsWith(" stream")).cell;
  const view = { found, at, place: found.places[at], cell, ranking, pick: (chosen) => set({ patchCell: chosen }) };
  section.append(
    sidesCard(view, set), cellCard(view),
    el("div", { class: "patches" },
      el("div", { class: "card" }, el("h2", {}, t("ptSource")), SOURCE_MAPS.map((name) => patchMap(view, name))),
      el("div", { class: "card" }, el("h2", {}, t("ptTarget")), TARGET_MAPS.map((name) => patchMap(view, name))),
      el("div", { class: "card" }, el("h2", {}, t("ptHeads")), HEAD_MAPS.map((name) => patchMap(view, name)), headStrip(view))),
    el("p", { class: "note", css: { margin: ".8rem 0 1rem" } }, t("ptScale"), " ", t("ptStreamNote"), found.counterparts.includes(-1) && " " + t("ptHatched"), " ", t("ptKeys"), !state.fetchPatching && found.kind === "sentences" && " " + t("ptFile")),
    strongestCard(view, ranking));
  return section;
}

/** A form that asks the server to patch this page's sentence into another one. */
function askCard(data, state, set) {
  const ask = (event) => {
    event.preventDefault();
    const request = (state.patchRequest = {});
    const done = (part) => state.patchRequest === request && set({ ...part, patchRequest: null });
    set({ patchProblem: null });
    state.fetchPatching(state.patchDraft ?? data.text).then((patched) => done({ patched, patchCell: null, patchPlace: 0 }), (error) => done({ patchProblem: t("failed", error.message) }));
  };
  const field = el("input", { id: "patch-other", type: "text", autocomplete: "off", value: state.patchDraft ?? data.text, oninput: (event) => (state.patchDraft = event.target.value) });
  return el("form", { class: "card", css: { "margin-bottom": "1rem" }, onsubmit: ask },
    el("label", { for: "patch-other" }, t("ptOther")), el("div", { class: "tools", css: { margin: ".3rem 0 0" } }, field, el("button", { class: "quiet", id: "patch-ask" }, t("ptRun"))),
    el("p", { class: "note", id: "patch-state", role: "status" }, state.patchProblem ?? t(state.patchRequest ? "ptRunning" : "ptAsk")));
}

const isHeads = (name) => name.endsWith(" heads");
const token = (piece) => shown(piece, true);

/** The labels of the columns of a map, and whether a column has a counterpart. */
function columnsOf({ found, place }, name) {
  if (isHeads(name)) return Array.from({ length: found.maps[name].effect.shape[2] }, (_, i) => ({ label: String(i + 1), known: true }));
  if (!name.startsWith("encoder")) return found.inputs.slice(0, place.position + 1).map((piece, i) => {
    const next = i < place.position ? token(found.inputs[i + 1]) : place.tokens.map(token).join("/");
    return { label: `${token(piece)} → ${next}`, known: true };
  });
  const [clean, corrupted] = found.sides.map((side) => side.tokens);
  return corrupted.map((piece, i) => {
    const partner = found.counterparts[i];
    const other = partner >= 0 && clean[partner] !== piece;
    return { label: other ? t("ptArrow", token(piece), token(clean[partner])) : token(piece), known: partner >= 0, differs: other || partner < 0 };
  });
}

const rowName = (name, row) => (name.endsWith(" stream") ? (row ? t("ptAfter", row) : t("ptEmbedding")) : t("ptLayer", row + 1));

/** What a cell patches, in words: map, layer, and position or head. */
function cellName(view, [name, row, column]) {
  if (isHeads(name)) return `${t("pt:" + name)}, ${headName(row, column)}`;
  return `${t("pt:" + name)}, ${rowName(name, row + view.found.maps[name].first)}, ${columnsOf(view, name)[column]?.label ?? "–"}`;
}

/** The effects of a map at one place; columns after the examined position cannot have one and are left out. */
function effectsAt(view, name) {
  const { cols, rows, values } = matrixAt(view.found.maps[name].effect, view.at);
  const kept = columnsOf(view, name);
  return { rows, kept, value: (row, column) => values[row * cols + column] };
}

function rankedCells(found, at) {
  const view = { found, at, place: found.places[at] };
  const cells = ALL_MAPS.flatMap((name) => {
    const { rows, kept, value } = effectsAt(view, name);
    return Array.from({ length: rows }, (_, row) => kept.flatMap(({ known }, column) => (known ? [{ cell: [name, row, column], effect: value(row, column) }] : []))).flat();
  });
  return cells.sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
}

function sidesCard({ found, at, place }, set) {
  const before = found.inputs.slice(0, place.position + 1);
  const [a, b] = place.tokens.map(token);
  const [clean, corrupted] = [place.clean, place.corrupted].map(([x, y]) => number(x - y, 2));
  return el("div", { class: "card" }, el("h2", {}, t("ptSides")),
    el("div", { class: "sides" }, found.sides.map((side, i) => el("div", {}, el("h3", {}, [t(i ? "ptInto" : "ptFrom"), side.name].filter(Boolean).join(": ")),
      el("p", { class: "translation" }, side.text), el("p", { class: "translation", css: { color: "var(--accent)" } }, side.translation || "∅")))),
    el("h3", { css: { "margin-top": ".8rem" } }, t("ptPlace")),
    el("div", { class: "tokens" }, found.places.map((each, i) => el("button", { "aria-pressed": String(i === at), "data-place": i, onclick: () => set({ patchPlace: i, patchCell: null }) }, t("ptVersus", ...each.tokens.map(token))))),
    el("p", { class: "note" }, t("ptPlaceNote", before.map((piece) => token(piece)).join(" "), a, b)),
    el("p", { class: "note" }, t("ptFormula", a, b, clean, corrupted)));
}

/** The most likely tokens with a cell, as [token, probability]. */
function topsWith(found, at, [name, row, column]) {
  const { tops, chances } = found.maps[name];
  const [, rows, columns, count] = tops.shape;
  const [indices, values] = [integers(tops.data, tops.bits), integers(chances.data, chances.bits)];
  const first = ((at * rows + row) * columns + column) * count;
  return Array.from({ length: count }, (_, i) => [found.pieces[indices[first + i]], values[first + i] / 65535]);
}

function topTable(title, tops, place) {
  return el("div", {}, el("h3", {}, title), el("table", { class: "bars" }, el("tbody", {}, tops.map(([piece, p]) =>
    el("tr", { class: place.tokens.includes(piece) ? "on" : null }, el("th", { scope: "row" }, clipped(token(piece), 14)), el("td", { class: "n" }, number(p)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * p}%` } })))))));
}

function cellCard(view) {
  const { found, at, place, cell } = view;
  const [name, row, column] = cell;
  const { value, kept } = effectsAt(view, name);
  const effect = kept[column] ? value(row, column) : 0;
  const tops = topsWith(found, at, cell);
  const stored = found.continued.find((each) => each.part === name && each.row === row && each.column === column);
  const changes = tops[0][0] !== place.tops[1][0][0];
  const text = at ? "" : stored ? t("ptText", stored.text, found.plain) : t(changes ? "ptNotStored" : "ptNoText");
  return el("div", { class: "card", id: "patch-cell", role: "status" },
    el("h2", {}, cellName(view, cell)),
    el("p", { class: "answer" }, `${t("ptEffect")} `, el("b", { "data-number": "effect" }, number(effect, 2))),
    el("div", { class: "trio" }, topTable(t("ptFrom"), place.tops[0], place), topTable(t("ptInto"), place.tops[1], place), topTable(t("ptPatched"), tops, place)),
    text && el("p", { class: "note" }, text));
}

const effectColour = (effect) =>
  `color-mix(in srgb, ${effect < 0 ? "#4a7ce0" : "#e2711d"} ${Math.round(100 * Math.min(1, Math.abs(effect)) ** 0.8)}%, var(--card))`;

function patchMap(view, name) {
  const { rows, kept, value } = effectsAt(view, name);
  const { first } = view.found.maps[name];
  const chosen = ([map, row, column]) => map === name && view.cell[0] === name && view.cell[1] === row && view.cell[2] === column;
  const inside = view.cell[0] === name;
  const cells = [];
  for (let row = 0; row < rows; row++) {
    cells.push(el("span", { class: "label row", title: rowName(name, row + first) }, String(name.endsWith(" stream") ? row + first : row + 1)));
    kept.forEach(({ label, known }, column) => {
      const effect = value(row, column);
      const title = isHeads(name) ? headName(row, column) : `${rowName(name, row + first)}, ${label}`;
      if (!known) cells.push(el("span", { class: "cell hatched", "data-tip": title }));
      else cells.push(el("button", { class: "cell", "aria-label": `${title}: ${number(effect, 2)}`, "aria-pressed": String(chosen([name, row, column])), "data-patch": `${name}.${row}.${column}`,
        tabindex: (inside ? chosen([name, row, column]) : row === 0 && column === kept.findIndex((c) => c.known)) ? 0 : -1, css: { background: effectColour(effect), "--head": "var(--ink)" } }));
    });
  }
  const pick = (event) => {
    const [, row, column] = event.target.dataset.patch?.split(".") ?? [];
    if (row !== undefined) view.pick([name, Number(row), Number(column)]);
  };
  const tip = (event) => {
    const text = event.target.getAttribute("aria-label");
    if (event.target.dataset.patch && text) showTip(event, ...[text.slice(0, text.lastIndexOf(":")), `${t("ptEffect")} ${text.slice(text.lastIndexOf(":") + 2)}`]);
    else if (event.target.dataset.tip) showTip(event, event.target.dataset.tip, "–");
  };
  const labels = [el("span"), ...kept.map(({ label, differs }) => el("span", { class: isHeads(name) ? "label" : differs ? "label up strong" : "label up", title: label }, isHeads(name) ? label : clipped(label, 22)))];
  const grid = el("div", { class: "grid patch", role: "group", "aria-label": t("pt:" + name), css: { "grid-template-columns": `1.2rem repeat(${kept.length}, minmax(.9rem, 2.1rem))` },
    onclick: pick, onpointerover: tip, onpointerleave: hideTip, onkeydown: (event) => moveBetween(event, name) }, labels, cells);
  return el("div", { class: "patch-map" }, el("h3", {}, t("pt:" + name)), scroller(isHeads(name) ? `${t("heads")}: ${t("pt:" + name)}` : t("pt:" + name), kept.length > 24, grid));
}

/** The effects of the selected head, or of the strongest one, at single positions; large models have too many. */
function headStrip(view) {
  if (!view.found.maps["cross head positions"]) return null;
  const strongest = () => view.ranking.find(({ cell }) => isHeads(cell[0])).cell;
  const [name, layer, head] = isHeads(view.cell[0]) ? view.cell : strongest();
  const map = name.replace(" heads", " head positions");
  const { kept, value } = effectsAt(view, map);
  const row = layer * view.found.maps[name].effect.shape[2] + head;
  const title = `${t("pt:" + name)}, ${headName(layer, head)}`;
  const cells = kept.map(({ label, known }, column) => el("span", known ? { class: "cell", role: "img", "aria-label": `${label}: ${number(value(row, column), 2)}`, css: { background: effectColour(value(row, column)) }, onpointerenter: (event) => showTip(event, label, `${t("ptEffect")} ${number(value(row, column), 2)}`), onpointerleave: hideTip } : { class: "cell hatched" }));
  return el("div", { class: "patch-map", id: "patch-strip" }, el("h3", {}, t("ptByPosition")), el("p", { class: "note", css: { margin: "0 0 .4rem" } }, title),
    el("div", { class: "grid patch", css: { "grid-template-columns": `repeat(${kept.length}, minmax(.9rem, 2.1rem))` } }, kept.map(({ label, differs }) => el("span", { class: differs ? "label up strong" : "label up", title: label }, clipped(label, 22))), cells));
}

/** Arrow keys: to the next cell in a direction, over hatched ones. */
function moveBetween(event, name) {
  const [down, right] = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key] ?? [];
  if (down === undefined || !event.target.dataset.patch) return;
  event.preventDefault();
  let [, row, column] = event.target.dataset.patch.split(".").map(Number);
  for (let steps = 0; steps < 64; steps++) {
    [row, column] = [row + down, column + right];
    const next = event.currentTarget.querySelector(`[data-patch="${name}.${row}.${column}"]`);
    if (next) return next.focus();
  }
}

function strongestCard(view, all) {
  const ranking = all.filter(({ cell: [name] }) => !name.endsWith(" stream")); // a stream sums up the layers below
  const largest = Math.max(1, Math.abs(ranking[0].effect));
  return el("div", { class: "card" }, el("h2", {}, t("ptStrongest")),
    scroller(t("ptStrongest"), false, el("table", { class: "bars" }, el("thead", {}, el("tr", {}, el("th", {}, t("ptWhat")), el("th", { class: "n" }, t("ptEffect")), el("td"))),
      el("tbody", {}, ranking.slice(0, STRONGEST).map(({ cell, effect }) =>
        el("tr", { onclick: () => view.pick(cell) }, el("th", { scope: "row" }, cellName(view, cell)), el("td", { class: "n" }, number(effect, 2)),
          el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${(100 * Math.abs(effect)) / largest}%`, "--head": effect < 0 ? "#4a7ce0" : "#e2711d" } }))))))));
}
