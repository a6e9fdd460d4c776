// Why this token and not that one: attribution of a log-probability difference, and how faithful each method is.
import { groupsOf, shown, textOf } from "./data.js";
import { el, equationOf, headColour, hideTip, isNarrow, number, savePng, saveSvg, scroller, showTip, svg } from "./draw.js";
import "./attribution_texts.js";
import { t } from "./texts.js";

const WHY_SIGNED = new Set(["ig", "loo"]);
const WHY_DASHES = new Map([["ig", null], ["loo", "2 3"], ["alti", "8 3"], ["rollout", "8 3 2 3"], ["attention", "12 4"], ["random", "1 5"]]);
const whyAnswersFetched = new Map(); // answers of a server, or {problem}, or {pending}

const whyQuestionKey = ({ prefix, one, other }) => JSON.stringify([prefix, [one, other].sort()]);
const whyAskedBy = (answer) => ({ prefix: answer.prefix.slice(1), one: answer.candidate, other: answer.instead_of });
const whyNamed = (token) => shown(token, true);
const whySignedNumber = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? "0" : (x > 0 ? "+" : "−") + Math.abs(x).toFixed(digits));
const whyPercent = (x) => `${Math.round(100 * x)} %`;
const whyMethodColour = (data, name) => (name === "random" ? "var(--soft)" : headColour(data.attribution.methods.indexOf(name), 8));

/** The question at the fork of two paths of tokens; null if one continues the other. */
export function forkOf(first, second) {
  const at = first.findIndex((token, i) => token !== second[i]);
  return at < 0 || at >= second.length ? null : { prefix: first.slice(0, at), one: first[at], other: second[at] };
}

export function attributionView(data, state, set) {
  const { questions } = data.attribution;
  const asked = state.why ?? (questions.length ? whyAskedBy(questions[0]) : data.base.predictions ? whyFirstQuestion(data) : null);
  const section = el("section", {}, el("p", { class: "lead" }, t("whyLead")));
  if (!asked || (!questions.length && !state.fetchAttribution)) return section.append(el("p", { class: "answer" }, t("whyNone"))), section;
  const answer = whyAnswerTo(data, state, set, asked);
  section.append(whyQuestionCard(data, state, set, asked));
  if (answer?.values) section.append(whyAnswerCard(data, state, set, answer), whyTableCard(data, state, answer), whyTestCard(data, answer), whyAboutCard(data));
  else section.append(el("p", { class: "answer", id: "why-state", role: "status" }, answer?.pending ? t("whyComing") : answer?.problem ? t("failed", answer.problem) : t("whyAbsent")));
  return section;
}

function whyFirstQuestion(data) {
  const [one, other] = whyCandidatesAt(data, []);
  return other === undefined ? null : { prefix: [], one, other };
}

/** The answer from the file or the server; asks the server if there is one. */
function whyAnswerTo(data, state, set, asked) {
  const key = whyQuestionKey(asked);
  const found = data.attribution.questions.find((each) => whyQuestionKey(whyAskedBy(each)) === key) ?? whyAnswersFetched.get(key);
  if (found || !state.fetchAttribution) return found;
  whyAnswersFetched.set(key, { pending: true });
  const done = (answer) => {
    whyAnswersFetched.set(key, answer);
    set({});
  };
  state.fetchAttribution([...asked.prefix, asked.one], [...asked.prefix, asked.other]).then(done, (error) => {
    done({ problem: error.message });
    whyAnswersFetched.delete(key); // a later visit asks again
  });
  return { pending: true };
}

/** Candidates for the token after a prefix that the page knows: of the translation, the predictions and the tree. */
function whyCandidatesAt(data, prefix) {
  const { tokens } = data.target;
  const path = JSON.stringify(prefix);
  const onBest = JSON.stringify(tokens.slice(0, prefix.length)) === path;
  const nodes = data.search?.nodes ?? [];
  const pathOf = (at) => (at < 0 ? [] : [...pathOf(nodes[at][0]), nodes[at][2]]);
  const inTree = nodes.filter((node) => node[1] === prefix.length + 1 && JSON.stringify(pathOf(node[0])) === path).map((node) => node[2]);
  const predicted = onBest && data.base.predictions ? data.base.predictions.top[prefix.length].map(([token]) => token) : [];
  return [...new Set([...(onBest ? [tokens[prefix.length]] : []), ...predicted, ...inTree])];
}

