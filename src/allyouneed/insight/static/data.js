// Decoding of the arrays that `coding.py` packs, and computations for the views. This module draws nothing.

/** The page's data. Parts that the first view does not need are parsed on first use. */
export function pageData() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const data = read("data");
  for (const name of data.deferred) {
    let part = null;
    Object.defineProperty(data, name, { get: () => (part ??= read(name)) });
  }
  return data;
}

const unpacked = new WeakMap();

function bytesOf(text) {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return bytes;
}

export function integers(text, bits) {
  const bytes = bytesOf(text);
  return bits === 8 ? bytes : new Uint16Array(bytes.buffer);
}

function once(packed, make) {
  if (!unpacked.has(packed)) unpacked.set(packed, make());
  return unpacked.get(packed);
}

/** Weights {rows, cols, values} of one head, from `coding.pack_weights`; weights left out by `top` are zero. */
export function weightsAt(packed, layer, head) {
  const [, heads, rows, cols] = packed.shape;
  const values = new Float32Array(rows * cols);
  const data = once(packed, () => integers(packed.data, packed.bits));
  const first = layer * heads + head;
  if (packed.top) {
    packed.keyIndices ??= integers(packed.keys, 16);
    for (let row = 0; row < rows; row++) {
      for (let k = 0; k < packed.top; k++) {
        const at = (first * rows + row) * packed.top + k;
        values[row * cols + packed.keyIndices[at]] = data[at] / 65535;
      }
    }
    return { rows, cols, values };
  }
  const start = first * rows * cols;
  for (let i = 0; i < values.length; i++) {
    const q = data[start + i];
    values[i] = packed.bits === 16 ? q / 65535 : (q / 255) ** 2;
  }
  return { rows, cols, values };
}

/** Matrix `index` of `coding.pack_matrices`: {rows, cols, of, values}; of: number of columns before thinning. */
export function matrixAt(packed, index = 0) {
  const [rows, cols] = packed.shape.slice(-2);
  const data = once(packed, () => integers(packed.data, packed.bits));
  const step = (packed.high[index] - packed.low[index]) / (2 ** packed.bits - 1);
  const values = new Float32Array(rows * cols);
  const start = index * rows * cols;
  for (let i = 0; i < values.length; i++) values[i] = packed.low[index] + step * data[start + i];
  return { rows, cols, of: packed.of, values };
}

/** Original index of the k-th stored column. */
export const columnNumber = (matrix, k) =>
  matrix.cols === matrix.of ? k : Math.floor((k * (matrix.of - 1)) / Math.max(1, matrix.cols - 1) + 0.5);

/** Softmax of each row in steps: scaled = scores / divisor, mask (hidden(row, col) is true if masked), weights. */
export function softmaxSteps(scores, divisor, hidden) {
  const { rows, cols } = scores;
  const scaled = scores.values.map((x) => x / divisor);
  const weights = new Float32Array(rows * cols);
  for (let row = 0; row < rows; row++) {
    const seen = [];
    for (let col = 0; col < cols; col++) if (!hidden(row, col)) seen.push(row * cols + col);
    const largest = Math.max(...seen.map((i) => scaled[i]));
    const exps = seen.map((i) => Math.exp(scaled[i] - largest));
    const sum = exps.reduce((a, b) => a + b, 0);
    seen.forEach((i, k) => (weights[i] = exps[k] / sum));
  }
  return { scaled: { ...scores, values: scaled }, weights: { rows, cols, values: weights } };
}

export function timesValues(weights, values) {
  const out = new Float32Array(weights.rows * values.cols);
  for (let i = 0; i < weights.rows; i++)
    for (let j = 0; j < weights.cols; j++) {
      const w = weights.values[i * weights.cols + j];
      if (w) for (let k = 0; k < values.cols; k++) out[i * values.cols + k] += w * values.values[j * values.cols + k];
    }
  return { rows: weights.rows, cols: values.cols, of: values.of, values: out };
}

/** Means over rows of the entropy, in nats, and of ‖diag(p) - p pᵀ‖, the Frobenius norm of the softmax's Jacobian. */
export function rowStatistics({ rows, cols, values }) {
  let entropy = 0;
  let jacobian = 0;
  for (let i = 0; i < rows; i++) {
    let squares = 0;
    let cubes = 0;
    for (let j = 0; j < cols; j++) {
      const p = values[i * cols + j];
      if (p > 0) entropy -= p * Math.log(p);
      squares += p * p;
      cubes += p * p * p;
    }
    jacobian += Math.sqrt(Math.max(0, squares - 2 * cubes + squares * squares));
  }
  return { entropy: entropy / rows, jacobian: jacobian / rows };
}

/** Standard deviation of the products q_k k_k over all components and all pairs of a query and a key it may attend to. */
export function productSpread(queries, keys, causal) {
  const { rows, cols } = queries;
  const [sums, squares] = [new Float64Array(cols), new Float64Array(cols)]; // over the visible keys
  let [first, second, count] = [0, 0, 0];
  let seen = 0;
  for (let i = 0; i < rows; i++) {
    for (const until = causal ? Math.min(i + 1, keys.rows) : keys.rows; seen < until; seen++)
      for (let k = 0; k < cols; k++) {
        const x = keys.values[seen * cols + k];
        sums[k] += x;
        squares[k] += x * x;
      }
    for (let k = 0; k < cols; k++) {
      const x = queries.values[i * cols + k];
      first += x * sums[k];
      second += x * x * squares[k];
    }
    count += seen * cols;
  }
  return Math.sqrt(Math.max(0, second / count - (first / count) ** 2));
}

