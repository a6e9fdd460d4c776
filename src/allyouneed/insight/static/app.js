// The explorer: one state object, from which the whole view is rendered. `start(root, data, {fetchVariant})` mounts it.
import { attributionView } from "./attribution.js";
import { headsOf, kindsOf, layersOf } from "./data.js";
import { el, grouped } from "./draw.js";
import { focusKey, pageButtons, tokenMarks } from "./frame.js";
import { guideView } from "./guide.js";
import { headsView } from "./heads.js";
import { insideView } from "./inside.js";
import { lensView } from "./lens.js";
import { comparisonView } from "./comparison.js";
import { patchingView } from "./patching.js";
import { saveButtons } from "./picture.js";
import { searchView } from "./search.js";
import { stepsView } from "./steps.js";
import { PAPER, switchKey, switchName, switchesView } from "./switches.js";
import { twinsView } from "./twins.js";
import { startLanguage, t } from "./texts.js";

/** Whether the data has a part; a deferred part exists, and is not parsed to find out. */
const has = (name) => (data) => Boolean(data.deferred?.includes(name) || data[name]);

// The tabs in their order. shown(data, state): whether the page has what the view needs; draw({data, variant, state, set,
// change}): the view's element.
const VIEWS = {
  guide: { shown: (data) => !data.model.kinds, draw: ({ data, state, set }) => guideView(data, state, set) },
  heads: { shown: () => true, draw: ({ data, variant, state, set }) => headsView(data, variant.attention ? variant : data.base, state, set) },
  steps: { shown: (data) => "stages" in data, draw: ({ data, state, set }) => stepsView(data, state, set) },
  switches: { shown: (data) => Boolean(data.base.predictions), draw: ({ data, variant, state, set, change }) => switchesView(data, variant, state, set, change, state.live) },
  twins: { shown: has("twins"), draw: ({ data, state, set }) => twinsView(data, state, set) },
  lens: { shown: has("lens"), draw: ({ data, state, set }) => lensView(data, state, set) },
  inside: { shown: has("inside"), draw: ({ data, state, set }) => insideView(data, state, set) },
  search: { shown: (data) => Boolean(data.links), draw: ({ data, state, set }) => searchView(data, state, set) },
  comparison: { shown: has("comparison"), draw: ({ data, state, set }) => comparisonView(data, state, set) },
  attribution: { shown: has("attribution"), draw: ({ data, state, set }) => attributionView(data, state, set) },
  patching: { shown: (data, state) => Boolean(data.patching || state.fetchPatching), draw: ({ data, state, set }) => patchingView(data, state, set) },
};
const tabsOf = (data, state) => Object.keys(VIEWS).filter((name) => VIEWS[name].shown(data, state));

/**
 * data: see `explorer.py`. fetchVariant(switches): returns a promise of a variant, if the page has a server; without it,
 * the page shows only the variants in its data. fetchAttribution(candidate, insteadOf): the same for an answer to why one
 * path of tokens is preferred to another; fetchPatching(against): the patching into another sentence.
 */
export function start(root, data, { fetchVariant = null, fetchAttribution = null, fetchPatching = null } = {}) {
  const live = Boolean(fetchVariant);
  const fetched = new Map();
  let requested = PAPER; // switches of the last click; the view changes when the variant has arrived
  const variantOf = (key) => (key === "" ? data.base : (fetched.get(key) ?? data.variants[key]));
  const state = { tab: "heads", kind: kindsOf(data)[0], layer: 0, head: 0, pins: [[0, 0]], pinning: false, joined: false, view: "lines", query: null, key: null,
    local: { scale: true, mask: true, temperature: 1 }, switches: PAPER, coming: null, problem: null, place: null, step: null, alpha: null, live, fetchAttribution, fetchPatching };
  const current = () => variantOf(switchKey(state.switches)) ?? data.base;
  startLanguage();
  const draw = (focus) => render(root, data, state, current(), set, change, focus);
  function set(part, focus) {
    Object.assign(state, part);
    draw(focus ?? focusKey(root));
  }
  /** update: maps the switches requested so far to the new ones, so that clicks while a request is pending add up. */
  async function change(update) {
    const switches = (requested = update(requested));
    const key = switchKey(switches);
    let problem = null;
    if (!variantOf(key) && live) {
      set({ coming: switches, problem });
      await fetchVariant(switches).then((variant) => fetched.set(key, variant), (error) => (problem = t("failed", error.message)));
      if (requested !== switches) return; // superseded by a later click
    }
    if (variantOf(key)) return set({ switches, coming: null, problem: null, ...mostAffected(state, switches) });
    requested = state.switches;
    set({ coming: null, problem: problem ?? t("absent") });
  }
  draw();
}

