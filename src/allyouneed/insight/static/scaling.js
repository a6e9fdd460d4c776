// Why scale? Random queries and keys in the browser: the softmax and its gradient as d_k grows, with and without √d_k.
import { rowStatistics } from "./data.js";
import { el, number, scroller, svg } from "./draw.js";
import "./scaling_texts.js";
import { t } from "./texts.js";

const SCALE_WIDTHS = Array.from({ length: 10 }, (_, power) => 2 ** power);
const [SCALE_QUERIES, SCALE_KEYS] = [32, 32];
const SATURATED = 1e-3; // norm of the Jacobian below which a query counts as saturated
const SCALE_CHARTS = ["entropy", "largest", "jacobian", "gradient"];
const SCALE_NAMES = { entropy: "scale_entropy", largest: "scale_largest", jacobian: "scale_jacobian", gradient: "scale_gradient", gradientMedian: "scale_gradientMedian", saturated: "scale_saturated" };

/** Independent numbers with mean 0 and variance 1, the same for the same seed (mulberry32 and Box-Muller). */
export function normalNumbers(seed) {
  let a = seed >>> 0;
  const uniform = () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let x = Math.imul(a ^ (a >>> 15), a | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  return () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform());
}

/**
 * For one d_k, {with, without} the division by √d_k: means over queries of the entropy, the largest weight, the norm of
 * the softmax's Jacobian, and the norm of the gradient of Σ g_j p_j with respect to the query, for random g; its median;
 * the share of saturated queries; and the weights. The components of queries and keys are independent with variance 1.
 */
export function scaleRow(seed, d_k) {
  const random = normalNumbers(seed * 7919 + d_k);
  const draw = (length) => {
    const values = new Float64Array(length);
    for (let i = 0; i < length; i++) values[i] = random();
    return values;
  };
  const [queries, keys, g] = [draw(SCALE_QUERIES * d_k), draw(SCALE_KEYS * d_k), draw(SCALE_QUERIES * SCALE_KEYS)];
  const scores = new Float64Array(SCALE_QUERIES * SCALE_KEYS);
  for (let i = 0; i < SCALE_QUERIES; i++)
    for (let j = 0; j < SCALE_KEYS; j++) {
      let sum = 0;
      for (let k = 0; k < d_k; k++) sum += queries[i * d_k + k] * keys[j * d_k + k];
      scores[i * SCALE_KEYS + j] = sum;
    }
  const measured = (factor) => {
    const values = new Float64Array(scores.length);
    const gradients = [];
    let [largest, saturated] = [0, 0];
    for (let i = 0; i < SCALE_QUERIES; i++) {
      const at = i * SCALE_KEYS;
      const row = scores.subarray(at, at + SCALE_KEYS);
      const most = Math.max(...row);
      const exps = row.map((x) => Math.exp((x - most) * factor));
      const total = exps.reduce((a, b) => a + b, 0);
      const p = exps.map((x) => x / total);
      values.set(p, at);
      largest += Math.max(...p) / SCALE_QUERIES;
      if (rowStatistics({ rows: 1, cols: SCALE_KEYS, values: p }).jacobian < SATURATED) saturated += 1 / SCALE_QUERIES;
      const mean = p.reduce((sum, x, j) => sum + x * g[at + j], 0);
      const gradient = new Float64Array(d_k);
      for (let j = 0; j < SCALE_KEYS; j++) {
        const share = factor * p[j] * (g[at + j] - mean);
        if (Math.abs(share) > 1e-12) for (let k = 0, first = j * d_k; k < d_k; k++) gradient[k] += share * keys[first + k];
      }
      let squares = 0;
      for (let k = 0; k < d_k; k++) squares += gradient[k] * gradient[k];
      gradients.push(Math.sqrt(squares));
    }
    gradients.sort((a, b) => a - b);
    return { ...rowStatistics({ rows: SCALE_QUERIES, cols: SCALE_KEYS, values }), largest, saturated, values,
      gradient: gradients.reduce((a, b) => a + b, 0) / gradients.length, gradientMedian: gradients[gradients.length >> 1] };
  };
  return { d_k, with: measured(1 / Math.sqrt(d_k)), without: measured(1) };
}

const scaleDrawn = new Map();

function scaleRows(seed) {
  if (!scaleDrawn.has(seed)) scaleDrawn.set(seed, SCALE_WIDTHS.map((d_k) => scaleRow(seed, d_k)));
  return scaleDrawn.get(seed);
}

/** The experiment, closed until it is opened. */
export function scalingExperiment(data, state, set) {
  const open = state.scaleOpen ?? false;
  const summary = el("summary", { id: "scale-open", onclick: (event) => { event.preventDefault(); set({ scaleOpen: !open }); } }, t("scaleTry"));
  return open ? el("details", { class: "try", open: true }, summary, scalingParts(data, state, set)) : el("details", { class: "try" }, summary);
}

