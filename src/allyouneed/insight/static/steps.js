// The computation of one head, from input to output, with the sentence's values; scale and mask can be switched.
import { columnNumber, headIndex, headsOf, layersOf, matrixAt, productSpread, rowStatistics, sides, softmaxSteps, spread, timesValues, widthsOf } from "./data.js";
import { cellTips, clipped, diverging, el, equationOf, headColour, heatmap, inHeadColour, number, scroller } from "./draw.js";
import { aboutTo, kindButtons, pairNames } from "./heads.js";
import { scalingExperiment } from "./scaling.js";
import { t } from "./texts.js";

const WIDEST = 900;

export function stepsView(data, state, set) {
  const section = el("section", {}, el("p", { class: "lead" }, t("stepsLead")));
  if (!data.stages) {
    section.append(el("p", { class: "card" }, t("noStages")));
    return section;
  }
  const head = headNumbers(data, state);
  const { rows, cols, query, key } = head;
  const options = (groups, chosen) => groups.map((g, i) => el("option", { value: i, selected: i === chosen }, `${i + 1} ${clipped(g.label, 24)}${g.next ? ` ▸ ${clipped(g.next, 14)}` : ""}`));
  const choice = (name, value, count, change) =>
    el("label", { class: "range" }, t(name), el("select", { id: `choose-${name}`, onchange: (event) => change(Number(event.target.value)) }, Array.from({ length: count }, (_, i) => el("option", { value: i, selected: i === value }, String(i + 1)))));
  section.append(
    el("div", { class: "tools" }, kindButtons(state, set),
      choice("layer", state.layer, layersOf(data, state.kind), (layer) => set({ layer, pins: [[layer, state.head]] })),
      choice("head", state.head, headsOf(data, state.kind), (h) => set({ head: h, pins: [[state.layer, h]] }))),
    el("div", { class: "trail" },
      el("label", { class: "range" }, t("query"), el("select", { id: "choose-query", onchange: (e) => set({ query: Number(e.target.value) }) }, options(rows, query))),
      el("label", { class: "range" }, t("key"), el("select", { id: "choose-key", onchange: (e) => set({ key: Number(e.target.value) }) }, options(cols, key))),
      trail(head)),
    el("div", {}, stages(data, state, set, head)));
  return section;
}

/** Role and name of a heat map for screen readers; the table of the selected query has its numbers. */
const named = (name) => ({ role: "img", "aria-label": name });

/** All values that the stages of one head show. */
function headNumbers(data, state) {
  const { kind, layer, head, local } = state;
  const packed = data.stages[kind][layer];
  const [rows, cols] = sides(data, data.base, kind, false);
  const scores = matrixAt(packed.scores, head);
  const root = Math.sqrt(widthsOf(data, kind).d_k);
  const hides = kind === "decoder";
  const hidden = hides && local.mask ? (i, j) => j > i : () => false;
  const divisor = (local.scale ? root : 1) * local.temperature;
  const other = (local.scale ? 1 : root) * local.temperature;
  const query = Math.min(state.query ?? Math.min(1, rows.length - 1), rows.length - 1);
  const { scaled, weights } = softmaxSteps(scores, divisor, hidden);
  const strongest = weights.values.slice(query * weights.cols, (query + 1) * weights.cols);
  const key = Math.min(state.key ?? strongest.indexOf(Math.max(...strongest)), cols.length - 1);
  const values = matrixAt(packed.values, head);
  const masked = { ...scaled, values: scaled.values.map((x, at) => (hidden(Math.floor(at / scaled.cols), at % scaled.cols) ? -Infinity : x)) };
  return {
    packed, rows, cols, scores, scaled, masked, weights, values, hidden, hides, divisor, root, query, key, local, head,
    counter: softmaxSteps(scores, other, hidden).weights, colour: headColour(head, headsOf(data, kind)),
    queries: matrixAt(packed.queries, head), keys: matrixAt(packed.keys, head), out: timesValues(weights, values),
  };
}

function trail({ scores, scaled, weights, query, key, hidden, local, root }) {
  const at = query * scores.cols + key;
  const out = hidden(query, key);
  const by = local.scale ? `÷ ${number(root, 2)}` : t("notDivided");
  return el("div", { class: "flow", "aria-live": "polite" },
    el("span", {}, "q·k ="), el("b", { "data-number": "score" }, number(scores.values[at])),
    el("span", {}, local.temperature === 1 ? by : `÷ (${local.scale ? `${number(root, 2)} · ` : ""}${number(local.temperature, 2)})`), el("b", { "data-number": "scaled" }, number(scaled.values[at])),
    el("span", {}, t("masked")), el("b", {}, out ? "−∞" : t("visible")),
    el("span", {}, "softmax"), el("b", { "data-number": "weight" }, number(weights.values[at], 4)));
}

