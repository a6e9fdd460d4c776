// Figure 1 as a drawing whose boxes can be selected: each shows what it computes for the page's sentence.
import { headsOf, layersOf, matrixAt, sides, weightsAt } from "./data.js";
import { cellTips, diverging, el, equationOf, heatmap, hideTip, number, showTip, svg } from "./draw.js";
import { activationFormula, activationName, feedForwardFormula } from "./formulas.js";
import { t } from "./texts.js";

const BOX_WIDTH = 150;
const BOX_HEIGHT = 30;

/** Boxes of both stacks from bottom to top: [name, y]. A box's text is the text `boxNAME`, its explanation `boxNAMEText`. */
const STACKS = {
  encoder: { x: 20, boxes: [["Embed", 412], ["SelfAttention", 318], ["AddNorm1", 284], ["FeedForward", 236], ["AddNorm2", 202]], layer: [186, 362] },
  decoder: { x: 230, boxes: [["Embed", 412], ["MaskedAttention", 318], ["AddNorm1", 284], ["CrossAttention", 228], ["AddNorm2", 194], ["FeedForward", 146], ["AddNorm3", 112], ["Linear", 60], ["Softmax", 26]], layer: [96, 362] },
};
const FIRST_BOX = { encoder: "SelfAttention", decoder: "CrossAttention" };

/** The drawing, with the given stack selectable, and the selected box's values in the chosen layer. */
export function architecture(data, state, set, stack) {
  const names = STACKS[stack].boxes.map(([name]) => name);
  const chosen = names.includes(state.box) ? state.box : FIRST_BOX[stack];
  const layers = layersOf(data, stack);
  const layer = Math.min(state.layer, layers - 1);
  const choice = el("label", { class: "range" }, t("layer"), el("select", { id: "guide-layer", onchange: (event) => set({ layer: Number(event.target.value) }) }, Array.from({ length: layers }, (_, i) => el("option", { value: i, selected: i === layer }, String(i + 1)))));
  return [el("div", { class: "two" }, drawing(data, stack, chosen, set), el("div", {}, el("div", { class: "tools" }, choice), el("h3", {}, t(`box${chosen}`)), el("p", { class: "told" }, equationOf(boxText(data.model, chosen))), ...boxValues(data, stack, chosen, layer, state, set)))];
}

function boxText(model, box) {
  if (box !== "FeedForward") return t(`box${box}Text`);
  const name = model.activation === "relu" ? "boxFeedForwardText" : "boxFeedForwardOtherText";
  return t(name, feedForwardFormula(model), activationFormula(model), activationName(model));
}

function drawing(data, stack, chosen, set) {
  const frame = ([top, bottom], x) => svg("rect", { x: x - 10, y: top, width: BOX_WIDTH + 34, height: bottom - top, rx: 12, class: "layer" });
  const picture = svg("svg", { class: "architecture", viewBox: "0 0 440 460", role: "group", "aria-label": t("figure1") });
  for (const [name, { x, boxes, layer }] of Object.entries(STACKS)) {
    const middle = x + BOX_WIDTH / 2;
    picture.append(frame(layer, x), svg("text", { class: "soft", x: x + BOX_WIDTH + 20, y: layer[0] + 14, "text-anchor": "end" }, `× ${layersOf(data, name)}`), svg("path", { d: `M${middle} 448V${boxes.at(-1)[1]}` }), svg("text", { class: "soft", x: middle, y: 458, "text-anchor": "middle" }, t(name === "encoder" ? "inputs" : "outputsShifted")));
    for (const [box, y] of boxes) {
      if (/^AddNorm/.test(box)) picture.append(svg("path", { class: "residual", d: residual(boxes, box, x) }));
      if (box === "CrossAttention") picture.append(svg("path", { d: `M${STACKS.encoder.x + BOX_WIDTH / 2} 202V176H${x - 28}V${y + 15}H${x}` }));
      picture.append(boxOf(box, x, y, name === stack, box === chosen && name === stack, set));
    }
  }
  return el("div", {}, picture);
}

