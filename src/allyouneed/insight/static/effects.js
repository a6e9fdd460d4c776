// What a switch changes over a set of sentences, and what the scale does to the gradient. Data: see `effects.py`.
import { el, equationOf, number, scroller } from "./draw.js";
import "./effects_texts.js";
import { t } from "./texts.js";

/** Which sentences the effects were measured on. */
const textName = ({ name, given, sentences }) => (given ? t("fx_file", sentences, name) : t("fx_valid", sentences));

const norm = (values) => Math.sqrt(values.reduce((sum, x) => sum + x * x, 0));

/** One sentence on the effect over the set, or null. */
export function effectSummary(data, key) {
  const effect = data.effects?.variants[key];
  return effect ? el("p", { class: "answer", "data-effect": "changed" }, t("fx_changed", effect.changed, data.effects.sentences)) : null;
}

/** The effect of a variant over the set, beside the answer for the one sentence; null if it was not measured. */
export function effectsCard(data, variant) {
  const effect = data.effects?.variants[variant.key];
  if (!effect) return null;
  const { base } = data.effects;
  const visible = !variant.switches.future_mask;
  const row = (name, a, b) => el("tr", { "data-effect": name }, el("th", { class: "text", scope: "row" }, t(name)), el("td", {}, a), el("td", {}, b));
  return el("div", { class: "card", id: "effects" }, el("h2", {}, t("fx_title", data.effects.sentences)), effectSummary(data, variant.key),
    scroller(t("fx_title", data.effects.sentences), false, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, t("before")), el("th", { scope: "col" }, t("after")))),
      el("tbody", {}, row(visible ? "fx_log_p_visible" : "fx_log_p", number(base.log_p, 3), number(effect.log_p, 3)), row("entropyMean", number(base.entropy, 2), number(effect.entropy, 2)), row("jacobianNorm", number(base.jacobian), number(effect.jacobian))))),
    el("p", { class: "note" }, textName(data.effects)));
}

/** What the division does to the gradient, for the variant without the scale; `twins.js` shows training without it. */
export function scaleCard(data, state, set) {
  const { gradients, sentences } = data.effects ?? {};
  const row = (name, { scale, no_scale, loss }) => el("tr", { "data-gradient": name }, el("th", { class: "text", scope: "row" }, t(name)), [norm(scale), norm(no_scale), ...loss].map((x) => el("td", {}, number(x))));
  return el("div", { class: "card", id: "scale-card" }, el("h2", {}, t("fx_scaleTitle")),
    gradients && [scroller(t("fx_scaleTitle"), false, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, el("th", { class: "text" }, equationOf(t("fx_norm"))), ["fx_with", "fx_without", "fx_lossWith", "fx_lossWithout"].map((name) => el("th", { scope: "col" }, t(name))))),
      el("tbody", {}, row("fx_trained", gradients.trained), gradients.initial && row("fx_initial", gradients.initial)))),
      el("p", { class: "note" }, t("fx_normNote", sentences))],
    el("p", {}, equationOf(t("fx_factors", number(1 / Math.sqrt(data.model.d_k))))),
    data.stages && el("button", { class: "quiet", id: "to-experiment", onclick: () => set({ tab: "steps", scaleOpen: true }, "#scale-width") }, t("fx_experiment")));
}
