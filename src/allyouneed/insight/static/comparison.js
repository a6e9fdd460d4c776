// Two models side by side: translations, next tokens, and heads with their differences.
import { headsOf, shown, sides, weightsAt } from "./data.js";
import { cellTips, clipped, diverging, el, headColour, heatmap, inHeadColour, number, scroller } from "./draw.js";
import { headGrid, headName, kindButtons } from "./heads.js";
import "./comparison_texts.js";
import { t } from "./texts.js";

/** state.cmpText: whose translation is examined; cmpAt: position; cmpOther: head of the second model, if chosen. */
export function comparisonView(data, state, set) {
  const found = data.comparison;
  return el("section", {}, el("p", { class: "lead" }, t("cmLead")),
    modelsCard(found),
    found.exchangeable && !data.patching && el("p", { class: "note" }, t("cmPatchable")),
    el("div", { class: "stack", css: { "margin-top": "1rem" } }, found.same_tokens ? nextCard(found, state, set) : el("p", { class: "note" }, t("cmVocabulary")),
      headsCard(found, state, set), found.heads && headTable(found, state, set)));
}

const comparedNames = (found) => found.names.map((name) => clipped(name, 40));

function modelsCard(found) {
  const names = comparedNames(found);
  const { set: measured } = found;
  const loss = (values) => values.map((x) => number(x, 3));
  return el("div", { class: "card" }, el("h2", {}, t("cmModels")),
    el("div", { class: "sides" }, found.sides.map((side, i) => el("div", {}, el("h3", {}, names[i]), el("p", { class: "translation", "data-compared": i }, side.text || "∅"), el("p", { class: "note" }, found.described[i])))),
    scroller(t("cmLogP"), false, el("table", { class: "plain", css: { "margin-top": ".8rem" } },
      el("thead", {}, el("tr", {}, el("th", { class: "text" }, t("cmLogP")), names.map((name) => el("th", {}, t("cmBy", name))))),
      el("tbody", {}, found.scored.map((row, i) => el("tr", {}, el("th", { class: "text", scope: "row" }, t("cmTranslationOf", names[i])), row.map((each) => el("td", {}, number(each.log_p, 2)))))))),
    el("p", { class: "note" }, !measured ? t("cmNoSet") : measured.per_token ? t("cmLoss", measured.pairs, ...loss(measured.per_token), ...loss(measured.per_character)) : t("cmLossCharacters", measured.pairs, ...loss(measured.per_character))));
}

function nextCard(found, state, set) {
  const names = comparedNames(found);
  const text = state.cmpText ?? 0;
  const [scored, divergence] = [found.scored[text], found.divergence[text]];
  const { tokens } = scored[0];
  const at = Math.min(state.cmpAt ?? divergence.indexOf(Math.max(...divergence)), tokens.length - 1);
  const table = ({ top, given }) => {
    const listed = top[at].some(([piece]) => piece === tokens[at]) ? top[at] : [...top[at], [tokens[at], given[at]]];
    return el("table", { class: "bars" }, el("tbody", {}, listed.map(([piece, p]) => el("tr", { class: piece === tokens[at] ? "on" : null },
      el("th", { scope: "row" }, clipped(shown(piece, true), 14)), el("td", { class: "n" }, number(p)), el("td", { class: "w" }, el("span", { class: "hbar", css: { width: `${100 * p}%` } }))))));
  };
  return el("div", { class: "card", id: "compared-next" }, el("h2", {}, t("cmNext")),
    el("div", { class: "seg", role: "group" }, names.map((name, i) => el("button", { "aria-pressed": String(text === i), "data-compared-text": i, onclick: () => set({ cmpText: i, cmpAt: null }) }, t("cmTranslationOf", name)))),
    el("div", { class: "tokens", css: { "margin-top": ".7rem" } }, tokens.map((piece, i) => el("button", { "aria-pressed": String(i === at), "data-compared-at": i, title: `${number(divergence[i])} bit`, css: { background: `color-mix(in srgb, #e2711d ${Math.round(55 * divergence[i])}%, var(--card))` }, onclick: () => set({ cmpAt: i }) }, shown(piece, i === 0)))),
    el("p", { class: "note", css: { margin: "0 0 .7rem" } }, t("cmNextNote", number(divergence[at], 3))),
    el("div", { class: "sides" }, scored.map((each, i) => el("div", {}, el("h3", {}, names[i]), table(each)))));
}

/** Data and variant of one model in the form that the functions of heads.js take. */
function comparedModel(found, i) {
  const source_tokens = found.source_tokens[i];
  return [{ model: found.model[i], source: { tokens: source_tokens, words: [] }, target: { tokens: found.scored[0][i].tokens, inputs: found.inputs[i], words: [] } }, { source_tokens, attention: found.attention[i] }];
}

function comparedHeads(found, state) {
  const { kind } = state;
  const shapes = found.attention.map((attention) => attention[kind].shape);
  const inside = ([layer, head], i) => [Math.min(layer, shapes[i][0] - 1), Math.min(head, shapes[i][1] - 1)];
  const first = inside([state.layer, state.head], 0);
  const matched = found.heads && (state.cmpMatched ?? true);
  const partner = matched ? [first[0], found.heads[kind].match[first[0]][first[1]]] : first;
  return [first, inside(state.cmpOther ?? partner, 1)];
}

