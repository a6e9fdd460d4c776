// Every head over training: a film of one sentence's attention, curves, and when roles emerge. Data: `over_training.py`.
import { focusKey, pageButtons, tokenMarks } from "./frame.js";
import { headsOf, shown } from "./data.js";
import { el, grouped, headColour, hideTip, isNarrow, number, scroller, showTip, svg } from "./draw.js";
import { headGrid, headName, linesFigure, matrixFigure } from "./heads.js";
import { saveButtons } from "./picture.js";
import "./film_texts.js";
import { startLanguage, t } from "./texts.js";

const FILM_FRAME_MS = 600;
const FILM_ROLES = ["alignment", "previous", "next", "same", "separator"];
const FILM_SEPARATORS = ["start", "end", "period"];
const FILM_LEAST = [0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9];
const FILM_CHART = { width: 300, height: 138, left: 36, right: 22, top: 10, bottom: 22 };

export function startFilm(root, data) {
  for (const frame of data.frames) frame.source_tokens = data.source.tokens;
  const first = data.roles[0] ?? data.heads[0];
  const state = { frame: data.frames.length - 1, kind: first.kind, layer: first.layer, head: first.head, view: "matrix", least: data.least, details: false };
  let timer = null;
  let refresh = () => {}; // updates the parts that depend on the frame
  startLanguage();
  const draw = () => {
    const focus = focusKey(root);
    const view = filmView(data, state, { set, play, move });
    refresh = view.refresh;
    root.replaceChildren(...view.nodes);
    refresh(Boolean(timer));
    if (focus) root.querySelector(focus)?.focus({ preventScroll: true });
  };
  function set(part) {
    Object.assign(state, part);
    draw();
  }
  function move(frame) {
    state.frame = frame;
    refresh(Boolean(timer));
  }
  function play() {
    const last = data.frames.length - 1;
    const stop = () => (timer = clearInterval(timer));
    if (timer) stop();
    else {
      if (state.frame === last) state.frame = 0;
      timer = setInterval(() => {
        if (state.frame + 1 >= last) stop();
        move(Math.min(last, state.frame + 1));
      }, FILM_FRAME_MS);
    }
    move(state.frame);
  }
  draw();
}

/** The nodes of the page, and refresh(playing), which updates those that depend on the frame. */
function filmView(data, state, { set, play, move }) {
  const chosen = data.heads.find((row) => row.kind === state.kind && row.layer === state.layer && row.head === state.head);
  const choose = (kind, layer, head) => set({ kind, layer, head });
  const player = filmPlayer(data, state, play, move);
  const maps = headGrid(data, data.frames[state.frame], state.kind, { choose: (layer, head) => choose(state.kind, layer, head), chosen: (layer, head) => layer === state.layer && head === state.head });
  const figure = el("div", {});
  const curves = filmCurves(data, chosen);
  const roles = filmRoles(data, state, choose, set);
  const refresh = (playing) => {
    const frame = data.frames[state.frame];
    player.refresh(playing);
    const sheet = headGrid(data, frame, state.kind, {}).querySelector("canvas"); // the same node as before for the same frame
    maps.querySelector("canvas")?.remove();
    maps.prepend(sheet);
    const draw = state.view === "lines" ? linesFigure : matrixFigure;
    figure.replaceChildren(draw(data, frame, state.kind, [[state.layer, state.head]], false));
    curves.refresh(state.frame);
    roles.refresh(state.frame);
    hideTip();
  };
  const pick = (kind) => {
    const best = data.roles.find((role) => role.kind === kind);
    choose(kind, best?.layer ?? 0, best?.head ?? 0);
  };
  const view = el("div", { class: "stack" },
    el("div", { class: "two" },
      el("div", { class: "card" },
        el("div", { class: "tools" }, el("div", { class: "seg", role: "group" }, ["encoder", "decoder", "cross"].map((kind) => el("button", { "aria-pressed": String(state.kind === kind), "data-kind": kind, css: isNarrow() ? { padding: ".26rem .35rem", "font-size": ".8rem" } : {}, onclick: () => pick(kind) }, t(kind))))),
        maps, el("p", { class: "note" }, t("filmGridNote"))),
      el("div", { class: "card" },
        el("div", { class: "tools" }, el("h2", { css: { margin: 0 } }, filmHeadName(chosen)),
          el("div", { class: "seg end" }, ["matrix", "lines"].map((name) => el("button", { "aria-pressed": String(state.view === name), "data-view": name, onclick: () => set({ view: name }) }, t(name))))),
        figure)),
    el("div", { class: "card" }, el("h2", {}, t("filmCurves", filmHeadName(chosen))), curves.node,
      el("p", { class: "note" }, t(data.frames.at(-1).weights ? "filmCurvesNote" : "filmCurvesNoteRaw"), " ", filmMeasuredOn(data), state.kind === "cross" && data.aligner ? " " + t("aerNote", t(data.aligner)) : ""),
      filmValues(data, chosen, state, set)),
    el("div", { class: "card" }, roles.node));
  return { refresh, nodes: [filmHeader(data, set), el("main", {}, el("p", { class: "lead", css: { color: "var(--soft)", "max-width": "46rem" } }, filmLead(data)), player.node, view, tokenMarks([data.source.tokens, data.target.tokens]) ?? "", saveButtons(() => view, "film"), el("footer", {}, t("footer")))] };
}