/** The experiment's parts. brief: entropy, largest weight and the weights only, for readers new to the subject. */
export function scalingParts(data, state, set, brief = false) {
  const nearest = Math.round(Math.log2(data.model.d_k));
  const place = state.scaleWidth ?? Math.max(0, Math.min(SCALE_WIDTHS.length - 1, nearest));
  const seed = state.scaleSeed ?? 1;
  const rows = scaleRows(seed);
  const row = rows[place];
  const show = (name, x) => (name === "saturated" ? `${Math.round(100 * x)} %` : number(x, name === "entropy" ? 2 : 3));
  const table = scroller(t("scaleTry"), false, el("table", { class: "plain", id: "scale-table" },
    el("thead", {}, el("tr", {}, el("th", { class: "text" }, `dₖ = ${row.d_k}`), el("th", {}, t("scaleWith")), el("th", {}, t("scaleWithout")))),
    el("tbody", {}, Object.keys(SCALE_NAMES).map((name) => el("tr", { "data-measure": name }, el("th", { class: "text", scope: "row" }, t(SCALE_NAMES[name])), el("td", {}, show(name, row.with[name])), el("td", {}, show(name, row.without[name])))))));
  return [
    el("p", {}, t(brief ? "scaleBrief" : "scaleTryText", SCALE_QUERIES, SCALE_KEYS, number(Math.log(SCALE_KEYS), 2))),
    el("div", { class: "tools" },
      el("label", { class: "range" }, "dₖ", el("input", { type: "range", id: "scale-width", min: 0, max: SCALE_WIDTHS.length - 1, value: place, "aria-valuetext": String(row.d_k), oninput: (e) => set({ scaleWidth: Number(e.target.value) }) }), el("b", { id: "scale-d_k" }, String(row.d_k))),
      el("button", { class: "quiet", id: "scale-again", onclick: () => set({ scaleSeed: seed + 1 }) }, t("scaleAgain"))),
    brief && weightSides(row),
    el("div", { class: "charts" }, (brief ? SCALE_CHARTS.slice(0, 2) : SCALE_CHARTS).map((name) => scaleChart(rows, name, place))),
    el("p", { class: "legend" }, el("span", {}, el("i", { class: "key solid" }), t("scaleWith")), el("span", {}, el("i", { class: "key dashed" }), t("scaleWithout"))),
    brief || [table, weightSides(row), lesson(rows.at(-1))],
  ];
}

/** The weights of the first query with and without the division. */
function weightSides(row) {
  return [el("div", { class: "sides keep" }, ["with", "without"].map((side) => el("div", {}, el("h3", {}, t(side === "with" ? "scaleWith" : "scaleWithout")), weightBars(row[side].values)))), el("p", { class: "note" }, t("scaleBars"))];
}

/** What the largest d_k shows. */
function lesson(row) {
  const pairs = ["largest", "jacobian", "gradient"].flatMap((name) => [number(row.with[name]), number(row.without[name])]);
  return el("p", { id: "scale-lesson" }, t("scaleLesson", row.d_k, ...pairs, `${Math.round(100 * row.without.saturated)} %`));
}

function scaleChart(rows, name, place) {
  const [width, height, left, bottom, top] = [230, 150, 34, 22, 26];
  const most = Math.max(...rows.flatMap((row) => [row.with[name], row.without[name]])) * 1.05;
  const x = (i) => left + ((width - left - 8) * i) / (rows.length - 1);
  const y = (value) => height - bottom - ((height - bottom - top) * value) / most;
  const line = (side) => rows.map((row, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(row[side][name]).toFixed(1)}`).join("");
  const tick = (i) => svg("text", { class: "soft", x: x(i), y: height - 6, "text-anchor": "middle" }, String(rows[i].d_k));
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": `${t(SCALE_NAMES[name])}: dₖ ${rows.map((row) => `${row.d_k}: ${number(row.with[name], 2)}, ${number(row.without[name], 2)}`).join("; ")}` },
    svg("text", { x: 2, y: 14 }, t(SCALE_NAMES[name])),
    [0, 0.5, 1].map((part) => svg("line", { x1: left, x2: width - 8, y1: y((part * most) / 1.05), y2: y((part * most) / 1.05), stroke: "var(--rule)" })),
    [0, 1].map((part) => svg("text", { class: "soft", x: left - 4, y: y((part * most) / 1.05) + 4, "text-anchor": "end" }, number((part * most) / 1.05, 1))),
    [0, 3, 6, 9].map(tick), svg("line", { x1: x(place), x2: x(place), y1: top, y2: height - bottom, stroke: "var(--faint)" }),
    svg("path", { d: line("without"), fill: "none", stroke: "#e2711d", "stroke-width": 2, "stroke-dasharray": "5 3" }), svg("path", { d: line("with"), fill: "none", stroke: "#4a7ce0", "stroke-width": 2 }),
    ["with", "without"].map((side) => svg("circle", { cx: x(place), cy: y(rows[place][side][name]), r: 3.5, fill: side === "with" ? "#4a7ce0" : "#e2711d" })));
}

/** The weights of the first query. */
function weightBars(values) {
  const [width, height] = [200, 56];
  return svg("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img", "aria-label": t("scaleBars") },
    Array.from({ length: SCALE_KEYS }, (_, j) => svg("rect", { x: (width * j) / SCALE_KEYS + 1, width: width / SCALE_KEYS - 2, y: height - 1 - (height - 2) * values[j], height: 1 + (height - 2) * values[j], fill: "var(--accent)" })));
}
