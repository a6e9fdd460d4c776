// Positional encodings (section 3.5): the table, its dot products, and a shift as a rotation. Sinusoids are computed here.
import { angleOf, columnNumber, matrixAt, positionComponent } from "./data.js";
import { cellTips, diverging, el, equationOf, grouped, heatmap, number, svg } from "./draw.js";
import { exponentOf } from "./formulas.js";
import { t } from "./texts.js";

const WIDEST_MAP = 560;

/** A heat map with a caption. tip(row, col): lines of the tooltip. labels, names: of the rows and the columns. */
export function mapFigure(matrix, { name, tip, pick, paint = diverging(matrix), cell = 9, height = cell, labels = [], names = [], marked = {}, caption }) {
  const width = Math.max(0.5, Math.min(cell, WIDEST_MAP / matrix.cols));
  const mark = (row, col) => el("span", { class: "mark", css: { top: `${(100 * (row ?? 0)) / matrix.rows}%`, height: `${row === undefined ? 100 : 100 / matrix.rows}%`, left: `${(100 * (col ?? 0)) / matrix.cols}%`, width: `${col === undefined ? 100 : 100 / matrix.cols}%` } });
  return el("figure", { class: "map" }, el("div", { class: "labelled" },
    labels.length > 0 && el("div", { class: "beside low", "aria-hidden": "true", css: { "line-height": `${height}px` } }, labels.map((label, i) => el("span", { class: i === marked.row ? "on" : null }, label))),
    el("div", { class: "framed-map" }, names.length > 0 && el("div", { class: "map-names", "aria-hidden": "true", css: { width: `${Math.round(width * matrix.cols)}px` } }, names.map((label, j) => el("span", { class: j === marked.col ? "on" : null }, label))),
      el("div", { class: "mat", css: { width: `${Math.round(width * matrix.cols)}px`, height: `${Math.round(height * matrix.rows)}px` } },
        heatmap(matrix, paint, { role: "img", "aria-label": name, ...cellTips(matrix, tip, pick) }), (marked.row ?? marked.col) !== undefined && mark(marked.row, marked.col)))),
    caption && el("figcaption", {}, equationOf(caption)));
}

/** PE of the first positions as a matrix. model: d_model, frequencies and first_position. */
export function sinusoidTable(length, model) {
  const width = model.d_model;
  return { rows: length, cols: width, of: width, values: Float64Array.from({ length: length * width }, (_, at) => positionComponent(Math.floor(at / width), at % width, model)) };
}

/** Dot products of all rows. */
export function rowProducts({ rows, cols, values }) {
  const products = new Float64Array(rows * rows);
  for (let i = 0; i < rows; i++)
    for (let j = i; j < rows; j++) {
      let sum = 0;
      for (let k = 0; k < cols; k++) sum += values[i * cols + k] * values[j * cols + k];
      products[i * rows + j] = products[j * rows + i] = sum;
    }
  return { rows, cols: rows, values: products };
}

/** Largest difference between two dot products of positions at the same distance. */
export function diagonalSpread({ rows, values }) {
  let largest = 0;
  for (let i = 1; i < rows; i++) for (let j = i; j < rows; j++) largest = Math.max(largest, Math.abs(values[i * rows + j] - values[(i - 1) * rows + j - 1]));
  return largest;
}

/** The hand (sine, cosine) turned by an angle: the matrix R of a shift. */
export const turned = ([sine, cosine], angle) => [Math.cos(angle) * sine + Math.sin(angle) * cosine, Math.cos(angle) * cosine - Math.sin(angle) * sine];

/** Largest difference of R_k PE(pos) and PE(pos + k) over all pairs and positions. */
export function rotationError(table, shift, model) {
  const { rows, cols, values } = table;
  let largest = 0;
  for (let k = 0; k < cols; k += 2) {
    const angle = angleOf(k / 2, model);
    const [c, s] = [Math.cos(shift * angle), Math.sin(shift * angle)];
    for (let at = k, pos = shift + model.first_position; at < rows * cols; at += cols, pos++) {
      const sine = c * values[at] + s * values[at + 1] - Math.sin(pos * angle);
      const cosine = c * values[at + 1] - s * values[at] - Math.cos(pos * angle);
      largest = Math.max(largest, Math.abs(sine), Math.abs(cosine));
    }
  }
  return largest;
}

const tables = new Map(); // by length: rendering again must not compute again

