// The page of a comparison: scores, and the sentences of two systems side by side. Everything is in the page's data.
const data = JSON.parse(document.getElementById("data").textContent);
const root = document.getElementById("page");
const STEP = 50; // sentences drawn at a time
const MOST_CELLS = 250000; // of the table that aligns two sentences
const CLEAR = 0.05; // of the measure; smaller differences are rounding
const isSampled = data.sample.length < data.sentences; // otherwise the sample has all sentences
const DEFAULTS = { query: "", show: isSampled ? "sample" : "differing", length: "any", measure: "chrf", sort: "difference", marks: "other", drawn: STEP };
const state = { ...DEFAULTS };

// Scripts without spaces are compared by character, others by word.
const UNSPACED = "\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}\\p{Script=Tibetan}";
const TOKEN = new RegExp(`[${UNSPACED}]\\p{M}*|(?:(?![${UNSPACED}])[\\p{L}\\p{M}\\p{N}’'-])+|\\s+|.`, "gsu");
const tokensOf = (text) => text.match(TOKEN) ?? [];

const sample = new Set(data.sample.map((pair) => pair.line));
const rows = [...new Map([...data.most_different, ...data.sample].map((pair) => [pair.line, pair])).values()].map((pair) => {
  const measured = pair.source ?? pair.references[0];
  return { ...pair, text: [pair.source ?? "", ...pair.references, ...pair.translations].join("\n").toLowerCase(), measured };
});
const isSpaced = rows.filter((row) => /\s/.test(row.measured)).length * 2 >= rows.length;
for (const row of rows) row.size = isSpaced ? row.measured.split(/\s+/).filter(Boolean).length : [...row.measured].length;
const bounds = lengthBounds(rows.map((row) => row.size));

const number = (value) => value.toLocaleString(document.documentElement.lang);
const fixed = (value, digits = 1) => value.toFixed(digits).replace("-", "−");
const signed = (value, digits = 1) => (value > 0 ? "+" : "") + fixed(value, digits);
const gap = (row) => row[state.measure][1] - row[state.measure][0];

function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

/** The two sizes that divide the sentences into three parts of about equal number; fewer if sizes repeat. */
function lengthBounds(sizes) {
  const sorted = [...sizes].sort((one, other) => one - other);
  const at = (share) => sorted[Math.floor(share * sorted.length)] ?? 0;
  return [...new Set([at(1 / 3), at(2 / 3)])].filter((bound) => bound > (sorted[0] ?? 0));
}

/** Indices of the tokens of each side that the other lacks, by their longest common subsequence. */
function differing(one, other) {
  const words = [one, other].map((tokens) => tokens.map((token, index) => [token, index]).filter(([token]) => token.trim()));
  let [a, b] = words;
  const kept = [new Set(), new Set()];
  const keep = (x, y) => { kept[0].add(x[1]); kept[1].add(y[1]); };
  while (a.length && b.length && a[0][0] === b[0][0]) { keep(a[0], b[0]); a = a.slice(1); b = b.slice(1); }
  while (a.length && b.length && a.at(-1)[0] === b.at(-1)[0]) { keep(a.at(-1), b.at(-1)); a = a.slice(0, -1); b = b.slice(0, -1); }
  if (a.length * b.length <= MOST_CELLS) {
    const width = b.length + 1;
    const common = new Uint16Array((a.length + 1) * width);
    for (let i = a.length - 1; i >= 0; i--) {
      for (let j = b.length - 1; j >= 0; j--) {
        common[i * width + j] = a[i][0] === b[j][0] ? common[(i + 1) * width + j + 1] + 1 : Math.max(common[(i + 1) * width + j], common[i * width + j + 1]);
      }
    }
    for (let i = 0, j = 0; i < a.length && j < b.length;) {
      if (a[i][0] === b[j][0]) keep(a[i++], b[j++]);
      else if (common[(i + 1) * width + j] >= common[i * width + j + 1]) i++;
      else j++;
    }
  }
  return words.map((tokens, side) => new Set(tokens.map(([, index]) => index).filter((index) => !kept[side].has(index))));
}

/** A text with the tokens of `marked` in <mark>; neighbours are joined, with the spaces between them. */
function withMarks(tokens, marked) {
  const parts = [];
  for (let i = 0; i < tokens.length;) {
    let end = i + 1;
    const isMarked = marked.has(i);
    while (end < tokens.length && (marked.has(end) === isMarked || (isMarked && !tokens[end].trim() && marked.has(end + 1)))) end++;
    const text = tokens.slice(i, end).join("");
    parts.push(isMarked ? el("mark", {}, text) : text);
    i = end;
  }
  return parts;
}

