// Export of a view: its layout in the browser, converted to one SVG, including content that is scrolled out of view.
import { el, inlined, savePng, saveSvg, svg } from "./draw.js";
import { t } from "./texts.js";

/** Buttons that export the element returned by view(). */
export const saveButtons = (view, name) =>
  el("p", { class: "tools save" }, t("saveView"), ...[["SVG", saveSvg], ["PNG", savePng]].map(([form, save]) =>
    el("button", { class: "quiet", "data-view-save": form, "aria-label": `${t("saveView")}: ${form}`, onclick: () => save(pictureOf(view()), name) }, form)));

/** An SVG element of `view`, with the page's colours and a margin. */
function pictureOf(view) {
  view.classList.add("whole");
  try {
    const box = view.getBoundingClientRect();
    const parts = [];
    draw(view, (x, y) => [x - box.left + MARGIN, y - box.top + MARGIN], 1, parts);
    const [width, height] = [Math.max(box.width, view.scrollWidth), Math.max(box.height, view.scrollHeight)].map((x) => Math.ceil(x) + 2 * MARGIN);
    return svg("svg", { viewBox: `0 0 ${width} ${height}` }, parts);
  } finally {
    view.classList.remove("whole");
  }
}

const MARGIN = 16;

function draw(node, at, outer, parts) {
  if (node.nodeType === Node.TEXT_NODE) return drawText(node, at, outer, parts);
  const box = node.getBoundingClientRect?.();
  if (!box || (!box.width && !box.height)) return;
  const style = getComputedStyle(node);
  const opacity = outer * Number(style.opacity);
  if (style.visibility === "hidden" || !opacity) return;
  const [x, y] = at(box.left, box.top);
  const place = { x, y, width: box.width, height: box.height };
  if (node.localName === "svg") return void parts.push(svg("svg", { ...place, viewBox: node.getAttribute("viewBox"), opacity }, [...inlined(node).childNodes]));
  drawBox(style, place, opacity, parts);
  if (node.localName === "canvas") parts.push(svg("image", { ...place, opacity, href: node.toDataURL(), preserveAspectRatio: "none", css: { "image-rendering": "pixelated" } }));
  if (node.localName === "select") parts.push(textAt(node.selectedOptions[0]?.textContent ?? "", x + 6, box.height / 2 + y + 4.5, style, opacity));
  else for (const child of node.childNodes) draw(child, at, opacity, parts);
  const after = getComputedStyle(node, "::after");
  const [left, top, width, height] = ["left", "top", "width", "height"].map((name) => parseFloat(after[name]));
  if (after.position === "absolute" && width && height) drawBox(after, { x: x + left, y: y + top, width, height }, opacity, parts);
}

/** Background, border and outline. */
function drawBox(style, place, opacity, parts) {
  const rx = Math.min(parseFloat(style.borderTopLeftRadius) || 0, place.height / 2);
  const [top, bottom] = [style.borderTopWidth, style.borderBottomWidth].map(parseFloat);
  const outline = style.outlineStyle === "solid" ? parseFloat(style.outlineWidth) : 0;
  if (!isClear(style.backgroundColor)) parts.push(svg("rect", { ...place, rx, opacity, ...paint("fill", style.backgroundColor) }));
  if (top && !isClear(style.borderTopColor)) parts.push(svg("rect", { ...place, rx, opacity, fill: "none", ...paint("stroke", style.borderTopColor), "stroke-width": top }));
  else if (bottom && !isClear(style.borderBottomColor)) parts.push(svg("rect", { ...place, y: place.y + place.height - bottom, height: bottom, opacity, ...paint("fill", style.borderBottomColor) }));
  if (outline) parts.push(svg("rect", { ...place, opacity, fill: "none", ...paint("stroke", style.outlineColor), "stroke-width": outline }));
}

/** One text element per line. */
function drawText(node, at, opacity, parts) {
  const range = document.createRange();
  const style = getComputedStyle(node.parentElement);
  let line = null;
  const done = () => line?.text.trim() && parts.push(textAt(line.text.trimEnd(), ...at(line.left, line.base), style, opacity));
  let place = 0;
  for (const letter of node.data) {
    range.setStart(node, place);
    range.setEnd(node, (place += letter.length));
    const box = range.getBoundingClientRect();
    if (!box.width) continue;
    if (line && Math.abs(box.top - line.top) > 3) {
      done();
      line = null;
    }
    line ??= { text: "", left: box.left, top: box.top, base: box.top + 0.78 * box.height };
    line.text += letter;
    line.left = Math.min(line.left, box.left);
  }
  done();
}

const textAt = (text, x, y, style, opacity) =>
  svg("text", { x, y, opacity, ...paint("fill", style.color), "font-size": style.fontSize, "font-weight": style.fontWeight, "font-family": style.fontFamily, "font-style": style.fontStyle, "text-decoration": style.textDecorationLine, "xml:space": "preserve" }, text);

const known = new Map();

/** Any CSS colour as RGBA, since SVG programs do not know all CSS notations. */
function rgbaOf(colour) {
  if (!known.has(colour)) {
    const context = el("canvas", { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = colour;
    context.fillRect(0, 0, 1, 1);
    known.set(colour, context.getImageData(0, 0, 1, 1).data);
  }
  return known.get(colour);
}

const isClear = (colour) => rgbaOf(colour)[3] === 0;

function paint(name, colour) {
  const [r, g, b, alpha] = rgbaOf(colour);
  return { [name]: `rgb(${r}, ${g}, ${b})`, [`${name}-opacity`]: alpha === 255 ? null : (alpha / 255).toFixed(3) };
}