const filmHeadName = (row) => `${t(row.kind + "Long")}, ${headName(row.layer, row.head)}`;
const filmMeasuredOn = (data) => (data.corpus === "validation" ? t("filmCorpusValid", grouped(data.pairs)) : t("filmCorpusOfTest", grouped(data.pairs), data.corpus));
const filmLossName = (data) => (data.corpus === "validation" ? t("filmLoss") : t("filmTestLoss", data.corpus));

function filmHeader(data, set) {
  const m = data.model;
  return el("header", { class: "top" }, el("div", {},
    el("div", { class: "bar" }, el("h1", { class: "name" }, `allyouneed · ${t("filmTitle")}`), ...pageButtons(() => set({}))),
    el("div", { class: "pair", tabindex: 0, role: "group", "aria-label": t("theTranslation") }, [data.text, data.translation || "∅"].map((text, i) => el("p", { dir: "auto", lang: data.languages?.[i] }, text))),
    el("p", { class: "facts" }, t("facts", m.encoder_layers, m.decoder_layers, m.heads, m.d_model, m.d_k, grouped(m.parameters)))));
}

function filmLead(data) {
  const { run, frames } = data;
  const trained = frames.filter((frame) => !frame.weights);
  const own = run.finished ? t("filmOwn") : t("filmOwnSoFar");
  const origin = { random: "filmOriginRandom", start: "filmOriginStart", teacher: "filmOriginTeacher" }[run.origin];
  const last = grouped(trained.at(-1).step);
  return [t("filmLead", trained.length, grouped(trained[0].step), last), data.given ? t("filmGiven") : own,
    trained[0].step === 0 && t(origin, run.start), !run.finished && run.planned && t("filmUnfinished", last, grouped(run.planned))].filter(Boolean).join(" ");
}

/** Which weights a frame has, as the bundle describes them in English. */
function filmWeights(frame) {
  const steps = /^average of steps (.+)$/.exec(frame.weights ?? "")?.[1];
  const [, step, which] = /^step ([\d,]+), the (best|last)/.exec(frame.weights ?? "") ?? [];
  if (!frame.weights) return t("filmWeightsRaw");
  return steps ? t("filmWeightsAverage", steps) : step ? t(which === "best" ? "filmWeightsBest" : "filmWeightsLast", step) : frame.weights;
}

const filmFrameName = (frame) => (frame.weights ? t("filmFinished") : t("filmStep", grouped(frame.step)));