function sinusoidFacts(length, model) {
  if (!tables.has(length)) {
    const table = sinusoidTable(length, model);
    const products = rowProducts(table);
    tables.set(length, { table, products, spread: diagonalSpread(products) });
  }
  return tables.get(length);
}

const slider = (id, label, low, high, value, said, set) =>
  el("label", { class: "range" }, label, el("input", { type: "range", id, min: low, max: high, value, oninput: (event) => set(Number(event.target.value)) }), el("span", {}, said));

export function positionsPart(data, own, change) {
  const learned = data.inside.positions;
  if (learned) return learnedPositions(learned, own, change);
  const { model } = data;
  const width = model.d_model;
  const length = own.length ?? 48;
  const { table, products, spread } = sinusoidFacts(length, model);
  const turns = [0, width / 2 - 1].map((pair) => (2 * Math.PI) / angleOf(pair, model));
  const remarks = [model.frequencies === "tensor2tensor" && t("peFrequencies"), model.first_position > 0 && t("peFirst", model.first_position)];
  const exponent = exponentOf(model);
  return [
    el("div", { class: "card" }, el("h2", {}, t("peTitle")), el("p", { class: "told" }, t("peWhy", number(turns[0], 1), grouped(Math.round(turns[1]))), ...remarks.filter(Boolean).map((remark) => ` ${remark}`)),
      el("p", { class: "formula" }, equationOf(`PE(pos, 2i) = sin(pos / 10000^{${exponent}})`), ",\u2003", equationOf(`PE(pos, 2i+1) = cos(pos / 10000^{${exponent}})`), el("small", {}, equationOf(`  d = d_{model} = ${width}`))),
      slider("pe-length", t("peLength"), 8, 128, length, String(length), (x) => change({ length: x })),
      tableFigure(table, model.first_position)),
    el("div", { class: "card" }, el("h2", {}, t("dotTitle")), el("p", { class: "told" }, equationOf(t("dotText", width / 2, spread.toExponential(1)))),
      el("div", { class: "mats" }, productsFigure(products, model.first_position), distanceChart(products))),
    shiftCard(table, model, own, change)];
}

function tableFigure(table, first = 0) {
  const tip = (i, k) => [number(table.values[i * table.cols + k]), t("pePosition", first + i, columnNumber(table, k))];
  const thin = table.cols < table.of ? ` ${t("thinned", table.cols, table.of)}` : "";
  return mapFigure(table, { name: "PE", tip, height: Math.max(3, Math.min(9, 380 / table.rows)), caption: t("peMap") + thin });
}

function productsFigure(products, first = 0) {
  const tip = (i, j) => [number(products.values[i * products.cols + j], 2), `PE(${first + i}) · PE(${first + j})`, t("dotDistance", Math.abs(i - j))];
  const cell = 300 / products.rows;
  return mapFigure(products, { name: "PE · PEᵀ", tip, cell, height: cell });
}

/** Dot product against distance, from the first row. */
function distanceChart({ rows, values }) {
  const [width, height, left] = [330, 190, 40];
  const low = Math.min(0, ...values.slice(0, rows));
  const high = values[0];
  const x = (d) => left + ((width - left - 10) * d) / (rows - 1);
  const y = (value) => 12 + ((height - 40) * (high - value)) / (high - low);
  const points = Array.from({ length: rows }, (_, d) => `${x(d).toFixed(1)},${y(values[d]).toFixed(1)}`).join(" ");
  return el("figure", { class: "curve" }, el("figcaption", {}, t("dotAxis")), svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": t("dotAxis") },
    svg("line", { class: "axis", x1: left, x2: width - 10, y1: y(0), y2: y(0) }),
    svg("text", { class: "soft", x: left - 6, y: y(high) + 4, "text-anchor": "end" }, number(high, 0)), svg("text", { class: "soft", x: left - 6, y: y(0) + 4, "text-anchor": "end" }, "0"),
    svg("text", { class: "soft", x: x(0), y: height - 4 }, "0"), svg("text", { class: "soft", x: width - 10, y: height - 4, "text-anchor": "end" }, String(rows - 1)),
    svg("polyline", { points, css: { stroke: "var(--accent)" } })));
}

