// All heads as small heat maps, and the selected ones in detail: lines from queries to keys, or a matrix.
import { headsOf, joinWords, kindsOf, layersOf, sides, weightsAt } from "./data.js";
import { cellTips, clipped, el, headColour, heatmap, hideTip, inHeadColour, isNarrow, number, pixels, savePng, saveSvg, scroller, showTip, svg } from "./draw.js";
import { t } from "./texts.js";

const FAINTEST = 0.02;
const MOST_LINES = 3000;
const LEVELS = 40; // distinguishable widths of a line

export const kindButtons = (state, set, kinds = ["encoder", "decoder", "cross"]) =>
  el("div", { class: "seg", role: "group" },
    kinds.map((kind) =>
      el("button", { "aria-pressed": String(state.kind === kind), "data-kind": kind, onclick: () => set({ kind, layer: 0, pins: [[0, state.head]], query: null, key: null }) }, t(kind))));

/** What a query of the decoder is about to predict; null for others. */
export const aboutTo = (query) => (query.next ? t("aboutTo", query.next) : null);

/** The lines of a tooltip that name a query and a key. */
export const pairNames = (query, key) => [`${query.label} → ${key.label}`, aboutTo(query)];

export const headName = (layer, head) => t("headName", layer + 1, head + 1);

/**
 * The grid of heads of one kind. Clicks and keys call choose(layer, head, pinned); a click on a layer number calls
 * whole(layer).
 */
export function headGrid(data, variant, kind, { chosen = () => false, choose, whole = null, size = 34 }) {
  const heads = headsOf(data, kind);
  const layers = layersOf(data, kind);
  const { canvas, margins } = sheetOf(variant.attention[kind], layers, heads);
  const columns = `1.4rem repeat(${heads}, minmax(0, ${size * 2}px))`;
  const grid = el("div", { class: "grid maps", role: "group", "aria-label": t("allHeads"), css: { "grid-template": `auto repeat(${layers}, auto) / ${columns}`, "--margins": margins } });
  grid.append(canvas, el("span"), ...Array.from({ length: heads }, (_, head) => el("span", { class: "label" }, String(head + 1))));
  for (let layer = 0; layer < layers; layer++) {
    const name = t("wholeLayer", layer + 1);
    grid.append(whole ? el("button", { class: "label row", "data-layer": layer, "aria-label": name, title: name, onclick: () => whole(layer) }, String(layer + 1)) : el("span", { class: "label row" }, String(layer + 1)));
    for (let head = 0; head < heads; head++) {
      grid.append(
        el("button", {
          class: "cell", "aria-pressed": String(chosen(layer, head)), "aria-label": headName(layer, head),
          "data-head": `${kind}.${layer}.${head}`, tabindex: layer || head ? -1 : 0, css: { "--head": headColour(head, heads) },
          onclick: (event) => choose(layer, head, event.shiftKey || event.ctrlKey || event.metaKey),
          onkeydown: (event) => moveInGrid(event, grid, heads, () => choose(layer, head, true)),
          onpointerenter: (event) => showTip(event, headName(layer, head)), onpointerleave: hideTip,
        }));
    }
  }
  return grid;
}

const sheets = new WeakMap();

/** All heat maps of a grid on one canvas, with margins between them. Cached, since rendering the view again reuses it. */
function sheetOf(packed, layers, heads) {
  if (!sheets.has(packed)) {
    const maps = Array.from({ length: layers * heads }, (_, i) => pixels(weightsAt(packed, Math.floor(i / heads), i % heads), inHeadColour(headColour(i % heads, heads)), 96));
    const { width, height } = maps[0];
    const [x, y] = [width, height].map((size) => Math.max(1, Math.round(size * 0.06)));
    const canvas = el("canvas", { width: heads * (width + 2 * x), height: layers * (height + 2 * y) });
    const context = canvas.getContext("2d", { willReadFrequently: true });
    maps.forEach((map, i) => context.putImageData(map, (i % heads) * (width + 2 * x) + x, Math.floor(i / heads) * (height + 2 * y) + y));
    const share = (margin, size) => `${(100 * margin) / (size + 2 * margin)}%`;
    sheets.set(packed, { canvas, margins: `${share(y, height)} ${share(x, width)}` });
  }
  return sheets.get(packed);
}

function moveInGrid(event, grid, columns, pin) {
  const cells = [...grid.querySelectorAll(".cell")];
  const at = cells.indexOf(event.currentTarget);
  const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
  if (event.key === "p" || event.key === "P") pin();
  if (step === undefined) return;
  event.preventDefault();
  cells[at + step]?.focus();
}

