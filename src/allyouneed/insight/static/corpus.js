// All heads over a corpus: a sortable table, and examples for each head. Data: see `corpus_heads.py`.
import { focusKey, pageButtons, tokenMarks } from "./frame.js";
import { headsOf, shown } from "./data.js";
import { el, grouped, headColour, number, svg } from "./draw.js";
import { labelled } from "./heads.js";
import { saveButtons } from "./picture.js";
import { startLanguage, t } from "./texts.js";

const COLUMNS = ["entropy", "distance", "previous", "next", "same", "period", "end", "aer", "importance"];

export function startCorpus(root, data) {
  const first = data.heads.reduce((best, row, place) => (row.importance > data.heads[best].importance ? place : best), 0);
  const state = { sort: "importance", descending: true, chosen: first };
  startLanguage();
  /** Keep the focus, and the scroll position unless the order has changed. */
  const draw = (sorted = false) => {
    const focus = focusKey(root);
    const { scrollLeft = 0, scrollTop = 0 } = root.querySelector(".tall") ?? {};
    root.replaceChildren(...page());
    root.querySelector(".tall").scrollTo(scrollLeft, sorted ? 0 : scrollTop);
    if (focus) root.querySelector(focus)?.focus({ preventScroll: true });
  };
  const set = (part) => {
    Object.assign(state, part);
    draw("sort" in part);
  };
  function page() {
    const rows = data.heads.map((row, place) => ({ ...row, place }));
    const value = (row) => (state.sort === "head" ? row.place : (row[state.sort] ?? (state.descending ? -Infinity : Infinity)));
    rows.sort((a, b) => (state.descending ? value(b) - value(a) : value(a) - value(b)) || a.place - b.place);
    const view = el("div", { css: { "margin-top": "1.2rem" } }, el("div", { class: "card scroll tall", tabindex: 0, role: "region", "aria-label": t("allHeads") }, table(data, rows, state, set)),
      el("p", { class: "note" }, t("corpusNote", data.importance_sentences), " ", data.aligner ? t("aerNote", t(data.aligner)) : ""), examples(data, state));
    return [
      el("header", { class: "top" }, el("div", {}, el("div", { class: "bar" }, el("h1", { class: "name" }, `allyouneed · ${t("title")}`), ...pageButtons(() => draw())),
        el("div", { class: "pair" }, el("p", {}, t("corpusTitle"))), el("p", { class: "facts" }, t("corpusLead", grouped(data.sentences))))),
      el("main", {}, view, saveButtons(() => view, "heads"), el("footer", {}, t("footer"))),
    ];
  }
  draw();
}

function table(data, rows, state, set) {
  const most = Object.fromEntries(COLUMNS.map((name) => [name, Math.max(1e-9, ...data.heads.map((row) => row[name] ?? 0))]));
  const top = (name, css) => el("th", { class: css, scope: "col", "aria-sort": state.sort === name ? (state.descending ? "descending" : "ascending") : null },
    el("button", { "data-sort": name, onclick: () => set({ sort: name, descending: state.sort === name ? !state.descending : !["head", "aer"].includes(name) }) }, t(name)));
  const cell = (row, name) => {
    const share = name === "aer" ? 1 - row.aer : Math.max(0, row[name] ?? 0) / most[name];
    return el("td", { css: { background: row[name] === null ? null : `color-mix(in srgb, ${headColour(row.head, headsOf(data, row.kind))} ${Math.round(38 * share)}%, transparent)` } }, row[name] === null ? "–" : number(row[name], 3));
  };
  return el("table", { class: "plain", id: "heads" }, el("thead", {}, el("tr", {}, top("head", "text"), COLUMNS.map((name) => top(name)))),
    el("tbody", {}, rows.map((row) => el("tr", { class: row.place === state.chosen ? "on" : null },
      el("th", { class: "text", scope: "row" }, el("button", { "data-row": row.place, onclick: () => set({ chosen: row.place }) }, el("i", { class: "dot", css: { "--head": headColour(row.head, headsOf(data, row.kind)) } }), `${t(row.kind)} ${t("headShort", row.layer + 1, row.head + 1)}`)), COLUMNS.map((name) => cell(row, name))))));
}

/** The strongest lines of one head in a few sentences. */
function examples(data, state) {
  const row = data.heads[state.chosen];
  const name = `${t(row.kind + "Long")}, ${t("headName", row.layer + 1, row.head + 1)}`;
  return el("div", { css: { margin: "1.6rem 0" } }, el("h2", {}, t("examples", name)), el("div", { class: "mats" }, row.examples.map((example) => drawn(data, row, example))), row.kind !== "encoder" && el("p", { class: "note" }, t("nextLabels")),
    tokenMarks(row.examples.flatMap(({ sentence }) => Object.values(data.examples[sentence]))));
}

function drawn(data, row, { sentence, lines }) {
  const { source, target } = data.examples[sentence];
  const inputs = ["<s>", ...target.slice(0, -1)]; // queries and keys of the decoder are its inputs
  const left = row.kind === "encoder" ? source : inputs;
  const right = row.kind === "decoder" ? inputs : source;
  const [width, gap, end, start] = [344, 20, 132, 212];
  const y = (i) => 12 + gap * (i + 0.5);
  const text = (label, x, i, anchor, next = null) => svg("text", { x, y: y(i) + 4, "text-anchor": anchor }, labelled({ label, next }, 17));
  const next = (i) => (left === inputs ? shown(target[i], i === 0) : null);
  const colour = headColour(row.head, headsOf(data, row.kind));
  return el("div", { class: "card", css: { margin: 0 } }, svg("svg", { viewBox: `0 0 ${width} ${24 + gap * Math.max(left.length, right.length)}`, width, css: { "max-width": "100%" }, role: "img", "aria-label": left.join(" ").replaceAll("▁", " ") },
    lines.map(([i, j, w]) => svg("path", { d: `M${end} ${y(i)}C${end + 36} ${y(i)} ${start - 36} ${y(j)} ${start} ${y(j)}`, fill: "none", stroke: colour, "stroke-opacity": 0.1 + 0.9 * w, "stroke-width": 0.7 + 4 * w, "stroke-linecap": "round" })),
    left.map((label, i) => text(shown(label, i === (left === inputs ? 1 : 0)), end - 6, i, "end", next(i))), right.map((label, j) => text(shown(label, j === (right === inputs ? 1 : 0)), start + 6, j, "start"))));
}