function translations(row) {
  const tokens = row.translations.map(tokensOf);
  const none = new Set();
  if (state.marks === "none") return tokens.map((each) => withMarks(each, none));
  if (state.marks === "other") {
    const marked = differing(...tokens);
    return tokens.map((each, side) => withMarks(each, marked[side]));
  }
  return tokens.map((each) => {
    const marked = row.references.map((reference) => differing(each, tokensOf(reference))[0]);
    return withMarks(each, marked.reduce((best, next) => (next.size < best.size ? next : best)));
  });
}

const ORDERS = {
  difference: (a, b) => Math.abs(gap(b)) - Math.abs(gap(a)), a: (a, b) => gap(a) - gap(b), b: (a, b) => gap(b) - gap(a),
  lowA: (a, b) => a[state.measure][0] - b[state.measure][0], lowB: (a, b) => a[state.measure][1] - b[state.measure][1],
  line: () => 0, longest: (a, b) => b.size - a.size, shortest: (a, b) => a.size - b.size,
};

function selected() {
  const query = state.query.trim().toLowerCase();
  const shows = {
    sample: (row) => sample.has(row.line), all: () => true, differing: (row) => row.translations[0] !== row.translations[1],
    a: (row) => gap(row) <= -CLEAR, b: (row) => gap(row) >= CLEAR, equal: (row) => Math.abs(gap(row)) < CLEAR,
  };
  const [low, high] = state.length === "any" ? [0, Infinity] : state.length.split("-").map(Number);
  return rows
    .filter((row) => shows[state.show](row) && row.size >= low && row.size <= high && (!query || row.text.includes(query)))
    .sort((a, b) => ORDERS[state.sort](a, b) || a.line - b.line);
}

function header() {
  const isDark = () => (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme ??= isDark() ? "dark" : "light";
  const [source, target] = data.languages;
  const facts = [t("test", number(data.sentences), data.test), source && target ? t("pair", source, target) : target ?? null];
  return el("header", {},
    el("div", { class: "bar" },
      el("p", { class: "name" }, "allyouneed"),
      el("button", { id: "theme", class: "quiet", "aria-label": t("theme"), title: t("theme"), onclick: () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; } }, "◐"),
      el("button", { id: "language", class: "quiet", lang: language ? "en" : "ko", onclick: () => { switchLanguage(); draw(); } }, t("language"))),
    el("h1", {}, t("title")),
    el("ul", { class: "systems" }, data.systems.map((name, side) => el("li", {}, letter(side), " ", el("span", {}, name)))),
    el("p", { class: "soft" }, facts.filter(Boolean).join(" · ")));
}

const letter = (side) => el("b", { class: `letter ${"ab"[side]}` }, "AB"[side]);

function scores() {
  const value = (score, isBest) => el("td", { class: isBest ? "best" : "" },
    el("span", {}, fixed(score.score, 2)), el("small", {}, `${fixed(score.mean, 2)} ±\u00a0${fixed(score.interval, 2)}`));
  const names = { bleu: "BLEU", chrf: "chrF", "chrf++": "chrF++", ter: "TER" };
  const row = (metric) => {
    const isSignificant = metric.is_significant;
    const ahead = metric.lower_is_better ? -metric.difference : metric.difference;
    return el("tr", {}, el("th", { scope: "row" }, names[metric.name], metric.lower_is_better ? el("small", {}, t("lower")) : null),
      value(metric.scores[0], isSignificant && ahead < 0), value(metric.scores[1], isSignificant && ahead > 0),
      el("td", {}, signed(metric.difference, 2)),
      metric.difference ? el("td", {}, metric.p_value.toFixed(4), el("small", {}, t(isSignificant ? "significant" : "notSignificant"))) : el("td", {}, t("equal")));
  };
  const head = [t("metric"), letter(0), letter(1), t("difference"), t("pValue")];
  return el("section", {}, el("h2", {}, t("scores")),
    el("div", { class: "wide", tabindex: 0, role: "region", "aria-label": t("scores") }, el("table", {}, el("thead", {}, el("tr", {}, head.map((cell) => el("th", { scope: "col" }, cell)))),
      el("tbody", {}, data.metrics.map(row)))),
    el("p", { class: "soft" }, t("scoresNote")),
    el("details", {}, el("summary", {}, t("signatures")), el("ul", { class: "plain" }, data.metrics.map((metric) => el("li", {}, el("code", {}, `${names[metric.name]}|${metric.signature}`))))));
}

function bar() {
  const parts = [["a", data.better.A], ["equal", data.better.equal], ["b", data.better.B]];
  const drawn = el("div", { class: "share", "aria-hidden": "true" }, parts.map(([name]) => el("i", { class: name })));
  parts.forEach(([, count], index) => { drawn.children[index].style.flexGrow = count; });
  const labels = parts.map(([name, count]) => el("span", { class: name }, name === "equal" ? t("equal") : t("better", name.toUpperCase()), " ", el("b", {}, number(count))));
  return el("figure", {}, drawn, el("div", { class: "labels" }, labels), el("figcaption", { class: "soft" }, t("betterNote")));
}