function filmPlayer(data, state, play, move) {
  const button = el("button", { class: "quiet", id: "play", onclick: play });
  const slider = el("input", { type: "range", id: "film", min: 0, max: data.frames.length - 1, value: state.frame, "aria-label": t("filmPlayer"), css: { "max-width": "none", flex: "1 1 10rem", "min-width": "8rem" }, oninput: (event) => move(Number(event.target.value)) });
  const name = el("b", { id: "at", css: { "min-width": "9.5rem" } });
  const facts = el("span", { css: { color: "var(--soft)", "font-size": ".84rem" } });
  const own = el("p", { css: { margin: 0, "overflow-wrap": "anywhere" }, dir: "auto", lang: data.languages?.[1] });
  const tokens = el("p", { class: "words", id: "given", css: { "line-height": 1.8 } });
  const note = el("p", { class: "note", css: { margin: ".2rem 0 0" } });
  const small = { "font-size": ".9rem", "margin-bottom": ".35rem" };
  const bar = el("div", { class: "trail", css: { top: ".4rem", "margin-bottom": "1rem" } }, button, slider, name, facts);
  const node = el("div", {}, bar,
    el("div", { class: "card", css: { "margin-bottom": "1rem" } }, el("h2", { css: small }, t("filmOwnTranslation")), own, el("h2", { css: { ...small, "margin-top": ".8rem" } }, t("theTranslation")), tokens, note));
  const refresh = (playing) => {
    const frame = data.frames[state.frame];
    const { given, top } = frame.predictions;
    button.textContent = playing ? `❚❚ ${t("pause")}` : `▶ ${t("play")}`;
    slider.value = state.frame;
    slider.setAttribute("aria-valuetext", filmFrameName(frame));
    name.textContent = filmFrameName(frame);
    facts.textContent = `${filmLossName(data)} ${frame.loss === null ? "–" : number(frame.loss, 2)} · ${filmWeights(frame)}`;
    own.textContent = Array.from(frame.translation).slice(0, 240).join("") || "∅";
    tokens.replaceChildren(...data.target.tokens.map((token, i) => {
      const said = shown(token, i === 0);
      const tip = [t("filmTokenProbability", said, number(given[i], 3)), t("filmTokenPrediction", shown(top[i][0][0], i === 0), number(top[i][0][1], 3))];
      return el("span", { class: "word shade", css: { "--w": `${Math.round(45 * given[i])}%` }, title: tip.join("; "), onpointerenter: (event) => showTip(event, ...tip), onpointerleave: hideTip }, said);
    }));
    note.textContent = t("filmGivenTokens", number(given.reduce((sum, p) => sum + p, 0) / given.length, 3), number(frame.log_p, 1));
  };
  return { node, refresh };
}

// Curves

const filmSeparatorShare = (row) => row.entropy.map((_, i) => FILM_SEPARATORS.reduce((sum, name) => sum + (row[name][i] ?? 0), 0));
const filmSeries = (row, name) => (name === "filmSeparators" ? filmSeparatorShare(row) : row[name]);
const FILM_MEASURES = ["entropy", "distance", "previous", "same", "next", "filmSeparators", "aer"];
const filmChance = (chance, name) => (name === "filmSeparators" ? FILM_SEPARATORS.reduce((sum, part) => sum + (chance[part] ?? 0), 0) : chance[name]);

/** Position of a frame from 0 to 1 on a square-root scale of steps; null for the finished model, to the right of it. */
function filmTime(frames, i) {
  const last = Math.max(1, frames.filter((frame) => !frame.weights).at(-1)?.step ?? 1);
  return frames[i].weights ? null : Math.sqrt(frames[i].step / last);
}

/** The measures of a head that are defined in some frame. */
const filmMeasures = (row) => FILM_MEASURES.filter((name) => filmSeries(row, name).some((value) => value !== null && value !== undefined));

function filmCurves(data, chosen) {
  const others = data.heads.filter((row) => row.kind === chosen.kind && row !== chosen);
  const colour = headColour(chosen.head, headsOf(data, chosen.kind));
  const charts = [
    filmChart(data, filmLossName(data), data.frames.map((frame) => frame.loss), [], data.chance.loss, "var(--accent)", 2),
    ...filmMeasures(chosen).map((name) => filmChart(data, t(name), filmSeries(chosen, name), others.map((row) => filmSeries(row, name)), filmChance(data.chance[chosen.kind], name), colour, name === "distance" ? 2 : 3, name === "aer" ? 1 : null)),
  ].filter(Boolean);
  return { node: el("div", { class: "mats", id: "curves" }, charts.map((chart) => chart.node)), refresh: (frame) => charts.forEach((chart) => chart.refresh(frame)) };
}

