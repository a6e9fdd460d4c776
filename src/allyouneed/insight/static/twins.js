// Models trained from the start without a part of attention, beside the model with it, over training (`twins.py`).
import { el, equationOf, grouped, hideTip, isNarrow, number, scroller, showTip, svg } from "./draw.js";
import "./twins_texts.js";
import { t } from "./texts.js";

const TWIN_PARTS = ["scale", "future_mask", "positions", "heads", "padding_mask"];
const TWIN_KINDS = ["encoder", "decoder", "cross"];
const TWIN_SCALES = { root: "twRoot", none: "twNone", d_k: "twTooMuch" };
const TWIN_MARKS = [{ colour: "var(--accent)", dash: null, shape: "circle" }, { colour: "#d2611a", dash: "5 3", shape: "square" }, { colour: "#159a8c", dash: "2 3", shape: "triangle" }];
const TWIN_SUMMARIES = { future_mask: "twFuture", padding_mask: "twPadding", positions: "twPositions", heads: "twFewer", scale: "twScale" };

const twinPercent = (x) => `${(100 * x).toFixed(x > 0 && x < 0.1 ? 1 : 0)} %`;
const twinMean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const twinChanges = (run) => Object.keys(run.changes).filter((name) => run.changes[name] !== (name === "scale" ? "root" : true));

/** The comparisons that the runs allow, by part: lists of runs; the first run of a list is the one with the part. */
export function comparisonsOf(twins) {
  const runs = Object.values(twins.runs);
  const whole = runs.filter((run) => !twinChanges(run).length);
  const found = {};
  for (const part of TWIN_PARTS) {
    const without = (base) => runs.filter((run) => run.heads === base.heads && twinChanges(run).join() === part);
    found[part] = part === "heads"
      ? [[...whole].sort((a, b) => b.heads - a.heads)]
      : whole.map((base) => [base, ...without(base)]).sort((a, b) => a[0].d_k - b[0].d_k);
    found[part] = found[part].filter((group) => group.length > 1).map((group) => group.slice(0, TWIN_MARKS.length));
  }
  return found;
}

function runLabel(part, run) {
  const on = run.changes[part];
  if (part === "scale") return t(TWIN_SCALES[on]);
  if (part === "heads") return run.heads === 1 ? t("twOneHead") : t("twHeadCount", run.heads);
  if (part === "positions") return t(on ? "twOrdered" : "twUnordered");
  return t(on ? "twWithMask" : "twNoMask");
}

/** The heads' mean entropy, the share of saturated queries, or the gradient norm of a run's point, for chosen kinds. */
const entropyAt = (run, kinds, i) => twinMean(kinds.flatMap((kind) => run.entropy[kind][i].flat()));
const saturatedAt = (run, kinds, i) => twinMean(kinds.map((kind) => run.saturated[kind][i]));
const normAt = (run, name, kinds, i) => Math.hypot(...kinds.flatMap((kind) => run[name][kind][i]));

/** Index of the last point of a run that is not after a step. */
function pointAt(run, step) {
  let at = 0;
  run.steps.forEach((s, i) => s <= step && (at = i));
  return at;
}