/** Weights of a head between words or between tokens. */
function headMatrix(data, variant, kind, layer, head, joined) {
  const [rows, cols] = sides(data, variant, kind, joined);
  const weights = weightsAt(variant.attention[kind], layer, head);
  return { rows, cols, weights: joined ? joinWords(weights, rows, cols) : weights };
}

export function headsView(data, variant, state, set) {
  const { kind, pins } = state;
  const layers = layersOf(data, kind);
  const kept = pins.filter(([layer, head]) => layer < layers && head < headsOf(data, kind));
  const choose = (layer, head, pinned) => {
    const there = kept.some(([l, h]) => l === layer && h === head);
    const one = { layer, head };
    if (!pinned && !state.pinning) set({ ...one, pins: [[layer, head]] });
    else if (!there) set({ ...one, pins: [...kept, [layer, head]] });
    else if (kept.length > 1) set({ pins: kept.filter(([l, h]) => l !== layer || h !== head) });
  };
  const whole = (layer) => set({ layer, head: 0, pins: Array.from({ length: headsOf(data, kind) }, (_, head) => [layer, head]) });
  const figure = state.view === "lines" ? linesFigure(data, variant, kind, kept, state.joined) : matrixFigure(data, variant, kind, kept, state.joined);
  const name = `attention-${kind}-` + kept.map(([l, h]) => `${l + 1}.${h + 1}`).join("-");
  const packed = variant.attention[kind];
  return el("section", {},
    el("p", { class: "lead" }, t("headsLead")),
    el("div", { class: "two" },
      el("div", { class: "card" },
        el("div", { class: "tools" }, kindButtons(state, set, kindsOf(data))),
        headGrid(data, variant, kind, { choose, whole, chosen: (layer, head) => kept.some(([l, h]) => l === layer && h === head) }),
        el("div", { class: "tools", css: { margin: ".8rem 0 0" } },
          el("button", { class: "quiet", id: "pin", "aria-pressed": String(Boolean(state.pinning)), title: t("pinNote"), onclick: () => set({ pinning: !state.pinning }) }, t("pin"))),
        el("p", { class: "note" }, t("gridNote"))),
      el("div", { class: "card" },
        el("div", { class: "tools" },
          el("div", { class: "seg" }, ["lines", "matrix"].map((view) => el("button", { "aria-pressed": String(state.view === view), "data-view": view, onclick: () => set({ view }) }, t(view)))),
          el("button", { class: "quiet", id: "join", "aria-pressed": String(state.joined), onclick: () => set({ joined: !state.joined }) }, t("join")),
          el("span", { class: "end" },
            el("button", { class: "quiet", "data-save": "svg", onclick: () => saveSvg(figure.querySelector("svg"), name) }, "SVG"),
            el("button", { class: "quiet", "data-save": "png", onclick: () => savePng(figure.querySelector("svg"), name) }, "PNG"))),
        figure,
        el("div", { class: "legend" },
          kept.map(([layer, head]) =>
            el("span", { css: { "--head": headColour(head, headsOf(data, kind)) } }, el("i"), headName(layer, head),
              kept.length > 1 && el("button", { "aria-label": `${t("unpin")}: ${headName(layer, head)}`, onclick: () => choose(layer, head, true) }, "×")))),
        kind !== "encoder" && el("p", { class: "note" }, t("nextLabels")),
        state.view === "lines" && el("p", { class: "note" }, t("fewLines", FAINTEST)),
        packed.top && el("p", { class: "note" }, t("strongest", packed.top)))));
}