function whyQuestionCard(data, state, set, asked) {
  const { tokens } = data.target;
  const at = asked.prefix.length;
  const onBest = asked.prefix.every((token, i) => token === tokens[i]);
  const pairsAt = (prefix) => data.attribution.questions.filter((each) => JSON.stringify(each.prefix.slice(1)) === JSON.stringify(prefix)).map(whyAskedBy);
  const go = (position) => {
    const prefix = tokens.slice(0, position);
    const [one, other] = whyCandidatesAt(data, prefix);
    set({ why: pairsAt(prefix)[0] ?? { prefix, one, other } });
  };
  const positions = tokens.map((token, i) => el("button", { class: onBest && i === at ? "word on" : "word", "aria-pressed": String(onBest && i === at), "data-why": i, css: { cursor: "pointer" },
    disabled: !pairsAt(tokens.slice(0, i)).length && !state.fetchAttribution, onclick: () => go(i) }, shown(token, i === 0)));
  const pairs = pairsAt(asked.prefix);
  const same = (pair) => whyQuestionKey(pair) === whyQuestionKey(asked);
  const buttons = pairs.map((pair, i) => el("button", { class: "quiet", "aria-pressed": String(same(pair)), "data-pair": i, onclick: () => set({ why: pair }) }, t("whyPair", whyNamed(pair.one), whyNamed(pair.other))));
  const known = [...new Set([...whyCandidatesAt(data, asked.prefix), asked.one, asked.other])];
  const choose = (side, id, name) => el("label", { class: "range" }, t(name), el("select", { id, onchange: (e) => set({ why: { ...asked, [side]: e.target.value } }) },
    known.map((token) => el("option", { value: token, selected: token === asked[side], disabled: token === asked[side === "one" ? "other" : "one"] }, whyNamed(token)))));
  return el("div", { class: "card" }, el("h2", {}, t("whyAsk")), el("p", { class: "note" }, t("whyWhere")),
    onBest ? el("p", { class: "words" }, positions) : [el("p", { class: "words" }, positions), el("p", {}, t("whyBranch", textOf(asked.prefix).trim()))],
    buttons.length > 0 && el("div", { class: "tools", role: "group", "aria-label": t("whyPairs"), css: { "margin-top": ".6rem" } }, buttons),
    state.fetchAttribution && el("div", { class: "tools", css: { "margin-top": ".6rem" } }, choose("one", "why-one", "whyCandidate"), choose("other", "why-other", "whyOther")));
}

/** Groups {label, side} of the source and of the prefix, with the values of each method summed over their tokens. */
function whyRowsOf(data, state, answer) {
  const sourceTokens = data.source.tokens;
  const onBest = answer.prefix.every((token, i) => token === data.target.inputs[i]);
  const words = onBest ? data.target.words : [];
  const sides = [
    ["source", 0, groupsOf(sourceTokens, data.source.words, 0, state.joined)],
    ["prefix", sourceTokens.length, groupsOf(answer.prefix, words, 1, state.joined)],
  ];
  return sides.flatMap(([side, shift, groups]) => groups.map((group) => ({ ...group, side,
    values: Object.fromEntries(Object.entries(answer.values).map(([name, values]) => [name, values.slice(group.first + shift, group.last + shift).reduce((a, b) => a + b, 0)])) })));
}

function whyAnswerCard(data, state, set, answer) {
  const [one, other] = [whyNamed(answer.candidate), whyNamed(answer.instead_of)];
  const rows = whyRowsOf(data, state, answer);
  const method = state.whyMethod ?? "ig";
  const largest = Math.max(1e-9, ...rows.map((row) => Math.abs(row.values[method])));
  const text = (x) => (WHY_SIGNED.has(method) ? whySignedNumber(x) : whyPercent(x));
  const words = (side) => el("p", { class: "words" }, rows.filter((row) => row.side === side).map((row) => {
    const value = row.values[method];
    const colour = WHY_SIGNED.has(method) ? (value < 0 ? "#4a7ce0" : "#e2711d") : "var(--accent)";
    return el("span", { class: "word valued", css: { "--w": `${Math.round((44 * Math.abs(value)) / largest)}%`, "--c": colour }, onpointerenter: (e) => showTip(e, row.label, `${t(`why_${method}`)}: ${text(value)}`), onpointerleave: hideTip }, row.label, el("small", {}, text(value)));
  }));
  const methods = el("div", { class: "seg wrap", role: "group", "aria-label": t("whyShaded") }, data.attribution.methods.map((name) =>
    el("button", { "aria-pressed": String(name === method), "data-method": name, onclick: () => set({ whyMethod: name }) }, t(`why_${name}`))));
  const sum = answer.values.ig.reduce((a, b) => a + b, 0);
  return el("div", { class: "card", id: "why-answer" },
    el("p", { class: "answer" }, t("whyAnswer", one, other, textOf(answer.prefix).trim() || "<s>", number(Math.exp(answer.difference), 1), number(answer.difference, 2))),
    el("p", {}, whyReasons(rows, one, 1), " ", whyReasons(rows, other, -1), el("span", { class: "note" }, `(${t("whyBy")})`)),
    el("div", { class: "tools" }, methods, el("button", { class: "quiet", id: "why-joined", "aria-pressed": String(state.joined), onclick: () => set({ joined: !state.joined }) }, t("join"))),
    el("h3", {}, t("whySource")), words("source"), el("h3", {}, t("whyPrefix")), words("prefix"),
    el("p", { class: "note" }, WHY_SIGNED.has(method) ? t("whySigned", one, other) : t("whyUnsigned"), state.joined ? ` ${t("whyWords")}` : ""),
    el("p", { class: "note", id: "why-complete" }, t("whyComplete", number(sum, 2), number(answer.baseline, 2), number(answer.difference, 2), number(answer.difference - answer.baseline, 2), answer.steps)));
}