export function twinsView(data, state, set) {
  const { twins } = data;
  const all = comparisonsOf(twins);
  const parts = TWIN_PARTS.filter((part) => all[part].length);
  const section = el("section", {}, el("p", { class: "lead" }, t("twLead")));
  if (!parts.length) return section;
  const part = parts.includes(state.twinsPart) ? state.twinsPart : parts[0];
  const groups = all[part];
  const runs = groups[Math.min(state.twinsGroup ?? groups.length - 1, groups.length - 1)];
  const { steps } = runs[0];
  const point = Math.min(state.twinsPoint ?? steps.length - 1, steps.length - 1);
  const step = steps[point];
  const kinds = TWIN_KINDS.includes(state.twinsKind) ? [state.twinsKind] : TWIN_KINDS;
  section.append(
    el("div", { class: "card" }, el("h2", {}, t("twRuns")),
      twinChoice("twPart", parts, part, "data-part", (name) => t(name === "heads" ? "twHeads" : name), (twinsPart) => set({ twinsPart, twinsGroup: null })),
      groups.length > 1 && twinChoice("twWidth", groups, runs, "data-width", (group) => `dₖ = ${group[0].d_k}`, (group) => set({ twinsGroup: groups.indexOf(group) })),
      el("p", { class: "answer", id: "twins-answer" }, equationOf(twinSummary(part, runs, twins))),
      twinTable(part, runs)),
    el("div", { class: "card" }, el("h2", {}, t("twOver")),
      el("div", { class: "tools" }, twinPlay(state, set, steps, point), twinLegend(part, runs)),
      twinChoice("twOf", ["all", ...TWIN_KINDS], kinds.length > 1 ? "all" : kinds[0], "data-of", (kind) => t(kind === "all" ? "twAll" : kind), (twinsKind) => set({ twinsKind })),
      twinCharts(part, runs, kinds, step, twins)),
    el("div", { class: "card" }, el("h2", {}, t("twTranslations", grouped(step))), twinTranslations(part, runs, step, twins)),
    el("div", { class: "card" }, el("h2", {}, t("twEach", grouped(step))), twinLegend(part, runs), headEntropies(part, runs, step, twins), el("p", { class: "note" }, t("twEachNote"))),
    el("p", { class: "note", id: "twins-made", css: { "overflow-wrap": "anywhere" } }, twinProvenance(twins)));
  return section;
}

function twinChoice(title, values, now, attribute, name, pick) {
  return el("div", { class: "tools" }, el("span", { css: { color: "var(--soft)", "font-size": ".84rem" } }, t(title)),
    values.map((value, i) => el("button", { class: "quiet", "aria-pressed": String(value === now), [attribute]: typeof value === "string" ? value : String(i), onclick: () => pick(value) }, name(value))));
}

function twinSummary(part, runs, twins) {
  const [base, other] = runs;
  const facts = {
    scale: () => [base.d_k, ...[base, other].map((run) => number(entropyAt(run, TWIN_KINDS, 0), 2)), ...[base, other].map((run) => twinPercent(saturatedAt(run, TWIN_KINDS, 0))), ...[base, other].map((run) => number(normAt(run, "query", TWIN_KINDS, 0), 2))],
    future_mask: () => [...[base, other].map((run) => twinPercent(run.accuracy.at(-1))), number(other.final.masked, 2)],
    heads: () => [base.d_k, runs.at(-1).d_k],
  };
  const last = part === "heads" ? runs.at(-1) : other;
  const result = t("twResult", grouped(twins.steps), number(base.final.loss, 2), runLabel(part, base), number(last.final.loss, 2), runLabel(part, last), base.final.bleu.toFixed(1), last.final.bleu.toFixed(1));
  return [t(TWIN_SUMMARIES[part], ...(facts[part]?.() ?? [])), result, t("twSeed", twins.seed)].join(" ");
}

function twinTable(part, runs) {
  const columns = [
    [t("twFinalLoss"), (run) => number(run.final.loss, 2)],
    [t("twFinalBleu"), (run) => run.final.bleu.toFixed(1)],
    [t("twStart", t("twEntropy")), (run) => number(entropyAt(run, TWIN_KINDS, 0), 2)],
    [t("twStart", t("twSaturated")), (run) => twinPercent(saturatedAt(run, TWIN_KINDS, 0))],
    [t("twStart", t("twQuery")), (run) => number(normAt(run, "query", TWIN_KINDS, 0), 2)],
  ];
  return scroller(t("twRuns"), false, el("table", { class: "plain", id: "twins-final", css: { "margin-top": ".8rem" } },
    el("thead", {}, el("tr", {}, el("th", { class: "text" }, t("twRuns")), columns.map(([title]) => el("th", { css: { "white-space": "normal", "min-width": "4.6rem" } }, equationOf(title))))),
    el("tbody", {}, runs.map((run, i) => el("tr", {}, el("th", { class: "text", scope: "row" }, twinKey(i), runLabel(part, run)), columns.map(([, value]) => el("td", {}, value(run))))))));
}