function choice(name, label, options) {
  const change = (event) => { state[name] = event.target.value; state.drawn = STEP; list(); };
  const items = options.map(([value, text]) => el("option", { value, selected: state[name] === value }, text));
  return el("label", {}, el("span", {}, label), el("select", { id: name, onchange: change }, items));
}

function controls() {
  const ranges = [0, ...bounds.map((bound) => bound + 1)].map((low, index) => [low, bounds[index] ?? Infinity]);
  const range = ([low, high]) => (low === 0 ? t("atMost", high) : high === Infinity ? t("atLeast", low) : low === high ? String(low) : t("between", low, high));
  const hasSource = rows.some((row) => row.source !== null);
  const size = isSpaced ? (hasSource ? "length" : "lengthReference") : hasSource ? "characters" : "charactersReference";
  const search = (event) => { state.query = event.target.value; state.drawn = STEP; list(); };
  return el("form", { class: "controls", onsubmit: (event) => event.preventDefault(), onreset: (event) => { event.preventDefault(); Object.assign(state, DEFAULTS); draw(); } },
    el("label", { class: "search" }, el("span", {}, t("search")), el("input", { id: "query", type: "search", value: state.query, placeholder: t("searchHint"), oninput: search })),
    choice("show", t("show"), [...(isSampled ? [["sample", t("sample", data.sample.length)]] : []), ["all", t("all")], ["differing", t("differing")], ["a", t("better", "A")], ["b", t("better", "B")], ["equal", t("equal")]]),
    bounds.length ? choice("length", t(size), [["any", t("anyLength")], ...ranges.map((each) => [each.join("-"), range(each)])]) : null,
    choice("sort", t("sort"), [["difference", t("byDifference")], ["b", t("byB")], ["a", t("byA")], ["lowA", t("lowA")], ["lowB", t("lowB")], ["line", t("byLine")], ["longest", t("longest")], ["shortest", t("shortest")]]),
    choice("measure", t("measure"), [["chrf", "chrF"], ["bleu", "BLEU"]]),
    choice("marks", t("marks"), [["other", t("marksOther")], ["reference", t("marksReference")], ["none", t("marksNone")]]),
    el("button", { type: "reset", class: "quiet" }, t("reset")));
}

function card(row) {
  const [source, target] = data.languages;
  const text = (label, content, lang, name) => el("div", { class: `text ${name}` }, el("dt", {}, label), el("dd", { dir: "auto", lang }, content.length ? content : el("span", { class: "soft" }, t("empty"))));
  const score = (side) => el("small", {}, fixed(row[state.measure][side]));
  const outputs = translations(row);
  const references = row.references.map((reference, index) => text(row.references.length > 1 ? t("referenceNumber", index + 1) : t("reference"), reference, target, "reference"));
  const difference = gap(row);
  const sign = Math.abs(difference) < CLEAR ? "equal" : difference < 0 ? "a" : "b";
  return el("li", { class: "card" },
    el("h3", {}, t("line", number(row.line)), el("span", { class: `gap ${sign}` }, t("gap", state.measure === "chrf" ? "chrF" : "BLEU", signed(difference)))),
    el("dl", {}, row.source === null ? null : text(t("source"), row.source, source, "source"), references),
    el("dl", { class: "both" }, outputs.map((output, side) => text(el("span", {}, letter(side), " ", score(side)), output, target, "output " + "ab"[side]))));
}

function list() {
  const found = selected();
  const area = document.getElementById("list");
  const count = document.getElementById("count");
  count.textContent = t("count", number(found.length), number(rows.length)) + (state.show === "sample" ? t("sampleNote", data.sample.length) : "");
  const more = Math.min(STEP, found.length - state.drawn);
  area.replaceChildren(
    found.length ? el("ol", { class: "plain" }, found.slice(0, state.drawn).map(card)) : el("p", { class: "soft" }, t("none")),
    ...(more > 0 ? [el("button", { id: "more", class: "quiet", onclick: () => showMore() }, t("more", number(more)))] : []));
}

function showMore() {
  const first = state.drawn;
  state.drawn += STEP;
  list();
  const next = document.querySelectorAll("#list .card")[first];
  next.tabIndex = -1;
  next.focus({ preventScroll: true }); // keyboard users continue at the first new sentence
}

function draw() {
  const focused = document.activeElement?.id;
  document.documentElement.lang = language ? "ko" : "en";
  const kept = rows.length < data.sentences ? el("p", { class: "soft" }, t("kept", number(data.most_different.length), number(data.sentences))) : null;
  root.replaceChildren(header(), el("main", {}, scores(), el("section", {}, el("h2", {}, t("sentences")), bar(), kept, controls(),
    el("p", { id: "count", class: "soft", role: "status" }), el("div", { id: "list" }))));
  list();
  if (focused) document.getElementById(focused)?.focus();
}

draw();
