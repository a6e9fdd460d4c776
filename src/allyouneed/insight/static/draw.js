// Elements, colours, heat maps, the tooltip, and file downloads.

const HUES = ["#4a7ce0", "#e2711d", "#159a8c", "#c93a8f", "#6f9f2c", "#8a4fdb", "#d1383d", "#a68200"];

/** Make an element; `on...` attributes are listeners. Strings become text nodes and are never parsed as HTML. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "css") for (const [key, v] of Object.entries(value)) node.style.setProperty(key, v);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && typeof child !== "boolean"));
  return node;
}

export function headColour(head, heads) {
  if (heads <= HUES.length) return HUES[head];
  const hue = Math.round((360 * head) / heads);
  return rgbText(hslToRgb(hue / 360, 0.55, 0.5));
}

function hslToRgb(h, s, l) {
  const part = (n) => {
    const k = (n + h * 12) % 12;
    return Math.round(255 * (l - s * Math.min(l, 1 - l) * Math.max(-1, Math.min(k - 3, 9 - k, 1))));
  };
  return [part(0), part(8), part(4)];
}

/** Whether the window is as narrow as a phone's. */
export const isNarrow = () => innerWidth < 640;

/** A container for wide content, focusable so that the keyboard can scroll it. */
export const scroller = (name, wide, ...children) =>
  el("div", { class: "scroll", ...(wide || isNarrow() ? { tabindex: 0, role: "region", "aria-label": name } : {}) }, children);

const rgbText = (rgb) => "#" + rgb.map((x) => x.toString(16).padStart(2, "0")).join("");
const rgbOf = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

/** One pixel per cell; above `limit` rows or columns, a pixel shows the cell of largest magnitude in its block. paint:
 * {above, below, alpha}: the colours of positive and negative values, and the opacity of a value, 0 to 1; masked: the
 * colour of -∞. */
export function pixels(matrix, paint, limit) {
  const { rows, cols, values } = matrix.rows > limit || matrix.cols > limit ? pooled(matrix, limit) : matrix;
  const image = new ImageData(cols, rows);
  for (let i = 0; i < rows * cols; i++) {
    const colour = values[i] < 0 ? ((values[i] === -Infinity && paint.masked) || paint.below) : paint.above;
    image.data[4 * i] = colour[0];
    image.data[4 * i + 1] = colour[1];
    image.data[4 * i + 2] = colour[2];
    image.data[4 * i + 3] = 255 * paint.alpha(values[i]); // clamped and rounded by the array
  }
  return image;
}

function pooled(matrix, limit) {
  const [rows, cols] = [Math.min(matrix.rows, limit), Math.min(matrix.cols, limit)];
  const values = new Float32Array(rows * cols);
  const column = Int32Array.from({ length: matrix.cols }, (_, j) => Math.floor((j * cols) / matrix.cols));
  for (let i = 0, at = 0; i < matrix.rows; i++) {
    const first = Math.floor((i * rows) / matrix.rows) * cols;
    for (let j = 0; j < matrix.cols; j++, at++) {
      const pixel = first + column[j];
      if (Math.abs(matrix.values[at]) > Math.abs(values[pixel])) values[pixel] = matrix.values[at];
    }
  }
  return { rows, cols, values };
}

export function heatmap(matrix, paint, attributes = {}, limit = 512) {
  const image = pixels(matrix, paint, limit);
  const canvas = el("canvas", { width: image.width, height: image.height, ...attributes });
  canvas.getContext("2d", { willReadFrequently: true }).putImageData(image, 0, 0); // software rendering: small, drawn once
  return canvas;
}

export function inHeadColour(colour) {
  const rgb = rgbOf(colour);
  return { above: rgb, below: rgb, alpha: (weight) => (weight > 0 ? 0.03 + 0.97 * weight ** 0.75 : 0) };
}

/** Blue for negative, orange for positive values; opaque at the largest magnitude of all the matrices. */
export function diverging(...matrices) {
  let largest = 1e-9;
  for (const { values } of matrices) for (const value of values) if (Number.isFinite(value)) largest = Math.max(largest, Math.abs(value));
  const [below, above] = [rgbOf("#4a7ce0"), rgbOf("#e2711d")];
  return { above, below, masked: [128, 128, 138], alpha: (value) => (value === -Infinity ? 0.35 : (Math.abs(value) / largest) ** 0.8) };
}