/** One pair of dimensions as the hand of a clock: its end at PE(pos) and at PE(pos + k). */
function shiftCard(table, model, own, change) {
  const { rows, cols: width } = table;
  const first = model.first_position;
  const [pair, shift] = [Math.min(own.pair ?? 2, width / 2 - 1), own.shift ?? 3];
  const from = Math.min(own.from ?? 1, rows - 1);
  const angle = angleOf(pair, model);
  const hand = (index) => [positionComponent(index, 2 * pair, model), positionComponent(index, 2 * pair + 1, model)];
  const [start, moved] = [hand(from), turned(hand(from), shift * angle)];
  const [c, s] = [Math.cos(shift * angle), Math.sin(shift * angle)].map((x) => number(x));
  const minus = s.startsWith("−") ? s.slice(1) : `−${s}`;
  const pairText = ([sine, cosine]) => `(${number(sine)}, ${number(cosine)})`;
  const place = ([sine, cosine]) => [130 + 100 * cosine, 130 - 100 * sine];
  const handLine = (end, colour, dash) => svg("line", { x1: 130, y1: 130, x2: place(end)[0], y2: place(end)[1], css: { stroke: colour, "stroke-width": 3, "stroke-dasharray": dash } });
  const degrees = number((shift * angle * 180) / Math.PI, 1);
  return el("div", { class: "card" }, el("h2", {}, t("shiftTitle")),
    el("p", { class: "told" }, equationOf(t("shiftText", rows, width / 2, rotationError(table, shift, model).toExponential(1), exponentOf(model)))),
    el("div", { class: "tools" }, slider("pe-pair", t("shiftPair"), 0, width / 2 - 1, pair, String(pair), (x) => change({ pair: x })),
      slider("pe-shift", t("shiftBy"), -16, 16, shift, String(shift).replace("-", "−"), (x) => change({ shift: x })), slider("pe-from", t("shiftFrom"), 0, rows - 1, from, String(from), (x) => change({ from: x }))),
    el("div", { class: "mats" },
      svg("svg", { class: "clock", viewBox: "0 0 260 260", role: "img", "aria-label": `PE(${first + from}) = ${pairText(start)}, PE(${first + from + shift}) = ${pairText(moved)}` },
        svg("circle", { cx: 130, cy: 130, r: 100, class: "rim" }),
        Array.from({ length: Math.min(rows, 48) }, (_, pos) => svg("circle", { cx: place(hand(pos))[0], cy: place(hand(pos))[1], r: 2.4, class: "tick" })),
        handLine(start, "var(--accent)"), handLine(moved, "#e2711d", "7 4"),
        svg("text", { class: "soft", x: 236, y: 134 }, "cos"), svg("text", { class: "soft", x: 130, y: 22, "text-anchor": "middle" }, "sin")),
      el("div", {}, el("p", { class: "note" }, t("shiftTurn", number((2 * Math.PI) / angle, 1), shift, degrees)),
        el("table", { class: "bars" }, el("tbody", {},
          el("tr", {}, el("th", { scope: "row" }, `PE(${first + from})`), el("td", { class: "n", "data-number": "from" }, pairText(start))),
          el("tr", {}, el("th", { scope: "row" }, "R", el("sub", {}, "k")), el("td", { class: "n" }, `(${c}, ${s}; ${minus}, ${c})`)),
          el("tr", {}, el("th", { scope: "row" }, "R", el("sub", {}, "k"), ` PE(${first + from})`), el("td", { class: "n", "data-number": "turned" }, pairText(moved))),
          el("tr", {}, el("th", { scope: "row" }, `PE(${first + from + shift})`), el("td", { class: "n", "data-number": "moved" }, pairText(hand(from + shift)))))))));
}

function learnedPositions(learned, own, change) {
  const side = own.side ?? "source";
  const table = matrixAt(learned[side].table);
  return [el("div", { class: "card" }, el("h2", {}, t("peTitle")), el("p", { class: "told" }, t("peLearned")), sideButtons(side, change), tableFigure(table)),
    el("div", { class: "card" }, el("h2", {}, "PE · PEᵀ"), el("p", { class: "told" }, t("dotLearned")), productsFigure(matrixAt(learned[side].products)))];
}

export const sideButtons = (side, change) =>
  el("div", { class: "tools" }, el("div", { class: "seg" }, ["source", "target"].map((each) => el("button", { id: `inside-${each}`, "aria-pressed": String(each === side), onclick: () => change({ side: each, token: null }) }, t(each === "source" ? "ofSource" : "ofTarget")))));
