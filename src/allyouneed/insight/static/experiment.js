// The softmax of random dot products as d_k grows, with and without the division by √d_k (section 3.2.1).
import { el, number } from "./draw.js";
import { t } from "./texts.js";

const DRAWN_KEYS = 16;
const DRAWN_QUERIES = 64;
const WIDEST_KEY = 10; // log2 of the largest d_k

/** Pseudo-random normal numbers that are equal on every page: mulberry32, then the Box-Muller transform. */
function randomNormals(count) {
  let seed = 2017;
  const uniform = () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let x = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) / 4294967296;
  };
  return Float32Array.from({ length: count }, () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
}

const softmaxMeasured = new Map();

/** Means over random queries, for the scores divided by √d_k ("scaled") and not ("unscaled"): entropy, norm of the
 * softmax's Jacobian, largest weight; and the weights of the first query. */
export function measureSoftmax(d_k) {
  if (softmaxMeasured.has(d_k)) return softmaxMeasured.get(d_k);
  const keys = randomNormals((DRAWN_KEYS + DRAWN_QUERIES) * d_k);
  const queries = keys.subarray(DRAWN_KEYS * d_k);
  const result = { unscaled: noTotals(), scaled: noTotals() };
  for (let i = 0; i < DRAWN_QUERIES; i++) {
    const scores = Array.from({ length: DRAWN_KEYS }, (_, j) => {
      let sum = 0;
      for (let k = 0; k < d_k; k++) sum += queries[i * d_k + k] * keys[j * d_k + k];
      return sum;
    });
    addSoftmax(result.unscaled, scores);
    addSoftmax(result.scaled, scores.map((score) => score / Math.sqrt(d_k)));
  }
  softmaxMeasured.set(d_k, result);
  return result;
}

const noTotals = () => ({ entropy: 0, jacobian: 0, largest: 0, weights: null });

function addSoftmax(total, scores) {
  const top = Math.max(...scores);
  const exps = scores.map((score) => Math.exp(score - top));
  const sum = exps.reduce((a, b) => a + b, 0);
  const weights = exps.map((x) => x / sum);
  const [squares, cubes] = [2, 3].map((power) => weights.reduce((a, p) => a + p ** power, 0));
  total.weights ??= weights;
  total.entropy += weights.reduce((a, p) => (p > 0 ? a - p * Math.log(p) : a), 0) / DRAWN_QUERIES;
  // ‖diag(p) − p pᵀ‖² = Σ p² − 2 Σ p³ + (Σ p²)²
  total.jacobian += Math.sqrt(Math.max(0, squares - 2 * cubes + squares ** 2)) / DRAWN_QUERIES;
  total.largest += Math.max(...weights) / DRAWN_QUERIES;
}

/** The experiment with a slider for d_k. */
export function scaleExperiment(state, set) {
  const power = state.scalePower ?? 6;
  const d_k = 2 ** power;
  const result = measureSoftmax(d_k);
  const side = (name) => {
    const { entropy, jacobian, largest, weights } = result[name];
    return el("div", { "data-scaled": name }, el("h3", {}, t(name)),
      el("div", { class: "columns", role: "img", "aria-label": t("firstWeights", weights.map((w) => number(w, 2)).join(", ")) }, weights.map((w) => el("i", { css: { height: `${100 * w}%` } }))),
      el("div", { class: "figures" }, [["entropyMean", `${number(entropy, 2)} / ${number(Math.log(DRAWN_KEYS), 2)}`], ["largestMean", number(largest, 2)], ["jacobianMean", number(jacobian)]].map(([label, value]) => el("div", {}, el("small", {}, t(label)), el("span", {}, value)))));
  };
  return el("div", { class: "experiment" },
    el("label", { class: "range" }, "dₖ", el("input", { type: "range", id: "scale-power", min: 0, max: WIDEST_KEY, value: power, "aria-valuetext": String(d_k), oninput: (event) => set({ scalePower: Number(event.target.value) }) }), el("b", {}, String(d_k))),
    el("div", { class: "sides keep" }, side("unscaled"), side("scaled")),
    el("p", { class: "note" }, t("experimentNote", DRAWN_KEYS, DRAWN_QUERIES)));
}