/** The line style of the i-th run. */
function twinKey(i) {
  const { colour, dash, shape } = TWIN_MARKS[i];
  return svg("svg", { viewBox: "0 0 30 10", width: 30, height: 10, "aria-hidden": "true", css: { "margin-right": ".4rem", "vertical-align": "middle" } },
    svg("line", { x1: 0, x2: 30, y1: 5, y2: 5, stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }), twinMark(shape, 15, 5, 3.5, colour));
}

function twinMark(shape, x, y, r, colour, attributes = {}) {
  const paths = { square: `M${x - r} ${y - r}h${2 * r}v${2 * r}h${-2 * r}z`, triangle: `M${x} ${y - r}l${r} ${1.8 * r}h${-2 * r}z` };
  return shape === "circle" ? svg("circle", { cx: x, cy: y, r, fill: colour, ...attributes }) : svg("path", { d: paths[shape], fill: colour, ...attributes });
}

const twinLegend = (part, runs) => el("div", { class: "legend", css: { margin: 0 } }, runs.map((run, i) => el("span", {}, twinKey(i), runLabel(part, run))));

let twinsTimer = null;

function stopTwins() {
  clearInterval(twinsTimer);
  twinsTimer = null;
}

function twinPlay(state, set, steps, point) {
  const last = steps.length - 1;
  const play = () => {
    if (twinsTimer) {
      stopTwins();
      return set({});
    }
    let at = point >= last ? 0 : point;
    twinsTimer = setInterval(() => {
      if (state.tab !== "twins") return stopTwins();
      at += 1;
      if (at >= last) stopTwins();
      set({ twinsPoint: Math.min(at, last) });
    }, 700);
    set({ twinsPoint: at });
  };
  return [el("button", { class: "quiet", id: "twins-play", onclick: play }, t(twinsTimer ? "pause" : "play")),
    el("label", { class: "range" }, t("twStep"), el("input", { type: "range", id: "twins-step", min: 0, max: last, value: point, "aria-valuetext": String(steps[point]), oninput: (e) => set({ twinsPoint: Number(e.target.value) }) }), el("span", { css: { "min-width": "2.6rem" } }, grouped(steps[point])))];
}

function twinCharts(part, runs, kinds, step, twins) {
  const by = (value) => runs.map((run) => run.steps.map((s, i) => [s, value(run, i)]));
  const uniform = twinMean(kinds.map((kind) => twins.uniform[kind]));
  const all = [
    { name: "twLoss", note: t("twLossNote"), lines: runs.map((run) => run.validation.map(([s, loss]) => [s, loss])), thin: runs.map((run) => run.training) },
    { name: "twBleu", note: t("twBleuNote", twins.bleu_sentences), lines: runs.map((run) => run.validation.filter((row) => row[2] !== null).map(([s, , bleu]) => [s, bleu])), digits: 1 },
    { name: "twAccuracy", note: t("twAccuracyNote"), lines: by((run, i) => run.accuracy[i]), percent: true },
    { name: "twEntropy", note: t("twEntropyNote"), lines: by((run, i) => entropyAt(run, kinds, i)), dotted: uniform },
    { name: "twSaturated", note: t("twSaturatedNote"), lines: by((run, i) => saturatedAt(run, kinds, i)), percent: true },
    { name: "twQuery", note: t("twNormNote"), lines: by((run, i) => normAt(run, "query", kinds, i)), log: true },
    { name: "twKey", note: t("twNormNote"), lines: by((run, i) => normAt(run, "key", kinds, i)), log: true },
    { name: "twGradient", note: t("twTotalNote"), lines: by((run, i) => run.gradient[i]), log: true },
  ].filter(({ lines }) => lines.some((line) => line.length));
  return el("div", { css: { display: "grid", "grid-template-columns": "repeat(auto-fill, minmax(min(15.5rem, 100%), 1fr))", gap: "1.2rem 1.4rem" } },
    all.map((chart) => twinChart(chart, part, runs, step)));
}

