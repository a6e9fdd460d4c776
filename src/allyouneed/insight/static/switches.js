// Switches of the whole model: translation, predictions, attention and entropy before and after a change.
import { headIndex, headsOf, layersOf, shown } from "./data.js";
import { clipped, el, headColour, hideTip, isNarrow, number, scroller, showTip, svg } from "./draw.js";
import { effectSummary, effectsCard, scaleCard } from "./effects.js";
import { headGrid, headName, kindButtons, smallMatrix } from "./heads.js";
import { t } from "./texts.js";
import { trainedWithout } from "./twins.js";

const FLAGS = ["scale", "future_mask", "padding_mask", "positions"];
const TEMPERATURES = [0.5, 1, 2];
const KINDS = ["encoder", "decoder", "cross"];
export const PAPER = { scale: true, future_mask: true, padding_mask: true, positions: true, temperature: 1, off: [] };

/** The key of a variant, equal to `Switches.key` in `switches.py`. */
export function switchKey(switches) {
  const parts = FLAGS.filter((name) => !switches[name]).map((name) => `${name}=off`);
  if (switches.temperature !== 1) parts.push(`temperature=${switches.temperature}`);
  const order = (a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1] || a[2] - b[2]);
  return [...parts, ...[...switches.off].sort(order).map((head) => "off=" + head.join("."))].join(",");
}

export function switchName(switches) {
  const off = switches.off.map(([kind, layer, head]) => `${t(kind)} ${t("headShort", layer + 1, head + 1)}`);
  const flags = FLAGS.filter((name) => !switches[name]).map((name) => t(name));
  const warm = switches.temperature === 1 ? [] : [`${t("temperature")} ${switches.temperature}`];
  return [...flags.map((f) => "− " + f), ...warm, ...off.map((o) => "− " + o)].join(" · ");
}

/** change(update): request the variant of update(requested switches); live: whether a server computes combinations. */
export function switchesView(data, variant, state, set, change, live) {
  const switches = state.coming ?? state.switches;
  const turn = (part) => change((now) => ({ ...(live ? now : PAPER), ...part(now) }));
  const chosen = switchKey(state.switches) !== "";
  const beneath = chosen && isNarrow() ? pressed(state) : null; // on a phone, the answer follows the switch
  const brief = (name) => beneath === name && el("div", { class: "card brief", id: "brief", role: "status" }, answerOf(data, variant), effectSummary(data, variant.key), el("h2", {}, t("theTranslation")), translations(data, variant));
  const panel = el("div", { class: "stack" },
    el("div", { class: "switches" },
      FLAGS.map((name) => [flag(name, switches[name], () => { state.pressed = name; turn((now) => ({ [name]: !now[name] })); }), brief(name)]),
      el("div", { class: "switch", css: { cursor: "default", "align-items": "center" } }, el("span", {}, el("b", {}, t("temperature"))),
        el("span", { class: "seg", css: { "margin-left": "auto" } }, TEMPERATURES.map((x) => el("button", { "aria-pressed": String(switches.temperature === x), "data-temperature": x, onclick: () => { state.pressed = "temperature"; turn(() => ({ temperature: x })); } }, x === 0.5 ? "½" : String(x))))), brief("temperature"),
      offGrid(data, state, switches, set, turn), brief("off")),
    el("div", {}, el("button", { class: "quiet", id: "paper", disabled: switchKey(switches) === "", onclick: () => change(() => PAPER) }, t("paper")), el("p", { class: "note", id: "state", role: "status" }, state.problem ?? (state.coming ? t("coming") : live ? "" : t("one")))));
  return el("section", {}, el("p", { class: "lead" }, t("switchesLead")),
    el("div", { class: "two" }, panel, chosen ? comparison(data, variant, state, set, !beneath) : el("div", { class: "card" }, el("p", { class: "answer" }, t("chooseOne")), el("h2", { css: { "margin-top": "1.2rem" } }, t("theEntropy")), entropyPlot(data, data.base, null), el("p", { class: "note" }, t("entropyNote")))));
}