function whyReasons(rows, name, sign) {
  const largest = Math.max(...rows.map((row) => Math.abs(row.values.ig)));
  const found = rows.filter((row) => sign * row.values.ig > largest / 10).sort((a, b) => sign * (b.values.ig - a.values.ig)).slice(0, 3);
  return found.length > 0 && el("span", {}, t("whyFor", name), found.map((row, i) => [i ? ", " : "", el("b", {}, row.label), ` ${whySignedNumber(row.values.ig)}`]), ". ");
}

function whyTableCard(data, state, answer) {
  const rows = whyRowsOf(data, state, answer);
  const { methods } = data.attribution;
  const largest = (names) => Math.max(1e-9, ...rows.flatMap((row) => names.map((name) => Math.abs(row.values[name]))));
  const scales = { true: largest(methods.filter((name) => WHY_SIGNED.has(name))), false: largest(methods.filter((name) => !WHY_SIGNED.has(name))) };
  const cell = (name, value) => {
    const signed = WHY_SIGNED.has(name);
    const width = ((signed ? 50 : 100) * Math.abs(value)) / scales[signed];
    const left = signed ? (value < 0 ? 50 - width : 50) : 0;
    const colour = signed ? (value < 0 ? "#4a7ce0" : "#e2711d") : "var(--accent)";
    return el("td", {}, el("span", { class: "v" }, el("span", { class: signed ? "vbar signed" : "vbar" }, el("i", { css: { left: `${left}%`, width: `${width}%`, background: colour } })), el("span", {}, signed ? whySignedNumber(value) : whyPercent(value))));
  };
  const part = (side) => el("tbody", {}, el("tr", {}, el("th", { class: "text part", scope: "rowgroup", colspan: methods.length + 1 }, t(side === "source" ? "whySource" : "whyPrefix"))),
    rows.filter((row) => row.side === side).map((row) => el("tr", {}, el("th", { class: "text", scope: "row" }, row.label), methods.map((name) => cell(name, row.values[name])))));
  return el("div", { class: "card" }, el("h2", {}, t("whyTable")),
    scroller(t("whyTable"), false, el("table", { class: "plain values", id: "why-table" }, el("thead", {}, el("tr", {}, el("th", { class: "text" }, t("whyToken")), methods.map((name) => el("th", {}, t(`why_${name}`))))), part("source"), part("prefix"))),
    el("p", { class: "note" }, t("whyTableNote")));
}

function whyTestCard(data, answer) {
  const test = answer.deletion;
  const card = el("div", { class: "card", id: "why-test" });
  if (!test) return card.append(el("h2", {}, t("whyTest")), el("p", { class: "note" }, t("whyNoTest"))), card;
  const other = whyNamed(answer.instead_of);
  const names = Object.keys(test.curves);
  const drawing = whyCurvesOf(data, test);
  const row = (name) => el("tr", {}, el("th", { class: "text", scope: "row" }, whySample(data, name), t(`why_${name}`)), el("td", {}, number(test.drops[name], 2)), el("td", {}, test.changed[name] === null ? t("whyNever") : String(test.changed[name])));
  card.append(el("div", { class: "tools" }, el("h2", { css: { margin: 0 } }, t("whyTest")), el("span", { class: "end" }, el("button", { class: "quiet", onclick: () => saveSvg(drawing, "deletion") }, "SVG"), el("button", { class: "quiet", onclick: () => savePng(drawing, "deletion") }, "PNG"))),
    el("p", { class: "note" }, t("whyTestLead", other)), drawing,
    scroller(t("whyTest"), false, el("table", { class: "plain", id: "why-drops" }, el("thead", {}, el("tr", {}, el("th", { class: "text" }, t("whyMethod")), el("th", {}, t("whyDrop")), el("th", {}, t("whyChanged", other)))), el("tbody", {}, names.map(row)))),
    el("p", { class: "note" }, t("whyTestNote")), ...whyOverall(data));
  return card;
}