function stages(data, state, set, head) {
  const { kind, local } = state;
  const { packed, rows, cols, query, key, colour, root } = head;
  const { d_model, norm } = data.model;
  const { d_k, d_v } = widthsOf(data, kind);
  const heads = headsOf(data, kind);
  const pick = (i, j) => set({ query: i, key: j });
  const [n, m] = [rows.length, cols.length];
  const vectors = (packedMatrix, labels, marked, name, index = 0, rowPick) => {
    const matrix = packedMatrix.values ? packedMatrix : matrixAt(packedMatrix, index);
    const tip = (i, k) => [number(matrix.values[i * matrix.cols + k], 3), `${labels[i].label} · ${columnNumber(matrix, k) + 1}`, aboutTo(labels[i]), name];
    const note = matrix.cols < matrix.of ? ` · ${t("thinned", matrix.cols, matrix.of)}` : "";
    return figure(matrix, heatmap(matrix, diverging(matrix), { ...named(name), ...cellTips(matrix, tip, rowPick) }), `${name}${note}`, { row: marked }, 8, labels);
  };
  const square = (matrix, paint, name, digits = 3) => {
    const tip = (i, j) => [head.hidden(i, j) && !["S", "S′"].includes(name) ? t("hidden") : number(matrix.values[i * matrix.cols + j], digits), ...pairNames(rows[i], cols[j])];
    return figure(matrix, heatmap(matrix, paint, { ...named(name), ...cellTips(matrix, tip, pick) }), name === "A" ? "" : name, { row: query, col: key }, 22, rows, cols);
  };
  const byRow = (i) => set({ query: i });
  const byKey = (j) => set({ key: j });
  const both = [rowStatistics(head.weights), rowStatistics(head.counter)];
  const [scaledOnes, plain] = local.scale ? both : [both[1], both[0]];
  const visible = (at) => !head.hidden(Math.floor(at / m), at % m);
  const range = diverging(head.scores, head.scaled); // one range for stages 3 to 5
  const scoreSpread = spread(head.scores.values, (at) => !head.hides || at % m <= Math.floor(at / m));
  const productsSpread = productSpread(head.queries, head.keys, head.hides);
  const ratio = scoreSpread / productsSpread;
  const memory = kind === "cross";
  const bias = (name) => (data.model.bias ? ` + b^${name}` : "");
  return [
    stage(1, "s1", (norm === "post" ? "x" : "x = LayerNorm(r)") + (memory ? ", memory" : ""), `[${n} × ${d_model}]`, t(norm === "post" ? "s1t" : "s1pre") + (memory ? " " + t("s1m") : ""),
      [vectors(packed.x, rows, query, "x", 0, byRow), memory && vectors(packed.memory, cols, key, "memory", 0, byKey)]),
    stage(2, "s2", ["Q", "K", "V"].map((to) => `${to} = ${memory && to !== "Q" ? "memory" : "x"} W^${to}${bias(to)}`).join("\u2003"), `[${n} × ${d_k}] [${m} × ${d_k}] [${m} × ${d_v}]`, t("s2t"),
      [vectors(head.queries, rows, query, "Q", 0, byRow), vectors(head.keys, cols, key, "K", 0, byKey), vectors(head.values, cols, key, "V", 0, byKey)]),
    stage(3, "s3", "S = Q Kᵀ", `[${n} × ${m}]`, t("s3t", d_k), [square(head.scores, range, "S"), products(head)],
      [el("p", { class: "note", id: "spread-note" }, t("s3n", number(productsSpread), number(scoreSpread), number(ratio, 2), number(root, 2), d_k))]),
    stage(4, "s4", `S′ = ${dividedBy(local)}`, `[${n} × ${m}]`, t("s4t", d_k, number(root, 2)), [square(head.scaled, range, "S′")], [
      toggle("local-scale", t("divide"), local.scale, () => set({ local: { ...local, scale: !local.scale } })),
      temperature(state, set),
      el("p", { class: "note" }, t("s4n", number(spread(head.scores.values, visible), 2), number(spread(head.scaled.values, visible), 2))),
      scalingExperiment(data, state, set)]),
    stage(5, "s5", head.hides && local.mask ? "S′ + M" : "S′", `[${n} × ${m}]`, head.hides ? t("s5future") : t("s5none"),
      [head.hides && square(head.masked, range, local.mask ? "S′ + M" : "S′")],
      [head.hides ? toggle("local-mask", t("future_mask"), local.mask, () => set({ local: { ...local, mask: !local.mask } }))
        : el("button", { class: "quiet", id: "to-decoder", onclick: () => set({ kind: "decoder", layer: 0, pins: [[0, state.head]], query: null, key: null }, "#local-mask") }, t("s5see"))]),
    stage(6, "s6", head.hides && local.mask ? "A = softmax(S′ + M)" : "A = softmax(S′)", `[${n} × ${m}]`, t("s6t"), [square(head.weights, inHeadColour(colour), "A", 4)], [
      el("p", { class: "note", id: "softmax-note" }, t("s6n", number(scaledOnes.entropy), number(plain.entropy), number(scaledOnes.jacobian), number(plain.jacobian), number(1 / root))),
      gradientNote(data, state), rowTable(head, byKey)]),
    stage(7, "s7", "A V", `[${n} × ${d_v}]`, t("s7t"), [vectors(head.out, rows, query, "A V", 0, byRow)]),
    stage(8, "s8", "Concat(head₁, …)", `[${n} × ${heads * d_v}]`, t("s8t", heads), [concat(packed, state.head, rows, query)], [el("p", { class: "note" }, t("s8note"))]),
    stage(9, "s9", `Concat W^O${bias("O")}`, `[${n} × ${d_model}]`, t("s9t"), [vectors(packed.output, rows, query, "Concat W^O", 0, byRow)]),
    stage(10, "s10", norm === "post" ? `LayerNorm(x + Concat W^O${bias("O")})` : `r + Concat W^O${bias("O")}`, `[${n} × ${d_model}]`, t(norm === "post" ? "s10post" : "s10pre"),
      [vectors(packed.result, rows, query, "result", 0, byRow)]),
  ];
}