function headsCard(found, state, set) {
  const names = comparedNames(found);
  const { kind } = state;
  const chosen = comparedHeads(found, state);
  const columns = names.map((name, i) => {
    const [data, variant] = comparedModel(found, i);
    const choose = (layer, head) => set(i ? { cmpOther: [layer, head] } : { layer, head, pins: [[layer, head]], cmpOther: null });
    const grid = headGrid(data, variant, kind, { choose, chosen: (l, h) => l === chosen[i][0] && h === chosen[i][1], size: 24 });
    if (i) for (const cell of grid.querySelectorAll(".cell")) {
      cell.dataset.comparedHead = cell.dataset.head;
      cell.removeAttribute("data-head"); // so that the focus returns to this grid
    }
    const matrix = el("div", {}, el("h3", {}, `${name}, ${headName(...chosen[i])}`), labelledMatrix(weightsAt(variant.attention[kind], ...chosen[i]), sides(data, variant, kind, false), inHeadColour(headColour(chosen[i][1], headsOf(data, kind))), `${name}, ${headName(...chosen[i])}`));
    return { grid: el("div", {}, el("h3", {}, name), grid), matrix };
  });
  const reset = (part) => set({ ...part, cmpOther: null });
  return el("div", { class: "card", id: "compared-heads" }, el("h2", {}, t("cmHeads")),
    el("div", { class: "tools" }, kindButtons(state, reset),
      found.heads && el("button", { class: "quiet", id: "compared-match", "aria-pressed": String(state.cmpMatched ?? true), onclick: () => reset({ cmpMatched: !(state.cmpMatched ?? true) }) }, t("cmMatched"))),
    el("p", { class: "note", css: { margin: "0 0 .8rem" } }, found.heads ? t("cmMatchedNote", found.sentences) : t("cmShapes")),
    el("div", { class: "sides keep" }, columns.map(({ grid }) => grid)),
    el("div", { class: "sides", css: { "margin-top": "1rem" } }, columns.map(({ matrix }) => matrix)),
    found.heads && differenceFigure(found, kind, chosen));
}

/** A heat map with the tokens of its queries on the left and of its keys above. */
function labelledMatrix(matrix, [rows, cols], paint, name) {
  const tip = (i, j) => [number(matrix.values[i * matrix.cols + j], 4), `${rows[i].label} → ${cols[j].label}`];
  const map = el("div", { class: "mat", css: { "aspect-ratio": `${matrix.cols} / ${matrix.rows}` } }, heatmap(matrix, paint, { role: "img", "aria-label": name, ...cellTips(matrix, tip) }));
  if (Math.max(matrix.rows, matrix.cols) > 36) return map;
  const label = (group) => el("span", { title: group.label }, clipped(group.label, 9));
  return el("div", { class: "framed" }, el("span"), el("div", { class: "above" }, cols.map(label)), el("div", { class: "beside" }, rows.map(label)), map);
}

function differenceFigure(found, kind, [first, second]) {
  const [a, b] = [weightsAt(found.attention[0][kind], ...first), weightsAt(found.attention[1][kind], ...second)];
  const matrix = { ...a, values: a.values.map((x, i) => x - b.values[i]) };
  const distance = matrix.values.reduce((sum, x) => sum + Math.abs(x), 0) / matrix.rows / 2;
  const paint = diverging({ values: [1] }); // the full colour is a difference of 1 for every head
  return el("div", { css: { "margin-top": "1rem" } }, el("h3", {}, t("cmDifference")),
    labelledMatrix(matrix, sides(...comparedModel(found, 0), kind, false), paint, t("cmDifference")),
    el("p", { class: "note" }, t("cmDifferenceNote"), ` ${t("cmDistance")} `, el("b", { "data-number": "distance" }, number(distance))));
}

function headTable(found, state, set) {
  const { kind } = state;
  const { match, distance, at_index: atIndex } = found.heads[kind];
  const names = comparedNames(found);
  const rows = match.flatMap((layer, l) => layer.map((other, h) => ({ l, h, other, distance: distance[l][h], same: atIndex[l][h] })));
  rows.sort((a, b) => b.distance - a.distance);
  const [first] = comparedHeads(found, state);
  return el("div", { class: "card" }, el("h2", {}, t("cmTable")), scroller(t("cmTable"), false, el("table", { class: "plain", id: "compared-table" },
    el("thead", {}, el("tr", {}, [names[0], names[1], t("cmDistance"), t("cmAtIndex"), ...names.map((name) => t("cmEntropy", name))].map((name, i) => el("th", { scope: "col" }, i < 2 ? clipped(name, 20) : name)))),
    el("tbody", {}, rows.map(({ l, h, other, distance: d, same }) => el("tr", { class: l === first[0] && h === first[1] ? "on" : null },
      el("td", {}, el("button", { class: "quiet", "data-compared-row": `${l}.${h}`, onclick: () => set({ layer: l, head: h, pins: [[l, h]], cmpOther: null, cmpMatched: true }) }, t("headShort", l + 1, h + 1))),
      el("td", {}, t("headShort", l + 1, other + 1)), el("td", {}, number(d)), el("td", {}, number(same)), el("td", {}, number(found.entropy[0][kind][l][h], 2)), el("td", {}, number(found.entropy[1][kind][l][other], 2))))))),
    el("p", { class: "note" }, t("cmTableNote")));
}