/** One small chart: a line per run, the step of the slider, and the values at that step. */
function twinChart({ name, note, lines, thin = [], percent = false, log = false, digits = 2, dotted = null }, part, runs, step) {
  const shown = (x) => (log && x > 0 && x < 0.1 ? x.toPrecision(2) : number(x, digits));
  const text = (x) => (Number.isNaN(x) ? "–" : percent ? twinPercent(x) : shown(x));
  const [width, height, left, right, top, bottom] = [280, 132, 40, 8, 6, 18];
  const shownPoints = lines.flat();
  const values = [...shownPoints.map(([, y]) => y), ...(dotted === null ? [] : [dotted])].filter((y) => !log || y > 0);
  const thinValues = thin.flat().map(([, y]) => y);
  const end = Math.max(1, ...runs.map((run) => run.steps.at(-1)));
  const scale = twinAxis([...values, ...thinValues], log, percent);
  const x = (s) => left + ((width - left - right) * s) / end;
  const y = (v) => top + (height - top - bottom) * (1 - scale.place(Math.max(v, scale.low)));
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${t(name)}: ${runs.map((run, i) => `${runLabel(part, run)} ${text(twinValueAt(lines[i], step))}`).join(", ")}`, css: { width: "100%", height: "auto", display: "block" } });
  for (const tick of scale.ticks)
    drawing.append(svg("line", { x1: left, x2: width - right, y1: y(tick), y2: y(tick), stroke: "var(--rule)" }), svg("text", { class: "soft", x: left - 5, y: y(tick) + 4, "text-anchor": "end" }, percent ? twinPercent(tick) : tickText(tick)));
  for (const s of [0, end]) drawing.append(svg("text", { class: "soft", x: x(s), y: height - 3, "text-anchor": s ? "end" : "middle" }, grouped(s)));
  if (dotted !== null) drawing.append(svg("line", { x1: left, x2: width - right, y1: y(dotted), y2: y(dotted), stroke: "var(--soft)", "stroke-dasharray": "1 4", "stroke-width": 1.5, "stroke-linecap": "round" }));
  const path = (points) => points.map(([s, v], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(v).toFixed(1)}`).join("");
  thin.forEach((points, i) => points.length && drawing.append(svg("path", { d: path(points), fill: "none", stroke: TWIN_MARKS[i].colour, "stroke-opacity": 0.45, "stroke-width": 1 })));
  drawing.append(svg("line", { x1: x(step), x2: x(step), y1: top, y2: height - bottom, stroke: "var(--faint)" }));
  lines.forEach((points, i) => {
    const { colour, dash, shape } = TWIN_MARKS[i];
    if (points.length) drawing.append(svg("path", { d: path(points), fill: "none", stroke: colour, "stroke-width": 2, "stroke-dasharray": dash }));
    for (const [s, v] of points)
      drawing.append(twinMark(shape, x(s), y(v), s === step ? 4.2 : 1.8, colour, { onpointerenter: (e) => showTip(e, `${runLabel(part, runs[i])}: ${text(v)}`, `${t("twStep")} ${grouped(s)}`), onpointerleave: hideTip }));
  });
  return el("div", { "data-chart": name }, el("h3", { css: { margin: 0 } }, equationOf(t(name))),
    el("p", { class: "legend", css: { margin: ".1rem 0 .2rem" } }, lines.map((points, i) => el("span", { "data-value": i }, twinKey(i), text(twinValueAt(points, step))))),
    drawing, el("p", { class: "note", css: { margin: ".1rem 0 0" } }, note));
}

/** The value of a line at a step: that of the last point not after it; NaN before the first. */
function twinValueAt(points, step) {
  let value = NaN;
  for (const [s, v] of points) if (s <= step) value = v;
  return value;
}

/** The label of a tick: small powers of ten as powers. */
const tickText = (x) => (x > 0 && x < 0.01 && Number.isInteger(Math.log10(x)) ? `10⁻${[...String(-Math.log10(x))].map((d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]).join("")}` : x >= 10 || Number.isInteger(x) ? String(Math.round(x)) : String(Number(x.toPrecision(2))));