/** One measure over the frames; null if it is undefined. */
function filmChart(data, name, values, others, chance, colour, digits, top = null) {
  if (values.every((value) => value === null)) return null;
  const { width, height, left, right, bottom } = FILM_CHART;
  const known = [values, ...others].flat().filter((value) => value !== null);
  const most = top ?? Math.max(1e-6, ...known, chance ?? 0);
  const x = (i) => left + (width - left - right) * (filmTime(data.frames, i) ?? 1) + (data.frames[i].weights ? 12 : 0);
  const y = (value) => FILM_CHART.top + (height - FILM_CHART.top - bottom) * (1 - value / most);
  const trained = data.frames.map((_, i) => i).filter((i) => !data.frames[i].weights);
  const path = (series) => trained.filter((i) => series[i] !== null).map((i, n) => `${n ? "L" : "M"}${x(i).toFixed(1)} ${y(series[i]).toFixed(1)}`).join("");
  const stroke = (d, style, ...more) => svg("path", { d, fill: "none", css: style }, ...more);
  const text = (content, at, down, anchor) => svg("text", { class: "soft", x: at, y: down, "text-anchor": anchor }, content);
  const steps = data.frames[trained.at(-1)].step;
  const marker = svg("g", {}, svg("line", { y1: FILM_CHART.top - 4, y2: height - bottom, css: { stroke: "var(--ink)", "stroke-width": 1 } }), svg("circle", { r: 4, css: { fill: colour, stroke: "var(--card)", "stroke-width": 1.5 } }));
  const finished = data.frames.length - 1;
  const caption = el("span", { css: { "font-weight": 600, color: "var(--ink)" } });
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, role: "img", "aria-label": name, css: { "max-width": "100%" } },
    stroke(`M${left} ${FILM_CHART.top}V${height - bottom}H${width - right}`, { stroke: "var(--faint)" }),
    chance !== null && chance !== undefined && chance <= most && stroke(`M${left} ${y(chance)}H${width - right}`, { stroke: "var(--soft)", "stroke-dasharray": "3 3" }),
    stroke(others.map(path).join(""), { stroke: "var(--faint)", "stroke-width": 0.9 }),
    stroke(path(values), { stroke: colour, "stroke-width": 2.4, "stroke-linejoin": "round" }),
    data.frames[finished].weights && values[finished] !== null && svg("circle", { cx: x(finished), cy: y(values[finished]), r: 3, css: { fill: "none", stroke: colour, "stroke-width": 1.5 } }),
    text(number(most, most < 10 ? 2 : 1), left - 4, FILM_CHART.top + 8, "end"), text("0", left - 4, height - bottom, "end"),
    text("0", left, height - 6, "middle"), text(grouped(Math.round(steps / 4)), (left + width - right) / 2, height - 6, "middle"), text(grouped(steps), width - right, height - 6, "middle"), marker);
  const refresh = (frame) => {
    const value = values[frame];
    const [line, dot] = marker.children;
    for (const end of ["x1", "x2"]) line.setAttribute(end, x(frame));
    dot.setAttribute("cx", x(frame));
    dot.setAttribute("cy", value === null ? -20 : y(value));
    caption.textContent = value === null ? "–" : number(value, digits);
  };
  return { node: el("figure", {}, el("figcaption", {}, `${name}: `, caption), drawing), refresh };
}

/** The chosen head's values as a table, closed at first. */
function filmValues(data, chosen, state, set) {
  const measures = filmMeasures(chosen);
  const rows = () => data.frames.map((frame, i) => el("tr", {}, el("th", { class: "text", scope: "row" }, filmFrameName(frame)), el("td", {}, frame.loss === null ? "–" : number(frame.loss, 3)),
    measures.map((name) => el("td", {}, filmSeries(chosen, name)[i] === null ? "–" : number(filmSeries(chosen, name)[i], 3)))));
  const table = () => scroller(t("filmValuesOf", filmHeadName(chosen)), true, el("table", { class: "plain" }, el("thead", {}, el("tr", {}, ["filmPlayer", "filmLoss", ...measures].map((name, i) => el("th", { class: i ? null : "text", scope: "col" }, name === "filmLoss" ? filmLossName(data) : t(name))))), el("tbody", {}, rows())));
  return el("div", { css: { "margin-top": ".8rem" } }, el("button", { class: "quiet", id: "values", "aria-expanded": String(state.details), onclick: () => set({ details: !state.details }) }, t("filmValuesOf", filmHeadName(chosen))), state.details && table());
}

// Roles

const filmInterval = (data, frame) => {
  const { frames } = data;
  if (frames[frame].weights) return t("filmOnlyFinished");
  return frame ? t("filmBetween", grouped(frames[frame - 1].step), grouped(frames[frame].step)) : t("filmAtFirst", grouped(frames[0].step));
};

/** The interval as short as a table needs. */
function filmSpan(data, frame) {
  const { frames } = data;
  if (frames[frame].weights) return t("filmFinished");
  return frame ? `${grouped(frames[frame - 1].step)}–${grouped(frames[frame].step)}` : `≤ ${grouped(frames[0].step)}`;
}

