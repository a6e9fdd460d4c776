// What a layer has besides attention: positional encoding, embeddings, feed-forward units, the residual stream.
import { matrixAt, positionComponent, shown } from "./data.js";
import { clipped, diverging, el, equationOf, inHeadColour, number, scroller } from "./draw.js";
import { embeddingFormula, scaledName } from "./formulas.js";
import { stateName } from "./lens.js";
import { mapFigure, positionsPart, sideButtons } from "./positions.js";
import "./inside_texts.js";
import { t } from "./texts.js";
import { stackButtons, stackTokens, unitsPart } from "./units.js";

const PARTS = new Map([["insidePositions", positionsPart], ["insideEmbeddings", embeddingsPart], ["insideUnits", unitsPart], ["insideStream", streamPart]]);

export function insideView(data, state, set) {
  const own = { part: "insidePositions", ...state.inside };
  const change = (part, focus) => set({ inside: { ...own, ...part } }, focus);
  return el("section", {}, el("p", { class: "lead" }, t("insideLead")),
    el("div", { class: "tools" }, [...PARTS.keys()].map((part) => el("button", { class: "quiet", id: part, "aria-pressed": String(own.part === part), onclick: () => change({ part }) }, t(part)))),
    el("div", { class: "stack guide" }, PARTS.get(own.part)(data, own, change)));
}

const meanOfValues = (values) => values.reduce((a, b) => a + b, 0) / values.length;

const tokenChoice = (tokens, chosen, change) =>
  el("div", { class: "tokens" }, tokens.map((g, i) => el("button", { "data-token": i, "aria-pressed": String(i === chosen), onclick: () => change({ token: i }) }, clipped(g.label, 18))));