/** An axis for values: its ticks, its lowest value, and place(value) from 0 to 1. */
function twinAxis(values, log, percent) {
  const finite = values.filter(Number.isFinite);
  let [low, high] = [Math.min(...finite), Math.max(...finite)];
  if (!finite.length || (log && low <= 0)) [low, high] = [log ? 0.1 : 0, 1];
  if (log) {
    const [first, last] = [Math.floor(Math.log10(low)), Math.max(Math.ceil(Math.log10(high)), Math.floor(Math.log10(low)) + 1)];
    const apart = Math.ceil((last - first) / 5);
    const ticks = Array.from({ length: Math.floor((last - first) / apart) + 1 }, (_, i) => 10 ** (first + i * apart));
    return { low: 10 ** first, ticks, place: (v) => (Math.log10(v) - first) / (last - first) };
  }
  if (percent) [low, high] = [0, Math.max(high, 0.01)];
  else low = Math.min(low, 0);
  const rough = (high - low) / 4 || 1;
  const unit = 10 ** Math.floor(Math.log10(rough));
  const size = [1, 2, 5, 10].map((k) => k * unit).find((s) => s >= rough);
  const count = Math.max(1, Math.ceil((high - low) / size - 1e-9));
  return { low, ticks: Array.from({ length: count + 1 }, (_, i) => low + i * size), place: (v) => (v - low) / (count * size) };
}

function twinTranslations(part, runs, step, twins) {
  return el("div", { css: { display: "grid", "grid-template-columns": "repeat(auto-fit, minmax(min(26rem, 100%), 1fr))", gap: "1rem 2rem" } },
    twins.sentences.map(([source, reference], i) => el("div", { "data-sentence": i },
      el("p", { lang: twins.languages[0], dir: "auto", css: { margin: 0, "font-weight": 600 } }, source),
      el("p", { class: "note", lang: twins.languages[1], dir: "auto", css: { margin: "0 0 .2rem" } }, `${t("twReference")}: ${reference}`),
      runs.map((run, k) => el("p", { css: { margin: 0, display: "flex", gap: ".3rem", "align-items": "baseline" } }, el("span", { css: { flex: "none" }, title: runLabel(part, run) }, twinKey(k), el("span", { class: "note" }, `${runLabel(part, run)}:`)),
        el("span", { lang: twins.languages[1], dir: "auto", "data-translated": k, css: { "overflow-wrap": "anywhere" } }, run.translations[pointAt(run, step)][i] || "∅"))))));
}