/** The control that was last used, if it is still changed; else one that is. */
function pressed({ pressed: last, switches }) {
  const changed = [...FLAGS.filter((name) => !switches[name]), ...(switches.temperature === 1 ? [] : ["temperature"]), ...(switches.off.length ? ["off"] : [])];
  return changed.includes(last) ? last : changed[0];
}

function flag(name, on, change) {
  return el("button", { class: "switch", role: "switch", "aria-checked": String(on), "data-switch": name, onclick: change },
    el("span", { class: "knob" }), el("span", {}, el("b", {}, t(name)), el("small", {}, t(name + "S"))));
}

function offGrid(data, state, switches, set, turn) {
  const { kind } = state;
  const isOff = (layer, head) => switches.off.some(([k, l, h]) => k === kind && l === layer && h === head);
  const flip = (layer, head) => turn((now) => {
    const others = now.off.filter(([k, l, h]) => k !== kind || l !== layer || h !== head);
    return { off: others.length < now.off.length ? others : [...others, [kind, layer, head]].slice(state.live ? 0 : -1) };
  });
  const loss = (layer, head) => {
    const known = data.variants[`off=${kind}.${layer}.${head}`];
    return known?.predictions ? data.base.predictions.log_p - known.predictions.log_p : NaN;
  };
  const heads = headsOf(data, kind);
  const layers = layersOf(data, kind);
  const losses = Array.from({ length: layers * heads }, (_, i) => loss(Math.floor(i / heads), i % heads));
  const most = Math.max(0.05, ...losses.filter(Number.isFinite));
  const cells = losses.map((x, i) => {
    const [layer, head] = [Math.floor(i / heads), i % heads];
    return el("button", { class: isOff(layer, head) ? "cell off" : "cell", "aria-pressed": String(isOff(layer, head)), "aria-label": headName(layer, head), "data-off": `${kind}.${layer}.${head}`, css: { "--head": headColour(head, heads), background: `color-mix(in srgb, ${headColour(head, heads)} ${Math.round(Math.max(4, (90 * (x || 0)) / most))}%, var(--card))` },
      onclick: () => { state.pressed = "off"; flip(layer, head); }, onpointerenter: (e) => showTip(e, headName(layer, head), Number.isFinite(x) && `${t("logp")}: ${number(data.base.predictions.log_p, 2)} → ${number(data.base.predictions.log_p - x, 2)}`), onpointerleave: hideTip });
  });
  return el("div", { class: "switch", css: { cursor: "default", display: "block" } }, el("b", {}, t("headsOff")), el("small", { css: { "margin-bottom": ".5rem" } }, t("headsOffS")),
    el("div", { class: "tools" }, kindButtons(state, set)),
    el("div", { class: "grid", css: { "grid-template-columns": `1rem repeat(${heads}, minmax(0, 2rem))` } }, cells.map((cell, i) => [i % heads === 0 && el("span", { class: "label row" }, String(Math.floor(i / heads) + 1)), cell])));
}

/** withAnswer: whether the answer and the translations are part of it, or shown beneath the switch. */
function comparison(data, variant, state, set, withAnswer) {
  const base = data.base;
  const left = FLAGS.filter((name) => !variant.switches[name]);
  return el("div", { class: "stack", id: "comparison" },
    el("div", { class: "card" }, withAnswer && answerOf(data, variant), figuresOf(data, variant)),
    withAnswer && el("div", { class: "card" }, el("h2", {}, t("theTranslation")), translations(data, variant)),
    effectsCard(data, variant),
    !variant.switches.scale && scaleCard(data, state, set),
    left.length === 1 && trainedWithout(data, left[0], set),
    nextWords(data, variant, state, set),
    el("div", { class: "card" }, el("h2", {}, t("theAttention")), el("div", { class: "tools" }, kindButtons(state, set)), attentions(data, variant, state, set)),
    variant.entropy && el("div", { class: "card" }, el("h2", {}, t("theEntropy")), entropyPlot(data, base, variant), el("p", { class: "note" }, t("entropyNote"), " ", t("entropyMarks"))));
}

