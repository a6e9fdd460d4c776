// The logit lens: the prediction after each layer of the decoder, and the tokens most similar to the encoder's vectors.
import { matrixAt, shown, sides, weightsAt } from "./data.js";
import { clipped, el, isNarrow, number, scroller, svg } from "./draw.js";
import "./lens_texts.js";
import { t } from "./texts.js";

const RANK_LIMIT = 60000; // as in lens.py
const CURVE_COLOURS = ["var(--accent)", "#e2711d"];

export function lensView(data, state, set) {
  const own = { side: "decoder", fine: !isNarrow(), row: null, place: null, token: null, ...state.lens };
  const change = (part, focus) => set({ lens: { ...own, ...part } }, focus);
  const view = own.side === "decoder" ? decoderLens(data) : encoderLens(data);
  const kept = view.states.map((_, i) => i).filter((i) => own.fine || isEndOfLayer(view.states[i]));
  const place = Math.min(own.place ?? 1, view.columns.length - 1);
  const row = kept.includes(own.row) ? own.row : kept.at(-2) ?? kept[0];
  return el("section", {}, el("p", { class: "lead" }, t(own.side === "decoder" ? "lensLead" : "lensEncoderLead")),
    el("div", { class: "tools" },
      el("div", { class: "seg" }, ["decoder", "encoder"].map((side) => el("button", { id: `lens-${side}`, "aria-pressed": String(own.side === side), onclick: () => change({ side, row: null, place: null, token: null }) }, t(side === "decoder" ? "lensDecoder" : "lensEncoder")))),
      el("button", { class: "quiet", id: "lens-fine", "aria-pressed": String(own.fine), onclick: () => change({ fine: !own.fine }) }, t("lensFine"))),
    el("div", { class: "card" }, lensTable(view, kept, row, place, change), el("p", { class: "note" }, t(own.side === "decoder" ? "lensShade" : "lensShadeEncoder"))),
    el("div", { class: "two wide" }, detailCard(data, view, row, place, own.token, change), own.side === "decoder" ? agreementCard(data, view) : null));
}

const isEndOfLayer = ([kind]) => !["encoder", "decoder", "cross"].includes(kind);

/** Name of a state: the embedding, a layer, or a sub-layer. */
export function stateName([kind, layer], fine) {
  if (kind === "source" || kind === "target") return t("embeddingState");
  const name = t("layerState", layer + 1);
  if (!fine) return name;
  return t({ encoder: "encoderState", decoder: "decoderState", cross: "crossState" }[kind] ?? "forwardState", name);
}

/** What the table and the details of one side show. cell(row, place): [[token, value], ...], best first. */
function decoderLens(data) {
  const { pieces, states, cells, p, settled, candidates, final } = data.lens.decoder;
  const columns = sides(data, data.base, "decoder", false)[0];
  const packed = { ...p, shape: [1, ...p.shape] };
  const decoded = columns.map((_, place) => weightsAt(packed, 0, place));
  const finals = columns.map((_, place) => candidates[place][final[place]]);
  return { data: data.lens.decoder, states, columns, settled, finals, name: (index) => shown(pieces[index]), measure: "lensProbability",
    cell: (row, place) => cells[row][place].map((token, k) => [token, decoded[place].values[row * p.shape[2] + k]]) };
}

function encoderLens(data) {
  const { pieces, states, cells, cosine } = data.lens.encoder;
  const columns = sides(data, data.base, "encoder", false)[0];
  const finals = columns.map((_, place) => pieces.indexOf(data.source.tokens[place]));
  return { data: data.lens.encoder, states, columns, finals, name: (index) => shown(pieces[index]), measure: "lensSimilarity",
    cell: (row, place) => cells[row][place].map((token, k) => [token, matrixAt(cosine, place).values[row * cosine.shape[2] + k]]) };
}