/** Means over all questions of the page that were tested. */
function whyOverall(data) {
  const tests = data.attribution.questions.map((each) => each.deletion).filter(Boolean);
  if (tests.length < 2) return [];
  const mean = (name) => tests.reduce((sum, test) => sum + test.drops[name], 0) / tests.length;
  const better = (name) => tests.filter((test) => test.drops[name] > test.drops.random).length;
  return [el("h3", { css: { "margin-top": "1rem" } }, t("whyAll", tests.length)),
    scroller(t("whyAll", tests.length), false, el("table", { class: "plain", id: "why-all" }, el("thead", {}, el("tr", {}, el("th", { class: "text" }, t("whyMethod")), el("th", {}, t("whyDrop")), el("th", {}, t("whyBetter")))),
      el("tbody", {}, Object.keys(tests[0].drops).map((name) => el("tr", {}, el("th", { class: "text", scope: "row" }, t(`why_${name}`)), el("td", {}, number(mean(name), 2)), el("td", {}, name === "random" ? "–" : t("whyOf", better(name), tests.length)))))))];
}

const whyLineStyle = (data, name) => ({ fill: "none", "stroke-width": name === "ig" ? 2.6 : 1.8, "stroke-dasharray": WHY_DASHES.get(name), css: { stroke: whyMethodColour(data, name) } });
const whySample = (data, name) => svg("svg", { class: "sample", width: 30, height: 8, viewBox: "0 0 30 8", "aria-hidden": "true" }, svg("path", { d: "M0 4H30", ...whyLineStyle(data, name) }));

function whyCurvesOf(data, test) {
  const [width, height, left, right, top, bottom] = isNarrow() ? [360, 260, 40, 10, 28, 38] : [680, 290, 46, 12, 28, 38];
  const all = Object.values(test.curves).flat();
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const x = (removed) => left + ((width - left - right) * removed) / test.removed.at(-1);
  const y = (value) => top + ((height - top - bottom) * (high - value)) / (high - low || 1);
  const drawing = svg("svg", { class: "curves", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${t("whyTest")}: ${Object.keys(test.curves).map((name) => `${t(`why_${name}`)} ${number(test.drops[name], 2)}`).join(", ")}` });
  for (const tick of whyNiceTicks(low, high)) drawing.append(svg("path", { d: `M${left} ${y(tick)}H${width - right}`, css: { stroke: tick === 0 ? "var(--soft)" : "var(--rule)" } }), svg("text", { class: "soft", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick, Number.isInteger(tick) ? 0 : 1)));
  test.removed.forEach((removed, i) => {
    if (i === 0 || x(removed) - x(test.removed[i - 1]) > 12 || i === test.removed.length - 1) drawing.append(svg("text", { class: "soft", x: x(removed), y: height - bottom + 16, "text-anchor": "middle" }, String(removed)));
  });
  drawing.append(svg("text", { class: "soft", x: (left + width) / 2, y: height - 6, "text-anchor": "middle" }, t("whyRemoved")), svg("text", { class: "soft", x: 2, y: 12 }, t("whyDifference")));
  for (const [name, curve] of Object.entries(test.curves).reverse()) {
    const points = curve.map((value, i) => [x(test.removed[i]), y(value)]);
    drawing.append(svg("path", { d: "M" + points.map((p) => p.map((v) => v.toFixed(1)).join(" ")).join("L"), ...whyLineStyle(data, name) }),
      points.map(([cx, cy], i) => svg("circle", { cx: cx.toFixed(1), cy: cy.toFixed(1), r: 3, css: { fill: whyMethodColour(data, name) }, onpointerenter: (e) => showTip(e, t(`why_${name}`), `${t("whyRemoved")}: ${test.removed[i]}`, `${t("whyDifference")}: ${number(curve[i], 2)}`), onpointerleave: hideTip })));
  }
  return drawing;
}

function whyNiceTicks(low, high) {
  const rough = (high - low || 1) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((x) => x >= rough);
  return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, i) => (Math.ceil(low / step) + i) * step + 0);
}

const whyAboutCard = (data) => el("div", { class: "card" }, el("h2", {}, t("whyAbout")),
  el("dl", { class: "about" }, data.attribution.methods.map((name) => [el("dt", {}, t(`why_${name}`)), el("dd", {}, equationOf(t(`whyAbout_${name}`, data.model.deciding_layer + 1)))])));