const answerOf = (data, variant) => el("p", { class: "answer", id: "answer" }, answer(data, variant));

function translations(data, variant) {
  const base = { ...data.base, translation: data.base.translation ?? { text: data.translation } };
  return [el("div", { class: "sides" }, [base, variant].map((v, i) => el("div", {}, el("h3", {}, t(i ? "after" : "before")), translationOf(v, i ? base : null)))), variant.translation && el("p", { class: "note" }, t("greedyNote"))];
}

function attentions(data, variant, state, set) {
  const { kind, layer, head } = state;
  if (!variant.attention) return el("div", {}, el("p", { class: "note" }, t("noAttention")), changePlot(data, variant));
  const choose = (l, h) => set({ layer: l, head: h, pins: [[l, h]] });
  const chosen = (l, h) => l === layer && h === head;
  return el("div", { class: "sides keep" }, [data.base, variant].map((v, i) =>
    el("div", {}, el("h3", {}, t(i ? "after" : "before")), headGrid(data, v, kind, { choose, chosen, size: 24 }),
      el("h3", { css: { margin: ".8rem 0 .3rem" } }, headName(layer, head)), smallMatrix(data, v, kind, layer, head))));
}

function translationOf(variant, base) {
  if (!variant.translation) return el("p", { class: "note" }, t("unknownText"));
  const words = variant.translation.text.split(" ");
  const before = new Set(base?.translation?.text.split(" ") ?? words);
  return el("p", { class: "translation", "data-translation": base ? "after" : "before" }, words.map((word, i) => [i ? " " : "", before.has(word) ? word : el("mark", {}, word)]), variant.translation.cut && " …");
}

const percent = (x) => `${(100 * x).toFixed(x < 0.1 ? 1 : 0)} %`;
const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

function answer(data, variant) {
  const { switches } = variant;
  const changed = FLAGS.filter((name) => !switches[name]);
  const one = changed.length + (switches.temperature !== 1) + switches.off.length === 1;
  const [a, b] = [data.base, variant].map((v) => (v.entropy ? mean(v.entropy) : 0));
  const jacobian = [data.base, variant].map((v) => number(v.jacobian ?? 0));
  const verdict = !variant.translation ? t("unknownText") : variant.translation.text === data.base.translation?.text ? t("sameText") : t("otherText");
  let share = mean(variant.change);
  let name = "a_many";
  if (one && changed.length) name = "a_" + changed[0];
  else if (one && switches.off.length) name = "a_off";
  else if (one) name = "a_temperature";
  if (/mask$/.test(name)) share = variant.unmasked;
  const first = name === "a_scale" ? number(Math.sqrt(data.model.d_k), 1) : percent(share);
  const off = switches.off[0];
  return t(name, first, number(a, 2), number(b, 2), jacobian[0], jacobian[1], verdict, switches.temperature, off ? `${t(off[0] + "Long")}, ${headName(off[1], off[2])}` : "");
}

function figuresOf(data, variant) {
  const { base } = data;
  const pair = (name, a, b, label = name) => el("div", {}, el("small", {}, t(label)), el("span", { "data-figure": name }, a, el("em", {}, "→"), b));
  return el("div", { class: "figures" },
    variant.entropy && pair("entropyMean", number(mean(base.entropy), 2), number(mean(variant.entropy), 2)),
    variant.jacobian !== null && pair("jacobianNorm", number(base.jacobian), number(variant.jacobian)),
    variant.predictions && pair("logp", number(base.predictions.log_p, 2), number(variant.predictions.log_p, 2), variant.switches.future_mask ? "logp" : "logpVisible"));
}