/** The division of stage 4, as the switches set it. */
function dividedBy({ scale, temperature }) {
  if (temperature === 1) return scale ? "S / √d_k" : "S";
  const by = number(temperature, 2);
  return scale ? `S / (√d_k · ${by})` : `S / ${by}`;
}

/** The gradient of the loss with respect to the selected head's W^Q and W^K, computed by autograd over several sentences. */
function gradientNote(data, { kind, layer, head }) {
  if (!data.effects) return null;
  const { gradients, sentences } = data.effects;
  const at = headIndex(data, kind, layer, head);
  const pair = (norms) => [norms.scale[at], norms.no_scale[at]].map((x) => String(x));
  return el("p", { class: "note", id: "gradient-note" }, equationOf(t("s6g", ...pair(gradients.trained), sentences)), " ", gradients.initial && t("s6i", ...pair(gradients.initial)));
}

function stage(no, name, formula, shape, text, matrices, more = []) {
  return el("div", { class: "stage", "data-stage": no }, el("div", { class: "no" }, String(no)),
    el("div", {}, el("h2", {}, t(name)), el("div", {}, el("span", { class: "formula" }, equationOf(formula)), el("span", { class: "shape" }, shape)),
      el("p", {}, equationOf(text)), el("div", { class: "mats" }, matrices), more));
}

/** labels, names: labels of the rows and columns, shown if there is room. */
function figure(matrix, canvas, caption, marked, cell, labels = [], names = []) {
  const size = Math.max(1, Math.min(cell, (cell > 10 ? 420 : WIDEST) / matrix.cols));
  const height = Math.max(5, Math.min(16, 360 / matrix.rows));
  const marks = [];
  const part = (count, at) => [`${(100 * at) / count}%`, `${100 / count}%`];
  if (marked?.row !== undefined) {
    const [top, h] = part(matrix.rows, marked.row);
    const [left, w] = marked.col === undefined ? ["0%", "100%"] : part(matrix.cols, marked.col);
    marks.push(el("span", { class: "mark", css: { top, left, width: w, height: h } }));
  }
  const row = cell > 10 ? size : height;
  const beside = row >= 10 && labels.length === matrix.rows && el("div", { class: "beside", "aria-hidden": "true", css: { "line-height": `${row}px` } }, labels.map((g, i) => el("span", { class: i === marked?.row ? "on" : null }, clipped(g.label, 11))));
  const above = size >= 10 && names.length === matrix.cols && el("div", { class: "above", "aria-hidden": "true" }, names.map((g, j) => el("span", { class: j === marked?.col ? "on" : null }, clipped(g.label, 9))));
  const width = `${Math.round(size * matrix.cols)}px`;
  return el("figure", {}, el("div", { class: "labelled" }, beside, el("div", { class: "mat-frame", css: { width } }, above, el("div", { class: "mat", css: { width, height: `${Math.round(row * matrix.rows)}px` } }, canvas, marks))), caption && el("figcaption", {}, equationOf(caption)));
}