function lensTable(view, kept, row, place, change) {
  const { states, columns, settled } = view;
  const fine = kept.length > 1 && kept.some((i) => !isEndOfLayer(states[i]));
  const move = (event) => {
    const [down, right] = { ArrowRight: [0, 1], ArrowLeft: [0, -1], ArrowDown: [1, 0], ArrowUp: [-1, 0] }[event.key] ?? [0, 0];
    const to = [kept[kept.indexOf(row) + down], place + right];
    if ((!down && !right) || to[0] === undefined || !columns[to[1]]) return;
    event.preventDefault();
    change({ row: to[0], place: to[1], token: null }, `[data-lens="${to.join(".")}"]`);
  };
  const cell = (i, j) => {
    const [token, value] = view.cell(i, j)[0];
    const chosen = i === row && j === place;
    const name = view.name(token);
    return el("td", {}, el("button", { class: token === view.finals[j] ? "reached" : null, "data-lens": `${i}.${j}`, "aria-pressed": String(chosen), tabindex: chosen ? 0 : -1, css: { "--w": `${Math.round(42 * Math.max(0, value))}%` }, title: name,
      "aria-label": `${stateName(states[i], fine)}, ${columns[j].label}: ${name}, ${t(view.measure)} ${number(value, 2)}`, onclick: () => change({ row: i, place: j, token: null }) }, clipped(name, 11)));
  };
  return scroller(t("lens"), true, el("table", { class: "lens", onkeydown: move },
    el("thead", {}, el("tr", {}, el("td", {}), columns.map((column) => el("th", { scope: "col" }, clipped(column.label, 12), column.next && el("small", {}, `▸ ${clipped(column.next, 11)}`))))),
    el("tbody", {}, kept.map((i) => el("tr", {}, el("th", { scope: "row" }, stateName(states[i], fine)), columns.map((_, j) => cell(i, j))))),
    settled && el("tfoot", {}, el("tr", {}, el("th", { scope: "row" }, t("settlesRow")), settled.map((i) => el("td", {}, shortState(states[i])))))));
}

const shortState = ([kind, layer]) => (kind === "target" ? t("embeddingState") : t("layerState", layer + 1));