function nextWords(data, variant, state, set) {
  if (!variant.predictions) return null;
  const { tokens } = data.target;
  const worst = variant.predictions.given.map((p, i) => Math.abs(Math.log((data.base.predictions.given[i] + 1e-9) / (p + 1e-9))));
  const place = Math.min(state.place ?? worst.indexOf(Math.max(...worst)), tokens.length - 1);
  const rows = (v) => {
    const top = v.predictions.top[place];
    const own = tokens[place];
    const listed = top.some(([token]) => token === own) ? top : [...top, [own, v.predictions.given[place]]];
    return el("table", { class: "bars" }, el("tbody", {}, listed.map(([token, p]) =>
      el("tr", { class: token === own ? "on" : null, title: token === own ? t("given") : null }, el("th", { scope: "row" }, clipped(shown(token, true), 14)), el("td", { class: "n" }, number(p)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * p}%` } }))))));
  };
  return el("div", { class: "card", id: "next" }, el("h2", {}, t("theNext")), el("p", { class: "note", css: { margin: "0 0 .6rem" } }, t(variant.switches.future_mask ? "nextNote" : "nextNoteVisible")),
    el("div", { class: "tokens" }, tokens.map((token, i) => el("button", { "aria-pressed": String(i === place), onclick: () => set({ place: i }) }, shown(token, i === 0)))),
    el("div", { class: "sides" }, [data.base, variant].map((v, i) => el("div", {}, el("h3", {}, t(i ? "after" : "before")), rows(v)))));
}

/** One dot per head, hollow before and filled after, in one lane per layer. */
function entropyPlot(data, base, variant) {
  return lanes(data, (place) => [base.entropy[place], variant ? variant.entropy[place] : base.entropy[place]], Math.max(...base.entropy, ...(variant?.entropy ?? [])), "nats");
}

const changePlot = (data, variant) => lanes(data, (place) => [0, variant.change[place]], Math.max(0.01, ...variant.change), "");

function lanes(data, valuesOf, most, unit) {
  const all = KINDS.flatMap((kind) => Array.from({ length: layersOf(data, kind) }, (_, layer) => [kind, layer]));
  const [width, left, lane, top] = [620, 132, 22, 8];
  const end = Math.max(0.5, Math.ceil(most * 2) / 2);
  const span = most < 0.5 ? most * 1.1 : end;
  const x = (value) => left + ((width - left - 20) * value) / span;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${top + lane * all.length + 26}`, class: "lanes", role: "img", "aria-label": t("theEntropy") });
  for (let k = 0; k <= 4; k++) {
    const value = (span * k) / 4;
    drawing.append(svg("line", { x1: x(value), x2: x(value), y1: top, y2: top + lane * all.length, stroke: "var(--rule)" }), svg("text", { class: "soft", x: x(value) + (k === 4 ? 16 : 0), y: top + lane * all.length + 16, "text-anchor": k === 4 ? "end" : "middle" }, `${number(value, 2)}${k === 4 ? " " + unit : ""}`));
  }
  all.forEach(([kind, layer], i) => {
    const y = top + lane * (i + 0.5);
    drawing.append(svg("text", { class: "soft", x: left - 12, y: y + 4, "text-anchor": "end" }, `${t(kind)} ${layer + 1}`));
    for (let head = 0; head < headsOf(data, kind); head++) {
      const [a, b] = valuesOf(headIndex(data, kind, layer, head));
      const colour = headColour(head, headsOf(data, kind));
      const tip = { onpointerenter: (e) => showTip(e, headName(layer, head), a === b ? number(a) : `${number(a)} → ${number(b)}`), onpointerleave: hideTip };
      if (a !== b) drawing.append(svg("line", { x1: x(a), x2: x(b), y1: y, y2: y, stroke: colour, "stroke-opacity": 0.3, "stroke-width": 2 }), svg("circle", { cx: x(a), cy: y, r: 3, fill: "var(--card)", stroke: colour, "stroke-width": 1.2 }));
      drawing.append(svg("circle", { cx: x(b), cy: y, r: 4.2, fill: colour, "fill-opacity": 0.85, ...tip }));
    }
  });
  return scroller(t("theEntropy"), false, drawing);
}