export function number(x, digits = 3) {
  if (!Number.isFinite(x)) return "−∞";
  if (x !== 0 && Math.abs(x) < 10 ** -digits) return "<" + (10 ** -digits).toFixed(digits);
  return x.toFixed(digits).replace("-", "−");
}

/** Group digits: 65,000,000. `toLocaleString` takes ten milliseconds on its first call. */
export const grouped = (count) => String(count).replace(/\B(?=(\d{3})+$)/g, ",");

export const clipped = (text, limit = 18) => {
  const letters = Array.from(text);
  return letters.length > limit ? letters.slice(0, limit - 1).join("") + "…" : text;
};

/** Format x^{a} and x_{a}, with or without braces, as superscripts and subscripts. */
export function equationOf(text) {
  return text.split(/(\^\{[^}]*\}|_\{[^}]*\}|\^\S|_\w)/).filter(Boolean).map((part) =>
    part[0] === "^" ? el("sup", {}, part.replace(/[\^{}]/g, "")) : part[0] === "_" ? el("sub", {}, part.replace(/[_{}]/g, "")) : part);
}

// The tooltip

let bubble = null;

export function showTip(event, ...lines) {
  bubble ??= document.body.appendChild(el("div", { class: "tip", role: "status" }));
  bubble.replaceChildren(...lines.filter(Boolean).map((line, i) => el(i ? "span" : "b", { dir: "auto" }, line)));
  const box = event.clientX === undefined || event.type === "focus" ? event.target.getBoundingClientRect() : null;
  const x = box ? box.right : event.clientX;
  const y = box ? box.top : event.clientY;
  bubble.hidden = false;
  const { width, height } = bubble.getBoundingClientRect();
  bubble.style.left = Math.max(6, Math.min(x + 14, innerWidth - width - 6)) + "px";
  bubble.style.top = Math.max(6, y + 18 + height > innerHeight ? y - height - 10 : y + 18) + "px";
}

export function hideTip() {
  if (bubble) bubble.hidden = true;
}

/** Listeners that show the matrix cell under the pointer in the tooltip. */
export function cellTips(matrix, lines, pick) {
  const at = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    const row = Math.floor(((event.clientY - box.top) / box.height) * matrix.rows);
    const col = Math.floor(((event.clientX - box.left) / box.width) * matrix.cols);
    return [Math.max(0, Math.min(matrix.rows - 1, row)), Math.max(0, Math.min(matrix.cols - 1, col))];
  };
  return {
    onpointermove: (event) => showTip(event, ...lines(...at(event))),
    onpointerleave: hideTip,
    onclick: pick && ((event) => pick(...at(event))),
  };
}

// Files

/** Copy a drawing with its computed styles as attributes, so that it does not depend on the style sheet. */
export function inlined(drawing) {
  const copy = drawing.cloneNode(true);
  const from = [drawing, ...drawing.querySelectorAll("*")];
  [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
    const style = getComputedStyle(from[i]);
    if (drawing.isConnected) for (const name of ["fill", "stroke", "stroke-width", "stroke-opacity", "fill-opacity", "opacity", "font-family", "font-size", "font-weight", "text-anchor"])
      node.setAttribute(name, style.getPropertyValue(name));
    node.removeAttribute("class");
    node.removeAttribute("tabindex");
  });
  return copy;
}

function standalone(drawing) {
  const copy = inlined(drawing);
  const box = drawing.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", box.width);
  copy.setAttribute("height", box.height);
  const paper = svg("rect", { width: box.width, height: box.height, fill: getComputedStyle(document.body).backgroundColor });
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

export function saveSvg(drawing, name) {
  save(new Blob([standalone(drawing)], { type: "image/svg+xml" }), name + ".svg");
}

export function savePng(drawing, name, zoom = 2) {
  const url = URL.createObjectURL(new Blob([standalone(drawing)], { type: "image/svg+xml" }));
  const image = new Image();
  image.onload = () => {
    const { width, height } = drawing.viewBox.baseVal;
    const scale = Math.min(zoom, 8000 / Math.max(width, height));
    const canvas = el("canvas", { width: Math.round(width * scale), height: Math.round(height * scale) });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    URL.revokeObjectURL(url);
    canvas.toBlob((blob) => save(blob, name + ".png"));
  };
  image.src = url;
}

function save(blob, name) {
  const link = el("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}
