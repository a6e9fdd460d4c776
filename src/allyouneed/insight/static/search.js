// The search: the tree of the beam, the hypotheses, the decoder's attention at each step, and word alignment.
import { forkOf } from "./attribution.js";
import { headsOf, penalised, shown, sides, textOf, weightsAt } from "./data.js";
import { clipped, el, equationOf, hideTip, number, savePng, saveSvg, scroller, showTip, svg } from "./draw.js";
import { t } from "./texts.js";

export function searchView(data, state, set) {
  const { search } = data;
  const section = el("section", {});
  if (search) section.append(el("p", { class: "lead" }, t("searchLead", search.beam_size)), treeCard(data, state, set), pickCard(data, state, set), penaltyCard(data, state, set));
  else section.append(el("p", { class: "lead" }, t("noSearch")));
  section.append(stepCard(data, state, set), linksCard(data));
  return section;
}

function pathTo(nodes, place) {
  const path = [];
  for (let at = place; at >= 0; at = nodes[at][0]) path.unshift(at);
  return path;
}

const hypothesisText = (nodes, place) => textOf(pathTo(nodes, place).map((at) => nodes[at][2])).trim();

function ranked(search, alpha) {
  const score = (place) => penalised(search.nodes[place][3], search.nodes[place][1], alpha, search.offset);
  return [...search.ended].sort((a, b) => score(b) - score(a)).map((place) => ({ place, score: score(place) }));
}

const alphaOf = (data, state) => state.alpha ?? data.search.alpha;

export function treeCard(data, state, set) {
  const { nodes } = data.search;
  const alpha = alphaOf(data, state);
  const winner = ranked(data.search, alpha)[0]?.place ?? -1;
  const best = new Set(pathTo(nodes, winner));
  const length = data.target.tokens.length; // at the last step of the translation, the longer hypotheses are shown too
  const until = (state.step ?? length) >= length ? Infinity : state.step;
  const [column, row, top] = [104, 21, 22];
  const perStep = {};
  const spots = nodes.map(([, step]) => {
    perStep[step] = (perStep[step] ?? -1) + 1;
    return [14 + (step - 1) * column + 62, top + perStep[step] * row];
  });
  const steps = Math.max(0, ...nodes.map((n) => n[1]));
  const most = Math.max(0, ...Object.values(perStep)) + 1;
  const drawing = svg("svg", { viewBox: `0 0 ${steps * column + 120} ${top + most * row}`, width: steps * column + 120, height: top + most * row, role: "img", "aria-label": t("tree") });
  const later = svg("g");
  nodes.forEach(([parent, step, token, logP, status], i) => {
    const [x, y] = spots[i];
    const [px, py] = parent < 0 ? [8, top] : [spots[parent][0] + 6, spots[parent][1]];
    const classes = [status === "cut" && "cut", status === "ended" && "ended", best.has(i) && "best", step > until && "later", asksWhy(data, state) && "pickable", state.picks?.includes(i) && "picked"].filter(Boolean).join(" ");
    const middle = (px + 48 + x - 6) / 2;
    const from = parent < 0 ? px : px + 8 * Math.min(6, Array.from(shown(nodes[parent][2], true)).length) + 6;
    const group = svg("g", { class: classes, "data-node": i, onclick: asksWhy(data, state) && (() => set({ picks: picked(state, i) })), onpointerenter: (e) => showTip(e, hypothesisText(nodes, i) || token, `log p ${number(logP)}`, status === "ended" && `${t("score")} ${number(penalised(logP, step, alpha, data.search.offset))}`), onpointerleave: hideTip },
      svg("path", { d: `M${from} ${py}C${middle} ${py} ${middle} ${y} ${x - 5} ${y}` }), svg("circle", { cx: x, cy: y, r: 3 }), svg("text", { x: x + 7, y: y + 4 }, clipped(shown(token, step === 1), 6)));
    (best.has(i) ? later : drawing).append(group);
  });
  drawing.append(later);
  return el("div", { class: "card" }, el("div", { class: "tools" }, el("h2", { css: { margin: 0 } }, t("tree")), stepControl(state, set, length),
    el("span", { class: "end" }, el("button", { class: "quiet", onclick: () => saveSvg(drawing, "beam") }, "SVG"), el("button", { class: "quiet", onclick: () => savePng(drawing, "beam") }, "PNG"))),
    el("div", { class: "tree", id: "tree", tabindex: 0, role: "region", "aria-label": t("tree") }, drawing));
}

const asksWhy = (data, state) => Boolean(data.attribution) && state.tab === "search";

/** The selected nodes after a click on one more: at most two, the earlier one leaves. */
const picked = ({ picks = [] }, i) => (picks.includes(i) ? picks.filter((each) => each !== i) : [...picks, i].slice(-2));

/** The two selected nodes, and the question why the model prefers one of them. */
function pickCard(data, state, set) {
  if (!asksWhy(data, state)) return "";
  const { nodes } = data.search;
  const picks = state.picks ?? [];
  const names = picks.map((place) => hypothesisText(nodes, place) + (nodes[place][2] === "</s>" ? " </s>" : ""));
  const asked = picks.length === 2 ? forkOf(...picks.map((place) => pathTo(nodes, place).map((at) => nodes[at][2]))) : null;
  return el("div", { class: "card", id: "picks" }, el("p", { class: "note", css: { margin: 0 } }, t("whyPick")),
    picks.length > 0 && el("p", { css: { margin: ".4rem 0 0" } }, t("whyPicked", names.map((name) => `“${name}”`).join(", "))),
    picks.length === 2 && !asked && el("p", { class: "note" }, t("whySame")),
    asked && el("button", { class: "quiet", id: "ask-why", css: { "margin-top": ".6rem" }, onclick: () => set({ tab: "attribution", why: asked }, "#tab-attribution") }, t("whyGo", shown(asked.one, true), shown(asked.other, true))));
}