export function spread(values, keep = () => true) {
  const kept = Array.from(values).filter((_, i) => keep(i));
  const mean = kept.reduce((a, b) => a + b, 0) / kept.length;
  return Math.sqrt(kept.reduce((a, b) => a + (b - mean) ** 2, 0) / kept.length);
}

/** Layers and heads of a kind of attention. Given arrays (`view.py`) list their kinds, which may differ in both. */
export const layersOf = (data, kind) => (data.model.kinds ? (data.model.kinds[kind]?.[0] ?? 0) : kind === "encoder" ? data.model.encoder_layers : data.model.decoder_layers);
export const headsOf = (data, kind) => data.model.kinds?.[kind]?.[1] ?? (kind === "encoder" ? data.model.heads : data.model.decoder_heads);
/** d_k and d_v of a kind of attention. */
export const widthsOf = ({ model }, kind) => (kind === "encoder" ? { d_k: model.d_k, d_v: model.d_v } : { d_k: model.decoder_d_k, d_v: model.decoder_d_v });
export const kindsOf = (data) => ["encoder", "decoder", "cross"].filter((kind) => layersOf(data, kind));

/** Index of a head in `entropy` and `change`. */
export function headIndex(data, kind, layer, head) {
  const { encoder_layers: encoder, decoder_layers: decoder, heads, decoder_heads } = data.model;
  if (kind === "encoder") return layer * heads + head;
  return encoder * heads + (layer + (kind === "cross" ? decoder : 0)) * decoder_heads + head;
}

/** Display form of a token: byte tokens unchanged, without ▁ at the beginning of a word, with · inside a word. */
export function shown(token, first = false) {
  if (token === "▁") return "␣";
  if (/^(<.*>)$/.test(token)) return token;
  return token.startsWith("▁") ? token.slice(1) : first ? token : "·" + token;
}

/**
 * Labels and token ranges [first, last) of the queries and keys of an attention. A query of the decoder is labelled with
 * its input token; `next` is the token or word that its last position predicts, null where that is unknown.
 */
export function sides(data, variant, kind, joined) {
  const source = () => groupsOf(variant.source_tokens ?? data.source.tokens, data.source.words, 0, joined);
  const inputs = () => groupsOf(data.target.inputs, data.target.words, 1, joined);
  return {
    encoder: () => [source(), source()],
    decoder: () => [predicting(data, inputs()), inputs()],
    cross: () => [predicting(data, inputs()), source()],
  }[kind]();
}

function predicting(data, groups) {
  const { tokens, predicts = true } = data.target;
  if (!predicts) return groups; // every position sees the others, so none predicts its successor
  const last = tokens.at(-1) === "</s>" ? "</s>" : null; // a recording does not know what follows its last input
  return groups.map((group, i) => ({ ...group, next: i + 1 < groups.length ? groups[i + 1].label : last }));
}

/** Labels and token ranges of tokens, or of their words; the first `shift` tokens are no words. */
export function groupsOf(tokens, words, shift, joined) {
  const single = (i) => ({ first: i, last: i + 1, label: shown(tokens[i], i === shift) });
  if (!joined) return tokens.map((_, i) => single(i));
  const groups = shift ? [single(0)] : [];
  for (const [first, last] of words) {
    const text = textOf(tokens.slice(first + shift, last + shift)).trim();
    if (first + shift < tokens.length) groups.push({ first: first + shift, last: Math.min(last + shift, tokens.length), label: text || "␣" });
  }
  for (let i = groups.length ? groups.at(-1).last : 0; i < tokens.length; i++) groups.push(single(i));
  return groups;
}

/** Weights between words: the sum over the tokens of the key, the mean over those of the query. */
export function joinWords(weights, rows, cols) {
  const values = new Float32Array(rows.length * cols.length);
  rows.forEach((row, i) =>
    cols.forEach((col, j) => {
      let sum = 0;
      for (let a = row.first; a < row.last; a++)
        for (let b = col.first; b < col.last; b++) sum += weights.values[a * weights.cols + b];
      values[i * cols.length + j] = sum / (row.last - row.first);
    }),
  );
  return { rows: rows.length, cols: cols.length, values };
}

/** Text formed by tokens. */
export function textOf(pieces) {
  let text = "";
  let bytes = [];
  const flush = () => {
    if (bytes.length) text += new TextDecoder().decode(new Uint8Array(bytes));
    bytes = [];
  };
  for (const piece of pieces) {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(piece);
    if (byte) bytes.push(parseInt(byte[1], 16));
    else {
      flush();
      if (piece !== "</s>" && piece !== "<s>") text += piece.replaceAll("▁", " ");
    }
  }
  flush();
  return text;
}

export const penalised = (logP, length, alpha, offset) => logP / ((offset + length) / (offset + 1)) ** alpha;

/** Angle by which the pair i of components turns from a position to the next: section 3.5, or tensor2tensor's. */
export function angleOf(pair, { d_model, frequencies }) {
  return 1 / 10000 ** (frequencies === "tensor2tensor" ? pair / Math.max(1, d_model / 2 - 1) : (2 * pair) / d_model);
}

/** Component `k` of the encoding of the token at `index`, counted from 0: sines at even and cosines at odd components. */
export function positionComponent(index, k, model) {
  const angle = (index + model.first_position) * angleOf(Math.floor(k / 2), model);
  return k % 2 ? Math.cos(angle) : Math.sin(angle);
}
