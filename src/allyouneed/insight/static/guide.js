// The guided path through section 3 of the paper, with the values of the page's sentence. A step is a picture, three
// sentences and an equation; steps whose data is absent are left out.
import { columnNumber, headsOf, matrixAt, positionComponent, shown, sides, softmaxSteps, timesValues, weightsAt, widthsOf } from "./data.js";
import { cellTips, clipped, diverging, el, equationOf, grouped, headColour, heatmap, inHeadColour, number, scroller, svg } from "./draw.js";
import { architecture } from "./architecture.js";
import { embeddingFormula, scaledName } from "./formulas.js";
import { headGrid, headName, linesFigure } from "./heads.js";
import { scalingParts } from "./scaling.js";
import { treeCard } from "./search.js";
import "./guide_texts.js";
import { t } from "./texts.js";
import { trainedBriefly } from "./twins.js";

/** The steps in the order of the paper. needs(data): whether the page has the data for the picture. */
const GUIDE = [
  { name: "embed", section: "3.4, 3.5", needs: (data) => data.stages, picture: embedPicture },
  { name: "project", section: "3.2", needs: (data) => data.stages, picture: projectPicture },
  { name: "attend", section: "3.2.1", equation: "Attention(Q, K, V) = softmax(Q K^T / √d_k) V", needs: (data) => data.stages, picture: attendPicture },
  { name: "why", section: "3.2.1", equation: "Var(q · k) = d_k,  Var(q · k / √d_k) = 1", needs: () => true, picture: whyPicture },
  { name: "masks", section: "3.2.3", equation: "softmax(Q K^T / √d_k + M) V,  M = 0 or −∞", needs: () => true, picture: masksPicture },
  { name: "many", section: "3.2.2", equation: "MultiHead(Q, K, V) = Concat(head_1, …, head_h) W^O", needs: () => true, picture: manyPicture },
  { name: "encode", section: "3.1", equation: "LayerNorm(x + Sublayer(x))", needs: (data) => data.stages, picture: (data, state, set) => architecture(data, state, set, "encoder") },
  { name: "decode", section: "3.1, 3.2.3", equation: "Q from the decoder, K and V from the encoder", needs: (data) => data.stages, picture: (data, state, set) => architecture(data, state, set, "decoder") },
  { name: "nextToken", section: "3.4", equation: "p(token) = softmax(x E^T)", needs: (data) => data.base.predictions, picture: nextPicture },
  { name: "beam", section: "6.1", equation: "score = log p / ((5 + length) / 6)^α", needs: (data) => data.search, picture: (data, state, set) => [treeCard(data, state, set)] },
];

/** The equation of the projections, for models with a norm before attention or with biases too. */
function projections({ norm, bias }) {
  const x = norm === "post" ? "x" : "x′";
  const each = ["Q", "K", "V"].map((name) => `${name.toLowerCase()} = ${x} W^${name}${bias ? ` + b^${name}` : ""}`);
  return [...(norm === "post" ? [] : ["x′ = LayerNorm(x)"]), ...each].join(",  ");
}

/** The equation of a step, which depends on the model. */
function guideEquation({ model }, { name, equation }) {
  if (name === "embed") return embeddingFormula(model);
  if (name === "project") return projections(model);
  if (name === "decode") return t("decodeEquation");
  return name === "encode" && model.norm !== "post" ? "x + Sublayer(LayerNorm(x))" : equation;
}

/** Whether the page's sentence shows the two summands of the first layer's input. */
const showsSum = ({ positions, embedding_norm }) => positions === "sinusoidal" && !embedding_norm;

/** The text of a step, which depends on the model. */
function guideText(data, name) {
  const { model } = data;
  const values = guideValues(data, name);
  if (name !== "embed") return t(name === "encode" && model.norm !== "post" ? "encodePreText" : `${name}Text`, ...values);
  const parts = ["embedText", model.scaled && "embedScaled", model.positions === "sinusoidal" ? "embedSines" : "embedLearned", model.embedding_norm && "embedNormed", showsSum(model) ? "embedStrips" : "embedStrip"];
  return parts.filter(Boolean).map((part) => t(part, ...values)).join(" ");
}