let timer = null;

function stepControl(state, set, steps) {
  const now = Math.min(state.step ?? steps, steps);
  const stop = () => {
    clearInterval(timer);
    timer = null;
  };
  const play = () => {
    if (timer) {
      stop();
      set({});
      return;
    }
    let at = now >= steps ? 0 : now;
    timer = setInterval(() => {
      at += 1;
      if (at >= steps) stop();
      set({ step: Math.min(at, steps) });
    }, 650);
    set({ step: Math.max(1, at) });
  };
  return [el("button", { class: "quiet", id: "play", onclick: play }, timer ? t("pause") : t("play")),
    el("label", { class: "range" }, t("step"), el("input", { type: "range", id: "step", min: 1, max: steps, value: now, oninput: (e) => set({ step: Number(e.target.value) }) }), el("span", {}, String(now)))];
}

function penaltyCard(data, state, set) {
  const { search } = data;
  const alpha = alphaOf(data, state);
  const rows = ranked(search, alpha);
  return el("div", { class: "card" }, el("div", { class: "tools" }, el("h2", { css: { margin: 0 } }, t("hypothesis")),
    el("label", { class: "range" }, t("penalty"), el("input", { type: "range", id: "alpha", min: 0, max: 2, step: 0.1, value: alpha, oninput: (e) => set({ alpha: Number(e.target.value) }) }), el("span", {}, alpha.toFixed(1)))),
    scroller(t("hypothesis"), false, el("table", { class: "plain", id: "hypotheses" }, el("thead", {}, el("tr", {}, asksWhy(data, state) && el("th", {}, t("whyCompare")), el("th", { class: "text" }, t("hypothesis")), el("th", {}, t("length")), el("th", {}, t("logP")), el("th", {}, t("score")))),
      el("tbody", {}, rows.slice(0, 8).map(({ place, score }, i) => el("tr", { class: i ? null : "on" },
        asksWhy(data, state) && el("td", {}, el("input", { type: "checkbox", id: `pick-${place}`, checked: state.picks?.includes(place), "aria-label": `${t("whyCompare")}: ${hypothesisText(search.nodes, place) || "∅"}`, onchange: () => set({ picks: picked(state, place) }) })), el("td", { class: "text" }, hypothesisText(search.nodes, place) || "∅"), el("td", {}, String(search.nodes[place][1])), el("td", {}, number(search.nodes[place][3])), el("td", {}, number(score))))))),
    el("p", { class: "note" }, equationOf(t("penaltyNote"))));
}

/** The source, shaded by the decoder's attention at the step that predicts the selected target token. */
function stepCard(data, state, set) {
  const layer = data.model.deciding_layer;
  const place = Math.min((state.step ?? data.target.tokens.length) - 1, data.target.tokens.length - 1);
  const heads = Array.from({ length: headsOf(data, "cross") }, (_, h) => weightsAt(data.base.attention.cross, layer, h));
  const query = sides(data, data.base, "cross", false)[0][place];
  const weight = (j) => heads.reduce((sum, h) => sum + h.values[place * h.cols + j], 0) / heads.length;
  const target = data.target.tokens.map((token, i) => el("button", { class: i === place ? "word on" : "word", "aria-pressed": String(i === place), css: { color: i > place ? "var(--soft)" : null, cursor: "pointer" }, "data-step": i + 1, onclick: () => set({ step: i + 1 }) }, shown(token, i === 0)));
  const source = data.source.tokens.map((token, j) => el("span", { class: "word shade", css: { "--w": `${Math.round(70 * weight(j))}%` }, onpointerenter: (e) => showTip(e, number(weight(j), 4), shown(token, true)), onpointerleave: hideTip }, shown(token, j === 0)));
  return el("div", { class: "card" }, el("h2", {}, t("atStep")), el("p", { class: "words" }, source), el("p", { class: "words" }, target), el("p", { class: "note" }, t("queryAtStep", query.label, query.next ?? "…"), " ", t("meanOf", layer + 1)));
}

function linksCard(data) {
  const both = ["source", "target"].map((side) => data[side].words.map(([first, last, begin, end], i) => {
    const text = begin >= 0 ? Array.from(data[side].text).slice(begin, end).join("") : textOf(data[side].tokens.slice(first, last)).trim();
    return el("span", { class: "word", tabindex: 0, "data-word": `${side}.${i}`, onpointerenter: (e) => light(e, side, i), onpointerleave: dark, onfocus: (e) => light(e, side, i), onblur: dark }, text || "␣");
  }));
  function dark() {
    hideTip();
    for (const word of both.flat()) word.className = "word";
  }
  function light(event, side, i) {
    dark();
    const from = side === "source" ? 0 : 1;
    const links = data.links.filter((link) => link[from] === i);
    both[from][i].className = "word on";
    for (const link of links) both[1 - from][link[1 - from]].className = "word lit";
    const [, , begin, end] = data[side].words[i];
    showTip(event, both[from][i].textContent, begin >= 0 && t("characters", begin, end), links.length === 1 && t("linked", `${Math.round(100 * links[0][2])} %`));
  }
  return el("div", { class: "card", id: "links" }, el("h2", {}, t("words")), el("p", { class: "words" }, both[0]), el("p", { class: "words" }, both[1]), el("p", { class: "note" }, t("wordsNote", data.model.deciding_layer + 1)));
}
