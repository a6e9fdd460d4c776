// The equations of sections 3.3 to 3.5 as this model computes them, in the notation of `equationOf`.

/** The sum that enters the first layer. */
export function embeddingFormula({ scaled, embedding_norm }) {
  const sum = `E[token]${scaled ? " · √d_{model}" : ""} + PE(pos)`;
  return `x = ${embedding_norm ? `LayerNorm(${sum})` : sum}`;
}

/** What the embedding of a token is called before the position is added. */
export const scaledName = ({ scaled }) => (scaled ? "E · √d_{model}" : "E");

/** The exponent of 10000 for the pair i of components. */
export const exponentOf = ({ frequencies }) => (frequencies === "tensor2tensor" ? "i / (d/2 − 1)" : "2i/d");

/** Activations other than ReLU: the name and the definition. */
const ACTIVATIONS = {
  swish: ["swish", "swish(z) = z / (1 + e^{−z})"],
  gelu: ["GELU", "GELU(z) = z · Φ(z)"],
  gelu_tanh: ["GELU", "GELU(z) ≈ z/2 · (1 + tanh(√(2/π) · (z + 0.044715 z^3)))"],
  gelu_sigmoid: ["GELU", "GELU(z) ≈ z / (1 + e^{−1.702 z})"],
};
export const activationName = ({ activation }) => ACTIVATIONS[activation]?.[0] ?? "ReLU";
export const activationFormula = ({ activation }) => ACTIVATIONS[activation]?.[1];

/** The feed-forward network, equation 2. */
export function feedForwardFormula(model) {
  const bias = (number) => (model.feed_forward_bias ? ` + b_${number}` : "");
  const inner = `x W_1${bias(1)}`;
  return `FFN(x) = ${model.activation === "relu" ? `max(0, ${inner})` : `${activationName(model)}(${inner})`} W_2${bias(2)}`;
}