/** The path of a residual connection around the sub-layer below an add & norm box. */
function residual(boxes, box, x) {
  const at = boxes.findIndex(([name]) => name === box);
  const [top, below] = [boxes[at][1] + BOX_HEIGHT / 2, boxes[at - 1][1] + BOX_HEIGHT + 9];
  return `M${x + BOX_WIDTH / 2} ${below}H${x + BOX_WIDTH + 14}V${top}H${x + BOX_WIDTH}`;
}

function boxOf(box, x, y, selectable, on, set) {
  const act = selectable ? { role: "button", tabindex: 0, "aria-pressed": String(on), "data-box": box, onclick: () => set({ box }), onkeydown: (event) => [" ", "Enter"].includes(event.key) && (event.preventDefault(), set({ box })) } : {};
  return svg("g", { class: ["box", selectable && "selectable", on && "on", /Attention/.test(box) ? "attention" : /FeedForward/.test(box) ? "forward" : ""].filter(Boolean).join(" "), ...act },
    svg("rect", { x, y, width: BOX_WIDTH, height: BOX_HEIGHT, rx: 6 }), svg("text", { x: x + BOX_WIDTH / 2, y: y + 19.5, "text-anchor": "middle" }, t(`box${box}`)));
}

/** What a box computes: a matrix with a row per token, or the words that encoder-decoder attention reads. */
function boxValues(data, stack, box, layer, state, set) {
  if (box === "CrossAttention") return readWords(data, layer, state, set);
  if (box === "Linear" || box === "Softmax") return [];
  const { encoder, decoder, cross } = data.stages;
  const [rows] = sides(data, data.base, stack, false);
  const next = (layers) => (layers[layer + 1] ? (layers[layer + 1].residual ?? layers[layer + 1].x) : null);
  const own = stack === "encoder" ? encoder : decoder;
  const packed = {
    Embed: own[0].residual ?? own[0].x, SelfAttention: own[layer].output, MaskedAttention: own[layer].output, AddNorm1: own[layer].result,
    FeedForward: null, AddNorm2: stack === "encoder" ? (next(encoder) ?? cross[0].memory) : cross[layer].result, AddNorm3: next(decoder),
  }[box];
  if (!packed) return [];
  const matrix = matrixAt(packed);
  const tip = (i, k) => [number(matrix.values[i * matrix.cols + k]), rows[i].label];
  const line = Math.max(11, Math.min(18, 360 / matrix.rows));
  return [el("div", { class: "labelled" }, el("div", { class: "beside", "aria-hidden": "true", css: { "line-height": `${line}px` } }, rows.map((row) => el("span", {}, row.label))),
    el("div", { class: "mat", css: { width: "100%", height: `${line * matrix.rows}px` } }, heatmap(matrix, diverging(matrix), { role: "img", "aria-label": t(`box${box}`), ...cellTips(matrix, tip) }))),
    el("p", { class: "note" }, t("rowsNote"))];
}

/** For a chosen position of the decoder, the source shaded by the mean weight of the layer's heads. */
function readWords(data, layer, state, set) {
  const [queries, keys] = sides(data, data.base, "cross", false);
  const at = Math.min(state.guideTarget ?? 0, queries.length - 1);
  const heads = Array.from({ length: headsOf(data, "cross") }, (_, head) => weightsAt(data.base.attention.cross, layer, head));
  const mean = (j) => heads.reduce((sum, { values, cols }) => sum + values[at * cols + j], 0) / heads.length;
  return [el("div", { class: "tokens" }, queries.map((query, i) => el("button", { "aria-pressed": String(i === at), "data-token": i, onclick: () => set({ guideTarget: i }) }, query.label))),
    el("p", { class: "words" }, keys.map((key, j) => el("span", { class: "word shade", css: { "--w": `${Math.round(70 * mean(j))}%` }, onpointerenter: (event) => showTip(event, number(mean(j)), key.label), onpointerleave: hideTip }, key.label, " ", el("small", {}, number(mean(j), 2))))),
    el("p", { class: "note" }, t("meanOf", layer + 1))];
}