/** Select the attention that is most affected by the mask that was just turned off. */
function mostAffected(state, switches) {
  const now = (name) => state.switches[name] && !switches[name];
  const kind = now("future_mask") ? "decoder" : now("padding_mask") ? "encoder" : null;
  return kind ? { kind, layer: 0, pins: [[0, state.head]] } : {};
}

function render(root, data, state, variant, set, change, focus) {
  const view = VIEWS[state.tab].draw({ data, variant, state, set, change });
  view.setAttribute("role", "tabpanel");
  view.setAttribute("aria-labelledby", `tab-${state.tab}`);
  view.id = "panel";
  const scrolled = Object.fromEntries([...root.querySelectorAll("#tree")].map((node) => [node.id, [node.scrollLeft, node.scrollTop]]));
  const chip = variant !== data.base && state.tab === "heads" && el("p", { css: { margin: "0 0 1rem" } }, el("span", { class: "chip" }, switchName(variant.switches), variant.attention ? "" : ` (${t("noAttention")})`, el("button", { "aria-label": t("paper"), onclick: () => change(() => PAPER) }, "×")));
  redraw(root, header(data, set), el("main", {}, tabBar(data, state, set), chip || null, view, tokenMarks([data.source.tokens, data.target.tokens]), saveButtons(() => root.querySelector("#panel"), `look-${state.tab}`), el("footer", {}, t(state.live ? "footerLive" : "footer"))));
  for (const [id, [left, top]] of Object.entries(scrolled)) root.querySelector("#" + id)?.scrollTo(left, top);
  showTab(root.querySelector("nav.tabs"));
  if (focus) root.querySelector(focus)?.focus({ preventScroll: true });
}

/** Scroll the tab bar to the selected tab, and mark the sides on which more tabs are hidden. */
function showTab(bar) {
  const selected = bar.querySelector("[aria-selected=true]");
  const mark = () => {
    const hidden = bar.scrollWidth - bar.clientWidth;
    bar.classList.toggle("more", bar.scrollLeft < hidden - 4);
    bar.classList.toggle("less", bar.scrollLeft > 4);
  };
  if (bar.scrollWidth > bar.clientWidth) bar.scrollLeft = selected.offsetLeft - (bar.clientWidth - selected.offsetWidth) / 2;
  bar.addEventListener("scroll", mark, { passive: true });
  mark();
}

/** Replace the children of `root`, but keep a focused slider in the document: removing it would end the drag. */
function redraw(root, ...children) {
  const fresh = el("div", {}, children);
  const held = root.contains(document.activeElement) && document.activeElement.type === "range" ? document.activeElement : null;
  const replacement = held && fresh.querySelector("#" + held.id);
  if (!replacement) return root.replaceChildren(...children);
  held.value = replacement.value;
  for (let [old, now] = [root, fresh]; old !== held; ) {
    const [kept, like] = [[...old.children].find((x) => x.contains(held)), [...now.children].find((x) => x.contains(replacement))];
    const nodes = [...now.childNodes];
    const place = nodes.indexOf(like);
    for (const node of [...old.childNodes]) if (node !== kept) node.remove();
    kept.before(...nodes.slice(0, place));
    kept.after(...nodes.slice(place + 1));
    for (const { name, value } of [...like.attributes]) kept.setAttribute(name, value);
    [old, now] = [kept, like];
  }
}

function header(data, set) {
  const texts = [data.text, data.translation];
  const long = texts.join("").length > 400;
  return el("header", { class: "top" }, el("div", {},
    el("div", { class: "bar" }, el("h1", { class: "name" }, `allyouneed · ${t("title")}`), ...pageButtons(() => set({}))),
    el("div", { class: long ? "pair long" : "pair" }, texts.map((text, i) => text !== null && el("p", { dir: "auto", lang: data.languages?.[i], tabindex: long ? 0 : null }, text || "∅"))),
    el("p", { class: "facts" }, facts(data))));
}

function facts(data) {
  const { model: m } = data;
  if (m.kinds) return kindsOf(data).map((kind) => t("factsGiven", t(kind), layersOf(data, kind), headsOf(data, kind))).join(" · ");
  const heads = m.decoder_heads === m.heads ? m.heads : `${m.heads} / ${m.decoder_heads}`;
  return t("facts", m.encoder_layers, m.decoder_layers, heads, m.d_model, m.d_k, grouped(m.parameters));
}

function tabBar(data, state, set) {
  const tabs = tabsOf(data, state);
  const move = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const tab = tabs[(tabs.indexOf(state.tab) + step + tabs.length) % tabs.length];
    set({ tab }, `#tab-${tab}`);
  };
  return el("nav", { class: "tabs", role: "tablist", onkeydown: move }, tabs.map((tab) =>
    el("button", { role: "tab", id: `tab-${tab}`, "aria-selected": String(state.tab === tab), "aria-controls": "panel", tabindex: state.tab === tab ? 0 : -1, onclick: () => set({ tab }) }, t(tab))));
}