export function guideView(data, state, set) {
  const steps = GUIDE.filter((step) => step.needs(data));
  const at = Math.min(state.guide ?? 0, steps.length - 1);
  const { name, section, picture } = steps[at];
  const go = (to) => set({ guide: to, kind: "encoder", layer: 0, pins: [[0, state.head]] }, `#guide-${to}`);
  const leave = (tab) => set({ tab }, `#tab-${tab}`);
  return el("section", { class: "guide" },
    el("p", { class: "lead" }, t("guideLead")),
    el("ol", { class: "path", "aria-label": t("guide") }, steps.map((step, i) => el("li", {}, el("button", { id: `guide-${i}`, "data-step-name": step.name, "aria-current": i === at ? "step" : null, onclick: () => go(i) }, el("span", {}, String(i + 1)), equationOf(t(`${step.name}Step`)))))),
    el("div", { class: "card", "data-guide": name },
      el("h2", {}, `${at + 1}. `, equationOf(t(`${name}Step`)), el("small", {}, t("section", section))),
      el("p", { class: "told" }, equationOf(guideText(data, name))),
      el("p", { class: "formula" }, equationOf(guideEquation(data, steps[at]))),
      picture(data, state, set),
      el("div", { class: "tools turn" },
        el("button", { class: "quiet", id: "guide-back", disabled: at === 0, onclick: () => go(at - 1) }, `← ${t("back")}`),
        el("span", { class: "shape" }, `${at + 1} / ${steps.length}`),
        at + 1 < steps.length ? el("button", { class: "quiet", id: "guide-on", onclick: () => go(at + 1) }, `${t("onward")} →`) : el("button", { class: "quiet", id: "guide-on", onclick: () => leave("heads") }, `${t("exploreAll")} →`))));
}

/** Values of the placeholders of a step's text. */
function guideValues(data, name) {
  const { d_model, d_k, heads, encoder_layers, decoder_layers } = data.model;
  return { embed: [d_model], project: [d_model, d_k], attend: [number(Math.sqrt(d_k), 2)], many: [heads, d_model], encode: [encoder_layers], decode: [decoder_layers], nextToken: [grouped(data.model.vocabulary)], beam: [data.search?.beam_size] }[name] ?? [];
}

/** Buttons for tokens; `name` is the key of the state with the chosen index. */
function tokenButtons(groups, chosen, name, set) {
  return el("div", { class: "tokens" }, groups.map((group, i) => el("button", { "aria-pressed": String(i === chosen), "data-token": i, onclick: () => set({ [name]: i }) }, group.label)));
}

const chosenToken = (state, name, groups) => Math.min(state[name] ?? 0, groups.length - 1);

/** A vector as a strip of coloured cells; strips that are compared share `range`, a matrix whose largest magnitude is opaque. */
function strip(label, values, range, columns = values.length) {
  const matrix = { rows: 1, cols: values.length, of: columns, values };
  const tip = (_, k) => [number(values[k]), `${label} · ${columnNumber(matrix, k) + 1}`];
  return el("div", { class: "strip" }, el("span", {}, equationOf(label)), el("div", { class: "mat" }, heatmap(matrix, diverging(range), { role: "img", "aria-label": label, ...cellTips(matrix, tip) })));
}

const rowOf = ({ values, cols }, row) => values.slice(row * cols, (row + 1) * cols);

function embedPicture(data, state, set) {
  const [groups] = sides(data, data.base, "encoder", false);
  const token = chosenToken(state, "guideToken", groups);
  const first = data.stages.encoder[0];
  const x = matrixAt(first.residual ?? first.x);
  const sum = rowOf(x, token);
  const tokens = tokenButtons(groups, token, "guideToken", set);
  if (!showsSum(data.model)) return [tokens, strip("x", sum, { values: sum }, x.of)];
  const position = sum.map((_, k) => positionComponent(token, columnNumber(x, k), data.model));
  const embedding = sum.map((value, k) => value - position[k]);
  const range = { values: [...sum, ...embedding, ...position] };
  return [tokens, strip(scaledName(data.model), embedding, range, x.of), strip(`PE(${token})`, position, range, x.of), strip("x", sum, range, x.of),
    el("p", { class: "note" }, t("stripNote"), " ", x.cols < x.of ? t("thinned", x.cols, x.of) : "")];
}