/** Tokens left and right, one line per weight. Hovering over or focusing a token shows only its lines, with numbers. */
export function linesFigure(data, variant, kind, pins, joined) {
  const narrow = isNarrow();
  const width = narrow ? 360 : 620;
  const heads = pins.map(([layer, head]) => ({ ...headMatrix(data, variant, kind, layer, head, joined), colour: headColour(head, headsOf(data, kind)), name: headName(layer, head) }));
  const { rows, cols } = heads[0];
  const gap = Math.max(rows.length, cols.length) > 60 ? 17 : 25;
  const top = 14;
  const height = top * 2 + gap * Math.max(rows.length, cols.length);
  const [left, right] = narrow ? [width * 0.3, width * 0.56] : [width * 0.31, width * 0.6];
  const yOf = (i) => top + gap * (i + 0.5);
  const drawing = svg("svg", { class: "lines", viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": heads.map((h) => h.name).join(", ") });
  const strokes = svg("g");
  const numbers = svg("g");
  const draw = (only) => strokes.replaceChildren(...linePaths(heads, only, left, right, yOf));
  const tokens = { row: [], col: [] };
  const leave = () => {
    draw(null);
    numbers.replaceChildren();
    hideTip();
    for (const token of [...tokens.row, ...tokens.col]) token.setAttribute("class", "token");
  };
  const enter = (side, place) => {
    draw({ side, place });
    const other = side === "row" ? tokens.col : tokens.row;
    const weight = (i) => Math.max(...heads.map((h) => (side === "row" ? h.weights.values[place * cols.length + i] : h.weights.values[i * cols.length + place])));
    tokens[side].forEach((token, i) => token.setAttribute("class", i === place ? "token strong" : "token dim"));
    other.forEach((token, i) => token.setAttribute("class", weight(i) > 0.1 ? "token strong" : weight(i) > FAINTEST ? "token" : "token dim"));
    numbers.replaceChildren(...numbersBeside(heads.slice(0, narrow ? 1 : 2), side, place, side === "row" ? width - 4 : 4, yOf));
  };
  const token = (side, group, i) => {
    const x = side === "row" ? left - 8 : right + 8;
    const box = side === "row" ? { x: 0, width: left - 3 } : { x: right + 3, width: width - right - 3 };
    const node = svg("g", { class: "token", tabindex: 0, "data-side": side, "data-place": i, role: "img", "aria-label": ariaLabel(heads, side, i, side === "row" ? cols : rows, group), onpointerenter: () => enter(side, i), onpointerleave: leave, onfocus: () => enter(side, i), onblur: leave },
      svg("rect", { class: "back", ...box, y: yOf(i) - gap / 2, height: gap, rx: 4 }),
      svg("text", { x, y: yOf(i) + 4.5, "text-anchor": side === "row" ? "end" : "start" }, ...labelled(group, narrow ? 11 : 18)), svg("title", {}, described(group)));
    tokens[side].push(node);
    return node;
  };
  draw(null);
  drawing.append(strokes, ...rows.map((g, i) => token("row", g, i)), ...cols.map((g, i) => token("col", g, i)), numbers);
  return el("div", { class: "scroll" }, drawing);
}

/** The label of a query; if it fits, followed by the predicted token in a lighter colour. */
export function labelled(group, limit) {
  const label = clipped(group.label, limit);
  const room = limit - Array.from(label).length - 3;
  return group.next && room >= 3 ? [label, svg("tspan", { class: "next" }, ` ▸ ${clipped(group.next, room)}`)] : [label];
}

const described = (group) => [group.label, aboutTo(group)].filter(Boolean).join(", ");

/** Label of a token for screen readers: its three largest weights. */
function ariaLabel(heads, side, place, others, group) {
  const { cols, values } = heads[0].weights;
  const weight = (i) => (side === "row" ? values[place * cols + i] : values[i * cols + place]);
  const strongest = others.map((_, i) => i).sort((a, b) => weight(b) - weight(a)).slice(0, 3);
  return `${described(group)} ${side === "row" ? "→" : "←"} ${strongest.map((i) => `${others[i].label} ${weight(i).toFixed(2)}`).join(", ")}`;
}

function linePaths(heads, only, left, right, yOf) {
  const lines = [];
  for (const { weights, colour } of heads)
    for (let i = 0; i < weights.rows; i++) {
      if (only?.side === "row" && only.place !== i) continue;
      for (let j = 0; j < weights.cols; j++) {
        if (only?.side === "col" && only.place !== j) continue;
        const w = weights.values[i * weights.cols + j];
        if (w >= (only ? 0.004 : FAINTEST)) lines.push([w, i, j, colour]);
      }
    }
  lines.sort((a, b) => a[0] - b[0]);
  const bend = (right - left) * 0.32;
  const paths = new Map(); // lines of equal colour and width share one path
  for (const [w, i, j, colour] of lines.slice(-MOST_LINES)) {
    const level = Math.ceil(w * LEVELS) / LEVELS;
    const key = `${level} ${colour}`;
    if (!paths.has(key)) paths.set(key, { level, colour, d: [] });
    paths.get(key).d.push(`M${left} ${yOf(i)}C${left + bend} ${yOf(i)} ${right - bend} ${yOf(j)} ${right} ${yOf(j)}`);
  }
  return [...paths.values()].map(({ level, colour, d }) =>
    svg("path", { d: d.join(""), stroke: colour, "stroke-opacity": Math.min(1, 0.08 + 0.92 * level).toFixed(3), "stroke-width": (0.7 + 4.3 * level).toFixed(2) }));
}

function numbersBeside(heads, side, place, x, yOf) {
  const nodes = [];
  const { weights } = heads[0];
  const count = side === "row" ? weights.cols : weights.rows;
  for (let i = 0; i < count; i++)
    heads.forEach((head, k) => {
      const w = side === "row" ? head.weights.values[place * weights.cols + i] : head.weights.values[i * weights.cols + place];
      if (w >= 0.005) {
        const at = side === "row" ? x - 40 * (heads.length - 1 - k) : x + 40 * k;
        nodes.push(svg("text", { class: "soft", x: at, y: yOf(i) + 4, "text-anchor": side === "row" ? "end" : "start", css: { fill: head.colour }, "data-weight": w.toFixed(4) }, w.toFixed(3)));
      }
    });
  return nodes;
}

/** The matrices of the selected heads with token labels, one below the other. */
export function matrixFigure(data, variant, kind, pins, joined) {
  const figures = pins.map(([layer, head]) => ({ ...headMatrix(data, variant, kind, layer, head, joined), colour: headColour(head, headsOf(data, kind)), name: headName(layer, head) }));
  const { rows, cols } = figures[0];
  const cell = Math.max(rows.length, cols.length) > 60 ? 9 : Math.max(12, Math.min(24, 460 / cols.length));
  const [side, top] = [110, 84];
  const css = { "font-size": `${Math.min(11.5, cell - 0.5)}px` };
  const [width, each] = [side + cols.length * cell + 8, top + rows.length * cell + 18];
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${each * figures.length}`, width, css: { "max-width": rows.length > 60 ? "none" : "100%" }, role: "img", "aria-label": figures.map((f) => f.name).join(", ") });
  figures.forEach(({ weights, colour, name }, n) => {
    const y0 = n * each + top;
    cols.forEach((g, j) => drawing.append(svg("text", { class: "soft", css, transform: `translate(${side + (j + 0.62) * cell} ${y0 - 6}) rotate(-50)` }, clipped(g.label, 13))));
    rows.forEach((g, i) => drawing.append(svg("text", { class: "soft", css, x: side - 6, y: y0 + (i + 0.5) * cell + 4, "text-anchor": "end" }, ...labelled(g, 16), svg("title", {}, described(g)))));
    weights.values.forEach((w, at) => {
      const [i, j] = [Math.floor(at / weights.cols), at % weights.cols];
      if (w > 0.002 || weights.values.length < 2500)
        drawing.append(svg("rect", { x: side + j * cell + 0.5, y: y0 + i * cell + 0.5, width: cell - 1, height: cell - 1, rx: 2, fill: colour, "fill-opacity": (w > 0 ? 0.04 + 0.96 * w ** 0.75 : 0.02).toFixed(3), "data-weight": w.toFixed(4),
          onpointerenter: (event) => showTip(event, number(w, 4), ...pairNames(rows[i], cols[j]), name), onpointerleave: hideTip }));
    });
  });
  return scroller(t("matrix"), rows.length > 20, drawing);
}

/** A framed heat map of one head with tooltips, and with labels if there is room for them. */
export function smallMatrix(data, variant, kind, layer, head) {
  const { rows, cols, weights } = headMatrix(data, variant, kind, layer, head, false);
  const colour = headColour(head, headsOf(data, kind));
  const tip = (i, j) => [number(weights.values[i * weights.cols + j], 4), ...pairNames(rows[i], cols[j])];
  const map = el("div", { class: "mat", css: { "aspect-ratio": `${weights.cols} / ${weights.rows}`, width: "100%" } }, heatmap(weights, inHeadColour(colour), { role: "img", "aria-label": headName(layer, head), ...cellTips(weights, tip) }));
  if (isNarrow() || Math.max(rows.length, cols.length) > 32) return map;
  const labels = (groups) => groups.map((group) => el("span", {}, clipped(group.label, 9)));
  return el("div", { class: "small-matrix" }, el("span"), el("div", { class: "above", "aria-hidden": "true" }, labels(cols)), el("div", { class: "beside", "aria-hidden": "true" }, labels(rows)), map);
}