function detailCard(data, view, row, place, token, change) {
  const { states, columns, measure } = view;
  const label = columns[place].label;
  const site = stateName(states[row], true);
  const top = view.cell(row, place);
  return el("div", { class: "card", id: "lens-detail" },
    el("h2", {}, row ? t("lensAfter", label, site) : t("lensAtEmbedding", label)),
    measure === "lensProbability" ? finalNote(view, row, place) : ownNote(view, row, place),
    el("h3", { css: { "margin-top": "1rem" } }, t(measure === "lensProbability" ? "lensTop" : "lensNearest")),
    el("table", { class: "bars" }, el("thead", {}, el("tr", {}, el("th", {}, t("lensToken")), el("th", { class: "n" }, t(measure)), el("td", {}))),
      el("tbody", {}, top.map(([index, value]) => el("tr", {}, el("th", { scope: "row" }, clipped(view.name(index), 22)), el("td", { class: "n" }, number(value)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * Math.max(0, value)}%` } })))))),
    measure === "lensProbability" && curves(view, row, place, token, change));
}

const rankText = (rank) => (rank >= RANK_LIMIT ? t("lensRankCap", RANK_LIMIT) : String(rank));

/** Rank and probability of a candidate in every state. */
function followed({ data }, place, candidate) {
  const [ranks, logs] = [matrixAt(data.rank, place), matrixAt(data.log_p, place)];
  const part = ({ values, cols }) => Array.from(values.slice(candidate * cols, (candidate + 1) * cols));
  return { ranks: part(ranks).map(Math.round), chances: part(logs).map(Math.exp) };
}

function finalNote(view, row, place) {
  const { data, settled, states, name } = view;
  const { candidates, final, given } = data;
  const say = (key, candidate, ...more) => {
    const { ranks, chances } = followed(view, place, candidate);
    return t(key, name(candidates[place][candidate]), rankText(ranks[row]), number(chances[row]), ...more);
  };
  const first = settled[place] ? stateName(states[settled[place]], true) : t("embeddingState");
  return el("p", { class: "note", "data-number": "lens" }, say("lensFinal", final[place], first), given[place] !== final[place] ? " " + say("lensGiven", given[place]) : "");
}

function ownNote({ data }, row, place) {
  const rank = Math.round(matrixAt(data.own_rank, place).values[row]);
  return el("p", { class: "note", "data-number": "lens" }, t("lensOwn", rankText(rank), number(matrixAt(data.own_cosine, place).values[row])));
}

/** Curves of the finally predicted token and of a selected one, over all states. */
function curves(view, row, place, token, change) {
  const { candidates, final } = view.data;
  const choices = candidates[place].map((index, i) => [i, view.name(index)]);
  const chosen = token ?? choices.find(([i]) => candidates[place][i] === view.cell(row, place)[0][0])?.[0] ?? final[place];
  const lines = [...new Set([final[place], chosen])].map((candidate) => ({ ...followed(view, place, candidate), name: view.name(candidates[place][candidate]) }));
  return el("div", {}, el("h3", { css: { margin: "1rem 0 .4rem" } }, t("lensCurves")),
    el("div", { class: "tokens" }, choices.map(([i, name]) => el("button", { "data-follow": i, "aria-pressed": String(i === chosen), onclick: () => change({ token: i }) }, clipped(name, 18)))),
    el("div", { class: "legend" }, lines.map((line, k) => el("span", { css: { "--head": CURVE_COLOURS[k] } }, el("i"), line.name + (k ? " (- -)" : "")))),
    chart(view.states, row, lines.map(({ chances, name }) => ({ name, values: chances, said: (x) => number(x) })), t("lensProbability"), (x) => x, ["1", "0"]),
    chart(view.states, row, lines.map(({ ranks, name }) => ({ name, values: ranks, said: rankText })), t("lensRankAxis"), rankHeight(lines), ["1", rankText(Math.max(...lines.flatMap((line) => line.ranks)))]));
}

function rankHeight(lines) {
  const worst = Math.log(Math.max(2, ...lines.flatMap((line) => line.ranks)));
  return (rank) => 1 - Math.log(rank) / worst;
}

/** heightOf(value): 0 at the bottom to 1 at the top; ends: labels of top and bottom. */
function chart(states, row, lines, title, heightOf, ends) {
  const [width, height, left, top] = [440, 132, 46, 14];
  const x = (i) => left + ((width - left - 12) * i) / Math.max(1, states.length - 1);
  const y = (value) => top + (height - top - 22) * (1 - heightOf(value));
  const summary = lines.map((line) => `${line.name}: ${line.values.map(line.said).join(", ")}`).join("; ");
  const ticks = states.map((site, i) => [site, i]).filter(([site]) => isEndOfLayer(site));
  return el("figure", { class: "curve" }, el("figcaption", {}, title),
    svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `${title}. ${summary}` },
      svg("line", { class: "axis", x1: left, x2: width - 12, y1: height - 22, y2: height - 22 }),
      svg("line", { class: "here", x1: x(row), x2: x(row), y1: top - 6, y2: height - 22 }),
      ends.map((end, k) => svg("text", { class: "soft", x: left - 6, y: k ? height - 20 : top + 6, "text-anchor": "end" }, end)),
      ticks.map(([site, i]) => svg("text", { class: "soft", x: x(i), y: height - 6, "text-anchor": "middle" }, site[0] === "target" ? "0" : String(site[1] + 1))),
      lines.map((line, k) => svg("g", {},
        svg("polyline", { points: line.values.map((value, i) => `${x(i).toFixed(1)},${y(value).toFixed(1)}`).join(" "), css: { stroke: CURVE_COLOURS[k] }, "stroke-dasharray": k ? "5 4" : null }),
        line.values.map((value, i) => svg("circle", { cx: x(i), cy: y(value), r: 2.6, css: { fill: CURVE_COLOURS[k] } }, svg("title", {}, `${stateName(states[i], true)}: ${line.name} ${line.said(value)}`)))))));
}

function agreementCard(data, view) {
  const { states, columns } = view;
  const { agreement } = data.lens;
  const ends = states.map((_, i) => i).filter((i) => isEndOfLayer(states[i]));
  const here = (i) => columns.filter((_, j) => view.cell(i, j)[0][0] === view.finals[j]).length / columns.length;
  const percent = (share) => `${Math.round(100 * share)} %`;
  const bar = (share) => el("span", { class: "hbar", css: { width: `${100 * share}%` } });
  const back = columns.filter((_, j) => view.cell(0, j)[0][0] === view.data.pieces.indexOf(data.target.inputs[j])).length;
  return el("div", { class: "card" }, el("h2", {}, t("lensAgreement")),
    scroller(t("lensAgreement"), false, el("table", { class: "bars", id: "lens-agreement" }, el("thead", {}, el("tr", {}, el("td", {}), el("th", { class: "n" }, t("lensHere")), el("td", {}), agreement && el("th", { class: "n" }, t("lensCorpus")), agreement && el("td", {}))),
      el("tbody", {}, ends.map((i, k) => el("tr", {}, el("th", { scope: "row" }, shortState(states[i])), el("td", { class: "n" }, percent(here(i))), el("td", { class: "w" }, bar(here(i))),
        agreement && el("td", { class: "n" }, percent(agreement.share[k])), agreement && el("td", { class: "w" }, bar(agreement.share[k]))))))),
    agreement && el("p", { class: "note" }, `${t("lensCorpus")}: ${t("lensMany", agreement.tokens, agreement.sentences)}`),
    el("p", { class: "note" }, t("lensReadsBack", back, columns.length), " ", t(data.model.final_norm ? "lensPre" : data.model.norm === "post" ? "lensPost" : "lensWithout")), el("p", { class: "note" }, t("lensLimit")));
}