/** The first layer's head that the guide shows, with its matrices. */
function guideHead(data, state) {
  const head = Math.min(state.guideHead ?? 0, data.model.heads - 1);
  const packed = data.stages.encoder[0];
  return { head, packed, ...Object.fromEntries(["queries", "keys", "values", "scores"].map((name) => [name, matrixAt(packed[name], head)])), colour: headColour(head, data.model.heads) };
}

function headChoice(data, head, set) {
  return el("label", { class: "range" }, t("head"), el("select", { id: "guide-head", onchange: (event) => set({ guideHead: Number(event.target.value) }) }, Array.from({ length: data.model.heads }, (_, i) => el("option", { value: i, selected: i === head }, String(i + 1)))));
}

function projectPicture(data, state, set) {
  const [groups] = sides(data, data.base, "encoder", false);
  const token = chosenToken(state, "guideToken", groups);
  const { head, packed, queries, keys, values } = guideHead(data, state);
  const x = matrixAt(packed.x);
  const prenorm = data.model.norm !== "post";
  const [q, k, v] = [queries, keys, values].map((matrix) => rowOf(matrix, token));
  const range = { values: [...q, ...k, ...v] };
  return [el("div", { class: "tools" }, headChoice(data, head, set)), tokenButtons(groups, token, "guideToken", set), strip(prenorm ? "x′" : "x", rowOf(x, token), { values: rowOf(x, token) }, x.of),
    strip("q", q, range, queries.of), strip("k", k, range, keys.of), strip("v", v, range, values.of), prenorm ? el("p", { class: "note" }, t("projectPre")) : ""];
}