/** The products of the components of one query and one key, whose sum is the score. */
function products({ queries, keys, query, key, scores }) {
  const values = queries.values.slice(query * queries.cols, (query + 1) * queries.cols).map((q, k) => q * keys.values[key * keys.cols + k]);
  const matrix = { rows: 1, cols: queries.cols, of: queries.of, values };
  const tip = (_, k) => [number(values[k]), `q${columnNumber(matrix, k) + 1} · k${columnNumber(matrix, k) + 1}`];
  const thin = matrix.cols < matrix.of ? ` · ${t("thinned", matrix.cols, matrix.of)}` : "";
  const cell = Math.max(3, Math.min(14, 448 / matrix.cols));
  return el("figure", {}, el("div", { class: "mat", css: { width: `${cell * matrix.cols}px`, height: "28px" } }, heatmap(matrix, diverging(matrix), { ...named("q·k"), ...cellTips(matrix, tip) })),
    el("figcaption", {}, `q·k = Σ = ${number(scores.values[query * scores.cols + key])}${thin}`));
}

function toggle(id, label, on, change) {
  return el("button", { class: "quiet", id, "aria-pressed": String(on), onclick: change }, label);
}

function temperature(state, set) {
  const { local } = state;
  return el("label", { class: "range", css: { "margin-left": ".8rem" } }, t("temperature"),
    el("input", { type: "range", id: "local-temperature", min: -3, max: 3, step: 0.25, value: Math.log2(local.temperature), oninput: (e) => set({ local: { ...local, temperature: 2 ** Number(e.target.value) } }) }),
    el("span", {}, number(local.temperature, 2)));
}

/** All keys of the selected query: score, scaled score, weight, and the weight with the opposite setting of the scale. */
function rowTable({ rows, cols, scores, scaled, weights, counter, query, key, hidden, hides, local, colour }, pick) {
  const first = query * scores.cols;
  const bar = (w, ghost) => el("span", { class: ghost ? "hbar ghost" : "hbar", css: { width: `${100 * w}%`, "--head": colour } });
  const order = cols.map((_, j) => j);
  const kept = cols.length > 40 ? order.sort((a, b) => weights.values[first + b] - weights.values[first + a]).slice(0, 40) : order;
  return el("div", {}, el("h3", { css: { margin: "1rem 0 .2rem" } }, t("rowOf", clipped(rows[query].label, 24)), rows[query].next && el("small", {}, ` ${aboutTo(rows[query])}`)),
    scroller(t("weight"), false, el("table", { class: "bars" },
      el("thead", {}, el("tr", {}, el("th", {}, t("key")), el("th", { class: "n" }, t("score")), el("th", { class: "n" }, equationOf(dividedBy(local) + (hides && local.mask ? " + M" : ""))), el("th", { class: "n" }, t("weight")), el("td", {}))),
      el("tbody", {}, kept.map((j) =>
        el("tr", { class: j === key ? "on" : null, onclick: () => pick(j) }, el("th", { scope: "row" }, clipped(cols[j].label, 20)), el("td", { class: "n" }, number(scores.values[first + j], 2)),
          el("td", { class: "n" }, hidden(query, j) ? "−∞" : number(scaled.values[first + j], 2)), el("td", { class: "n" }, number(weights.values[first + j])),
          el("td", { class: "w" }, bar(weights.values[first + j]), bar(counter.values[first + j], true))))))),
    el("p", { class: "note" }, t(local.scale ? "ghost" : "ghostScaled")));
}

function concat(packed, head, rows, query) {
  const [heads, n, width] = packed.heads.shape;
  const all = Array.from({ length: heads }, (_, h) => matrixAt(packed.heads, h));
  const values = new Float32Array(n * heads * width);
  all.forEach((one, h) => one.values.forEach((x, at) => (values[Math.floor(at / width) * heads * width + h * width + (at % width)] = x)));
  const matrix = { rows: n, cols: heads * width, of: heads * width, values };
  const tip = (i, k) => [number(values[i * matrix.cols + k]), rows[i].label, aboutTo(rows[i]), t("head") + " " + (Math.floor(k / width) + 1)];
  const drawn = figure(matrix, heatmap(matrix, diverging(matrix), { ...named("Concat"), ...cellTips(matrix, tip) }, 4096), "", { row: query }, 8, rows);
  drawn.querySelector(".mat").append(el("span", { class: "mark", css: { top: "0", height: "100%", left: `${(100 * head) / heads}%`, width: `${100 / heads}%` } }));
  return drawn;
}
