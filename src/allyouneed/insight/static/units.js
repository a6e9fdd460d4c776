// Feed-forward units (equation 2): activations, the tokens that excite a unit, and the tokens that it writes.
import { matrixAt, shown, sides } from "./data.js";
import { clipped, el, equationOf, inHeadColour, number, scroller } from "./draw.js";
import { activationName, feedForwardFormula } from "./formulas.js";
import { mapFigure } from "./positions.js";
import { t } from "./texts.js";

/** Tokens of a stack: those of the source, or the decoder's inputs. */
export const stackTokens = (data, stack) => sides(data, data.base, stack, false)[0];

export const stackButtons = (stack, change) =>
  el("div", { class: "seg" }, ["encoder", "decoder"].map((each) => el("button", { id: `stack-${each}`, "aria-pressed": String(each === stack), onclick: () => change({ stack: each, layer: 0, unit: null, token: null }) }, t(each === "encoder" ? "ofEncoder" : "ofDecoder"))));

export function unitsPart(data, own, change) {
  const { units, relu } = data.inside;
  const stack = own.stack ?? "encoder";
  const d_ff = data.inside.d_ff[stack];
  const layer = Math.min(own.layer ?? 0, units[stack].length - 1);
  const of = units[stack][layer];
  const tokens = stackTokens(data, stack);
  const h = matrixAt(of.activations);
  const at = Math.min(own.unit ?? 0, h.cols - 1);
  const added = { ...h, values: h.values.map((x, i) => Math.abs(x) * of.lengths[i % h.cols]) };
  const largest = Math.max(...added.values);
  const shade = inHeadColour("#e2711d");
  const tip = (i, j) => [number(added.values[i * h.cols + j]), `${tokens[i].label} · ${t("ffUnits")} ${of.units[j]}`, `${t("activation")} ${number(h.values[i * h.cols + j])}`];
  return [
    el("div", { class: "card" }, el("h2", {}, t("ffTitle", d_ff)), el("p", { class: "told" }, equationOf(t("ffText", d_ff, of.units.length)), relu ? "" : " " + t("ffOther", activationName(data.model))),
      el("p", { class: "formula" }, equationOf(feedForwardFormula(data.model))),
      el("div", { class: "tools" }, stackButtons(stack, change),
        el("label", { class: "range" }, t("layer"), el("select", { id: "unit-layer", onchange: (event) => change({ layer: Number(event.target.value), unit: null }) }, units[stack].map((_, i) => el("option", { value: i, selected: i === layer }, String(i + 1)))))),
      scroller(t("ffUnits"), false, mapFigure(added, { name: t("ffTitle", d_ff), tip, pick: (_, j) => change({ unit: j }), paint: { ...shade, alpha: (x) => shade.alpha(x / largest) }, cell: 18, height: 16, labels: tokens.map((g) => clipped(g.label, 11)), names: of.units.map(String), marked: { col: at } })),
      el("p", { class: "note" }, equationOf(t("ffMap"))),
      el("div", { class: "tokens" }, of.units.map((unit, j) => el("button", { "data-unit": unit, "aria-pressed": String(j === at), "aria-label": `${t("ffUnits")} ${unit}`, onclick: () => change({ unit: j }) }, String(unit))))),
    unitCard(data, stack, layer, at, h, tokens),
    activeCard(data)];
}

function unitCard(data, stack, layer, at, h, tokens) {
  const { examples, pieces, units } = data.inside;
  const of = units[stack][layer];
  const values = tokens.map((_, i) => h.values[i * h.cols + at]);
  const largest = Math.max(1e-9, ...values.map(Math.abs));
  return el("div", { class: "card", id: "unit-detail" }, el("h2", {}, t("ffUnit", of.units[at], layer + 1)),
    el("div", { class: "two wide" }, el("div", {}, el("h3", {}, t("ffHere")),
      el("table", { class: "bars" }, el("tbody", {}, tokens.map((g, i) => el("tr", {}, el("th", { scope: "row" }, clipped(g.label, 16)), el("td", { class: "n" }, number(values[i], 2)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${(100 * Math.abs(values[i])) / largest}%` } }))))))),
    el("div", {},
      examples ? [el("h3", {}, t("ffExcited", examples.count)), of.over.places[at].map((place) => contextOf(examples[stack], place))] : el("p", { class: "note" }, t("ffNoText")),
      of.writes && [el("h3", { css: { "margin-top": "1rem" } }, t("ffWrites")), ["ffToward", "ffAway"].map((name, k) => el("p", { class: "words", "data-writes": name }, el("small", {}, `${t(name)} `),
        of.writes[at][k].map(([piece, cosine]) => [el("span", { class: "chip plain" }, `${clipped(shown(pieces[piece]), 18)} `, el("small", {}, number(cosine, 2))), " "]))), el("p", { class: "note" }, t("ffWritesText"))])));
}

/** Part of an example, with the exciting token marked. */
function contextOf(sentences, [sentence, position, activation]) {
  const tokens = sentences[sentence].split("|").map((token) => token.replaceAll(" ", "▁"));
  const first = Math.max(0, position - 6);
  const said = (token, i) => {
    const text = token.replaceAll("▁", " ");
    return i === position ? el("mark", {}, text) : text;
  };
  return el("p", { class: "context" }, el("small", {}, `${number(activation, 2)} `), first ? "…" : "", tokens.slice(first, position + 6).map((token, i) => said(token, first + i)), position + 6 < tokens.length ? "…" : "");
}

function activeCard(data) {
  const { units, relu, examples } = data.inside;
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const rows = ["encoder", "decoder"].flatMap((stack) => units[stack].map((of, i) => ({ name: `${t(stack === "encoder" ? "ofEncoder" : "ofDecoder")} ${i + 1}`, of, here: mean(of.active) })));
  const percent = (share) => `${(100 * share).toFixed(1)} %`;
  const bar = (share) => el("span", { class: "hbar", css: { width: `${100 * share}%` } });
  return el("div", { class: "card" }, el("h2", {}, t("ffActive")), el("p", { class: "told" }, t(relu ? "ffActiveText" : "ffActiveOther")),
    scroller(t("ffActive"), false, el("table", { class: "bars", id: "active-units" },
      el("thead", {}, el("tr", {}, el("td", {}), el("th", { class: "n" }, t("ffHere")), el("td", {}), el("th", { class: "n" }, t("ffNever")),
        examples && [el("th", { class: "n" }, t("ffOver", examples.count)), el("td", {}), el("th", { class: "n" }, t("ffNever"))])),
      el("tbody", {}, rows.map(({ name, of, here }) => el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "n" }, percent(here)), el("td", { class: "w" }, bar(here)), el("td", { class: "n" }, String(of.silent)),
        examples && [el("td", { class: "n" }, percent(of.over.active)), el("td", { class: "w" }, bar(of.over.active)), el("td", { class: "n" }, String(of.over.silent))]))))));
}