/** One query with all keys: products, scaled scores, weights, and the weighted values whose sum is the output. */
function attendPicture(data, state, set) {
  const [groups] = sides(data, data.base, "encoder", false);
  const token = chosenToken(state, "guideToken", groups);
  const { head, scores, values, colour } = guideHead(data, state);
  const { scaled, weights } = softmaxSteps(scores, Math.sqrt(data.model.d_k), () => false);
  const [products, divided, shares] = [scores, scaled, weights].map((matrix) => rowOf(matrix, token));
  const out = rowOf(timesValues(weights, values), token);
  const range = { values: [...values.values] };
  const cell = (vector) => el("div", { class: "mat" }, heatmap({ rows: 1, cols: vector.length, values: vector }, diverging(range), { "aria-hidden": "true" }));
  const rows = groups.map((group, j) => el("tr", {}, el("th", { scope: "row" }, group.label), el("td", { class: "n" }, number(products[j], 2)), el("td", { class: "n" }, number(divided[j], 2)),
    el("td", { class: "n", "data-guide-weight": j }, number(shares[j])), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * shares[j]}%`, "--head": colour } })), el("td", { class: "v", css: { opacity: 0.15 + 0.85 * shares[j] } }, cell(rowOf(values, j)))));
  const heading = el("thead", {}, el("tr", {}, el("th", {}, t("key")), el("th", { class: "n" }, "q·k"), el("th", { class: "n" }, "÷ √dₖ"), el("th", { class: "n" }, "softmax"), el("td", {}), el("th", {}, "v")));
  const last = el("tr", { class: "sum" }, el("th", { scope: "row" }, t("weightedSum")), el("td", {}), el("td", {}), el("td", { class: "n" }, number(1)), el("td", {}), el("td", { class: "v" }, cell(out)));
  return [el("div", { class: "tools" }, el("span", { class: "shape" }, t("query")), headChoice(data, head, set)), tokenButtons(groups, token, "guideToken", set),
    scroller(t("weight"), false, el("table", { class: "bars" }, heading, el("tbody", {}, rows, last)))];
}

function whyPicture(data, state, set) {
  return [...scalingParts(data, state, set, true), el("p", { class: "note" }, t("whyMore"), " ", el("button", { class: "quiet", onclick: () => set({ tab: "switches" }, "#tab-switches") }, t("switches"))), trainedBriefly(data, "scale", set)];
}

const ATTENTIONS = ["encoder", "decoder", "cross"];

/** The three uses of attention as small matrices with what each masks; the chosen one is enlarged below. */
function masksPicture(data, state, set) {
  const chosen = state.guideMask ?? "decoder";
  const head = Math.min(state.guideHead ?? 0, data.model.heads - 1, headsOf(data, chosen) - 1);
  const colour = headColour(head, headsOf(data, chosen));
  const off = chosen === "decoder" && state.guideUnmasked;
  const weightsOf = (kind) => {
    if (!(kind === "decoder" && state.guideUnmasked && data.stages)) return weightsAt(data.base.attention[kind], 0, Math.min(head, headsOf(data, kind) - 1));
    return softmaxSteps(matrixAt(data.stages.decoder[0].scores, head), Math.sqrt(widthsOf(data, "decoder").d_k), () => false).weights;
  };
  const small = ATTENTIONS.filter((kind) => data.base.attention[kind]).map((kind) => el("button", { class: "place", "aria-pressed": String(kind === chosen), "data-place": kind, onclick: () => set({ guideMask: kind }) },
    el("b", {}, t(kind)), maskedMap(weightsOf(kind), colour, kind === "decoder" && !state.guideUnmasked, headName(0, head)), el("small", {}, t(`${kind}Hides`))));
  const toggle = chosen === "decoder" && data.stages && el("button", { class: "quiet", id: "guide-unmask", "aria-pressed": String(!off), onclick: () => set({ guideUnmasked: !off }) }, t("future_mask"));
  return [el("div", { class: "places" }, small), el("div", { class: "tools" }, headChoice(data, head, set), toggle || null), el("p", { class: "told" }, t(off ? "unmaskedText" : `${chosen}MaskText`)), off && trainedBriefly(data, "future_mask", set)];
}

/** A heat map whose masked cells are hatched. */
function maskedMap(weights, colour, masked, name) {
  const { rows, cols } = weights;
  const hatch = masked && svg("svg", { class: "hatch", viewBox: `0 0 ${cols} ${rows}`, preserveAspectRatio: "none", "aria-hidden": "true" }, Array.from({ length: Math.min(rows, cols - 1) }, (_, i) => svg("rect", { x: i + 1, y: i, width: cols - i - 1, height: 1 })));
  return el("span", { class: "mat", css: { "aspect-ratio": `${cols} / ${rows}`, width: "100%" } }, heatmap(weights, inHeadColour(colour), { role: "img", "aria-label": name }), hatch || null);
}

function manyPicture(data, state, set) {
  const head = Math.min(state.head, data.model.heads - 1);
  const layer = Math.min(state.layer, data.model.encoder_layers - 1);
  const choose = (l, h) => set({ layer: l, head: h, pins: [[l, h]] });
  return [el("div", { class: "two" },
    headGrid(data, data.base, "encoder", { choose, chosen: (l, h) => l === layer && h === head }),
    el("div", {}, el("h3", {}, headName(layer, head)), linesFigure(data, data.base, "encoder", [[layer, head]], state.joined)))];
}

/** The tokens of the translation; for the chosen one, the most likely tokens at its position. */
function nextPicture(data, state, set) {
  const groups = data.target.tokens.map((token, i) => ({ label: shown(token, i === 0) }));
  const at = chosenToken(state, "guideTarget", groups);
  const before = data.target.inputs.slice(0, at + 1).map((token, i) => shown(token, i === 1)).join(" ");
  const rows = data.base.predictions.top[at].map(([token, p]) => el("tr", { class: token === data.target.tokens[at] ? "on" : null }, el("th", { scope: "row" }, shown(token, at === 0)), el("td", { class: "n" }, number(p)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * p}%` } }))));
  return [tokenButtons(groups, at, "guideTarget", set), el("p", { class: "note" }, t("afterPrefix", clipped(before, 90))),
    scroller(t("theNext"), false, el("table", { class: "bars", id: "guide-next" }, el("tbody", {}, rows)))];
}