/** A lane per kind and layer, with a mark per head of each run. */
function headEntropies(part, runs, step, twins) {
  const lanes = TWIN_KINDS.flatMap((kind) => runs[0].entropy[kind][0].map((_, layer) => [kind, layer]));
  const narrow = isNarrow();
  const [width, left, row, top] = [narrow ? 360 : 640, narrow ? 116 : 140, 12, 8];
  const lane = row * runs.length + 12;
  const most = Math.max(0.5, ...TWIN_KINDS.map((kind) => twins.uniform[kind]), ...runs.flatMap((run) => TWIN_KINDS.flatMap((kind) => run.entropy[kind].flat(2))));
  const x = (value) => left + ((width - left - 16) * value) / most;
  const bottom = top + lane * lanes.length;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${bottom + 22}`, role: "img", "aria-label": t("twEach", step), css: { width: "100%", "max-width": "46rem", height: "auto", display: "block", "margin-top": ".6rem" } });
  for (let value = 0; value <= most; value += most > 2 ? 1 : 0.5)
    drawing.append(svg("line", { x1: x(value), x2: x(value), y1: top, y2: bottom, stroke: "var(--rule)" }), svg("text", { class: "soft", x: x(value), y: bottom + 15, "text-anchor": "middle" }, String(value)));
  lanes.forEach(([kind, layer], i) => {
    const y = top + lane * i;
    const uniform = x(twins.uniform[kind]);
    drawing.append(svg("text", { class: "soft", x: left - 10, y: y + lane / 2 + 4, "text-anchor": "end" }, `${t(kind)} ${layer + 1}`),
      svg("line", { x1: uniform, x2: uniform, y1: y + 3, y2: y + lane - 3, stroke: "var(--soft)", "stroke-width": 1.5 }));
    runs.forEach((run, k) => run.entropy[kind][pointAt(run, step)][layer]?.forEach((entropy, head) =>
      drawing.append(twinMark(TWIN_MARKS[k].shape, x(entropy), y + 6 + row * (k + 0.5), 4, TWIN_MARKS[k].colour, { "fill-opacity": 0.75, onpointerenter: (e) => showTip(e, `${runLabel(part, run)}, ${t("head")} ${head + 1}: ${number(entropy, 2)}`, `${t(kind + "Long")}, ${t("layer")} ${layer + 1}`), onpointerleave: hideTip }))));
  });
  return drawing;
}

function twinProvenance(twins) {
  const m = twins.model;
  return [t("twMade", ...m.layers, m.d_model, m.d_ff, grouped(m.parameters), grouped(m.vocabulary)),
    t("twData", grouped(twins.steps), grouped(twins.batch_tokens), twins.files.join(", "), grouped(twins.pairs), twins.languages.join(" → "), twins.date, twins.machine),
    t("twMeasured", twins.measured_pairs, twins.signature)].join(" ");
}

/** The comparison of a part whose d_k is closest to the page's model: its runs and its index. Null without data. */
function closestRuns(data, name) {
  const groups = data.twins ? comparisonsOf(data.twins)[name] : [];
  if (!groups?.length) return null;
  const distance = (group) => Math.abs(Math.log(group[0].d_k / data.model.d_k));
  const runs = groups.reduce((best, group) => (distance(group) < distance(best) ? group : best));
  return { runs, index: groups.indexOf(runs) };
}

/** The first sentence that the runs translate differently at the end of training. */
function differentTranslations(name, runs, twins) {
  const textAt = (run, i) => run.translations.at(-1)[i];
  const example = twins.sentences.findIndex((_, i) => textAt(runs[0], i) !== textAt(runs[1], i));
  return example < 0 ? null : [el("p", { class: "note", lang: twins.languages[0] }, twins.sentences[example][0]),
    runs.map((run, k) => el("p", { css: { margin: 0 } }, twinKey(k), el("span", { class: "note" }, `${runLabel(name, run)}: `), el("span", { dir: "auto", lang: twins.languages[1] }, textAt(run, example) || "∅")))];
}

const openTwins = (name, index, set) =>
  el("p", { css: { margin: ".7rem 0 0" } }, el("button", { class: "quiet", id: "open-twins", onclick: () => set({ tab: "twins", twinsPart: name, twinsGroup: index }, "#tab-twins") }, t("twOpen")));

/**
 * The result of training without a part, for the view that switches the part off in a trained model.
 * name: "scale", "future_mask", "padding_mask" or "positions"; set: opens the view of the training. Null without data.
 */
export function trainedWithout(data, name, set) {
  const closest = closestRuns(data, name);
  if (!closest) return null;
  const { runs, index } = closest;
  return el("div", { class: "card", id: "trained-without" }, el("h2", {}, t("twBeside")), el("p", { class: "note", css: { margin: "0 0 .6rem" } }, t("twBesideNote")),
    el("p", { class: "answer" }, equationOf(twinSummary(name, runs, data.twins))), twinTable(name, runs), differentTranslations(name, runs, data.twins),
    el("p", { class: "note", css: { "overflow-wrap": "anywhere" } }, twinProvenance(data.twins)), set && openTwins(name, index, set));
}

/** The same for readers new to the subject: BLEU with and without the part, and an example. */
export function trainedBriefly(data, name, set) {
  const closest = closestRuns(data, name);
  if (!closest) return null;
  const { runs, index } = closest;
  return el("div", { class: "card", "data-trained": name }, el("h3", {}, t("twBeside")), el("p", { class: "told" }, t("twBrief", grouped(data.twins.steps), ...runs.slice(0, 2).map((run) => run.final.bleu.toFixed(1)))),
    differentTranslations(name, runs, data.twins), openTwins(name, index, set));
}