function filmRoleSentence(data, role, found) {
  const name = t(`${role}Long`);
  const best = data.roles.find((each) => each.role === role);
  if (!best) return t("filmEmergeNever", name);
  if (!found.length) return t("filmEmergeNone", name, number(best.score, 2), `${t(best.kind)} ${t("headShort", best.layer + 1, best.head + 1)}`, number(2 * best.threshold - best.score, 2));
  const frames = found.map((each) => each.frame);
  const [first, last] = [Math.min(...frames), Math.max(...frames)].map((frame) => filmInterval(data, frame));
  if (found.length === 1) return t("filmEmergeOne", name, first);
  return first === last ? t("filmEmergeSame", name, found.length, first) : t("filmEmergeMany", name, found.length, first, last);
}

function filmRoles(data, state, choose, set) {
  const found = Object.fromEntries(FILM_ROLES.map((role) => [role, data.roles.filter((each) => each.role === role && each.score >= state.least).sort((a, b) => a.frame - b.frame || b.score - a.score)]));
  const rows = FILM_ROLES.flatMap((role) => found[role]);
  const marks = [];
  const percent = (i) => 94 * (filmTime(data.frames, i) ?? 1) + (data.frames[i].weights ? 6 : 0);
  const track = (each) => {
    const [from, to] = [each.frame ? percent(each.frame - 1) : 0, Math.max(percent(each.frame), 1)];
    const mark = el("i", { css: { position: "absolute", top: 0, bottom: 0, width: "1.5px", background: "var(--ink)" } });
    marks.push(mark);
    return el("div", { css: { position: "relative", height: ".8rem", "min-width": "7rem", background: "var(--wash)", "border-radius": "3px" } },
      el("i", { css: { position: "absolute", top: 0, bottom: 0, left: `${from}%`, width: `${to - from}%`, background: headColour(each.head, headsOf(data, each.kind)), "border-radius": "3px" } }), mark);
  };
  const line = (each) => el("tr", { class: each.kind === state.kind && each.layer === state.layer && each.head === state.head ? "on" : null },
    el("td", { class: "text", css: { "min-width": "7rem" } }, t(`${each.role}Long`)),
    el("th", { class: "text", scope: "row", css: { "min-width": "8rem" } }, el("button", { "data-role": `${each.role}.${each.kind}.${each.layer}.${each.head}`, onclick: () => choose(each.kind, each.layer, each.head) }, el("i", { class: "dot", css: { "--head": headColour(each.head, headsOf(data, each.kind)) } }), `${t(each.kind)} ${t("headShort", each.layer + 1, each.head + 1)}`)),
    el("td", {}, filmSpan(data, each.frame)), el("td", {}, track(each)), el("td", {}, number(each.score, 2)), el("td", {}, number(each.threshold, 2)));
  const columns = ["filmRoleColumn", "filmHeadColumn", "filmEmergesColumn", "filmWhenColumn", "filmLastScore", "filmThresholdColumn"];
  const least = el("select", { id: "least", onchange: (event) => set({ least: Number(event.target.value) }) }, FILM_LEAST.map((score) => el("option", { value: score, selected: score === state.least }, score.toFixed(1))));
  const node = el("div", {}, el("h2", {}, t("filmEmergeTitle")),
    el("ul", { id: "roles", css: { margin: "0 0 .8rem", "padding-left": "1.1rem" } }, FILM_ROLES.map((role) => el("li", {}, filmRoleSentence(data, role, found[role])))),
    el("p", { class: "note" }, t("filmEmergeLead", state.least.toFixed(1)), " ", t("filmEmergeScores"), " ", filmMeasuredOn(data), " ", t("aerNote", t(data.aligner))),
    el("div", { class: "tools", css: { margin: ".8rem 0" } }, el("label", { class: "range" }, t("filmLeastScore"), least)),
    rows.length > 0 && scroller(t("filmRoleTable"), rows.length > 0, el("table", { class: "plain", id: "roletable" }, el("thead", {}, el("tr", {}, columns.map((name, i) => el("th", { class: i < 2 ? "text" : null, scope: "col" }, t(name))))), el("tbody", {}, rows.map(line)))));
  return { node, refresh: (frame) => marks.forEach((mark) => mark.style.setProperty("left", `${percent(frame)}%`)) };
}