function embeddingsPart(data, own, change) {
  const side = own.side ?? "source";
  const of = data.inside.embeddings[side];
  const tokens = stackTokens(data, side === "source" ? "encoder" : "decoder");
  const token = Math.min(own.token ?? 1, tokens.length - 1);
  const root = Math.sqrt(data.model.d_model);
  const [embedded, position] = [0, 1].map((k) => meanOfValues(of.lengths.map((row) => row[k])));
  return [
    el("div", { class: "card" }, el("h2", {}, t("sumTitle")), el("p", { class: "told" }, equationOf(t(data.model.scaled ? "sumText" : "sumUnscaledText", ...[root, embedded, embedded / root, position].map((x) => number(x, 2))))),
      el("p", { class: "formula" }, equationOf(embeddingFormula(data.model))), sideButtons(side, change),
      el("div", { class: "mats" }, sumFigures(data, of, tokens, token, (i) => change({ token: i }))), lengthTable(data.model, of, tokens)),
    el("div", { class: "card", id: "neighbours" }, el("h2", {}, t("nearTitle", tokens[token].label)), tokenChoice(tokens, token, change),
      el("table", { class: "bars" }, el("thead", {}, el("tr", {}, el("th", {}, t("lensToken")), el("th", { class: "n" }, t("cosine")), el("td", {}))),
        el("tbody", {}, of.neighbours[token].map(([piece, cosine]) => el("tr", {}, el("th", { scope: "row" }, clipped(shown(of.pieces[piece]), 22)), el("td", { class: "n" }, number(cosine)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * Math.max(0, cosine)}%` } })))))),
      el("p", { class: "note" }, t("nearText")))];
}

/** Embeddings, positional encodings and their sum, in one range of colours. */
function sumFigures(data, of, tokens, token, pick) {
  const scaled = matrixAt(of.scaled);
  const { rows, cols } = scaled;
  const encodings = of.positions ? matrixAt(of.positions).values : scaled.values.map((_, at) => positionComponent(Math.floor(at / cols), of.columns[at % cols], data.model));
  const sum = scaled.values.map((x, at) => x + encodings[at]);
  const paint = diverging({ values: [...scaled.values, ...encodings, ...sum] });
  const thin = cols < data.model.d_model ? ` · ${t("thinned", cols, data.model.d_model)}` : "";
  return [scaled.values, encodings, sum].map((values, k) => [summandNames(data.model)[k], values]).map(([name, values], k) =>
    mapFigure({ rows, cols, values }, { name, paint, cell: cols > 64 ? 2.6 : 5, height: 13, marked: { row: token }, pick, caption: name + thin, labels: k ? [] : tokens.map((g) => clipped(g.label, 11)),
      tip: (i, j) => [number(values[i * cols + j]), `${tokens[i].label} · ${of.columns[j]}`] }));
}

/** Names of both summands and of the sum, which is the first layer's input unless it is normalised. */
const summandNames = (model) => [scaledName(model), "PE", model.embedding_norm ? `${scaledName(model)} + PE` : "x"];

function lengthTable(model, of, tokens) {
  const largest = Math.max(...of.lengths.flat());
  const names = summandNames(model);
  return scroller(t("lengthsOf"), false, el("table", { class: "bars", id: "lengths" },
    el("thead", {}, el("tr", {}, el("th", {}, t("lengthsOf")), names.map((name) => [el("th", { class: "n" }, equationOf(name)), el("td", {})]))),
    el("tbody", {}, tokens.map((g, i) => el("tr", {}, el("th", { scope: "row" }, clipped(g.label, 16)), of.lengths[i].map((x) => [el("td", { class: "n" }, number(x, 2)), el("td", { class: "w narrow" }, el("span", { class: "hbar", css: { width: `${(100 * x) / largest}%` } }))]))))));
}

function streamPart(data, own, change) {
  const stack = own.stack ?? "encoder";
  const of = data.inside.stream[stack];
  const tokens = stackTokens(data, stack);
  const token = Math.min(own.token ?? 1, tokens.length - 1);
  const [residual, output, sum, result, cosine] = ["residual", "output", "sum", "result", "cosine"].map((name) => matrixAt(of[name]));
  const { rows, cols } = residual;
  const share = { rows, cols, values: output.values.map((x, at) => x / Math.max(1e-9, residual.values[at])) };
  const largest = Math.max(...share.values);
  const shade = inHeadColour("#e2711d");
  const names = of.sites.map((site) => stateName(site, true));
  const tip = (i, j) => [number(share.values[i * cols + j], 2), `${names[i]} · ${tokens[j].label}`];
  const ends = [meanOfValues([...residual.values.slice(0, cols)]), meanOfValues([...result.values.slice(-cols)])].map((x) => number(x, 2));
  const post = data.model.norm === "post";
  const biggest = Math.max(...sum.values);
  const columns = [["‖x‖", residual], ["‖Sublayer‖", output], ["‖x + Sublayer‖", sum], ...(post ? [["‖LayerNorm‖", result]] : [])];
  const bar = (x) => el("span", { class: "hbar", css: { width: `${(100 * x) / biggest}%` } });
  return [
    el("div", { class: "card" }, el("h2", {}, t("streamTitle")), el("p", { class: "told" }, t(post ? "streamPost" : "streamPre", ...ends)),
      el("p", { class: "formula" }, post ? "LayerNorm(x + Sublayer(x))" : "x + Sublayer(LayerNorm(x))"), el("div", { class: "tools" }, stackButtons(stack, change)),
      scroller(t("streamTitle"), false, mapFigure(share, { name: t("streamTitle"), tip, pick: (_, j) => change({ token: j }), paint: { ...shade, alpha: (x) => shade.alpha(x / largest) }, cell: 26, height: 17, labels: names, names: tokens.map((g) => clipped(g.label, 9)), marked: { col: token } })),
      el("p", { class: "note" }, t("streamMap")), tokenChoice(tokens, token, change)),
    el("div", { class: "card" }, el("h2", {}, t("streamOf", tokens[token].label)),
      scroller(t("streamOf", tokens[token].label), false, el("table", { class: "bars", id: "stream" },
        el("thead", {}, el("tr", {}, el("td", {}), columns.map(([name]) => [el("th", { class: "n" }, name), el("td", {})]), el("th", { class: "n" }, "cos"))),
        el("tbody", {}, names.map((name, i) => el("tr", {}, el("th", { scope: "row" }, name), columns.map(([, matrix]) => [el("td", { class: "n" }, number(matrix.values[i * cols + token], 2)), el("td", { class: "w narrow" }, bar(matrix.values[i * cols + token]))]), el("td", { class: "n" }, number(cosine.values[i * cols + token], 2))))))),
      el("p", { class: "note" }, t("streamNote")))];
}
