// Small tools for what is shown. Text only ever becomes text nodes and attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Properties: `on*` are listeners, `--*` custom CSS properties, the rest attributes; false leaves one out. */
export function el(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

export function svg(tag, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name.startsWith("--")) element.style.setProperty(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** @returns {any} the element of that id */
export const byId = (id) => document.getElementById(id);

/** The text of this page's script, which its workers run, too. */
export const scriptOf = () => document.querySelector("script[type=module]")?.textContent ?? "";

/** Put new children in. */
export function replace(element, ...children) {
  keepFocus(element, () => element.replaceChildren(...children.flat().filter(Boolean)));
}

/** Make an element's children these. What is the same stays, and with it the focus and what is being read of it: so what
 * grows all the time is neither announced nor laid out anew. Children of one data-key do the same: the listeners of the
 * old one stay. */
export function update(element, ...children) {
  keepFocus(element, () => fit(element, children.flat(Infinity).filter(Boolean)));
}

/** Change an element, and give the focus back to the child that had it, by its data-key. */
function keepFocus(element, change) {
  const active = /** @type {HTMLElement} */ (document.activeElement);
  const key = element.contains(active) ? active.dataset.key : undefined;
  change();
  if (key && document.activeElement !== active) [...element.querySelectorAll("[data-key]")].find((child) => child.dataset.key === key)?.focus();
}

function fit(element, children) {
  children.forEach((child, i) => {
    const old = element.childNodes[i];
    if (!old) element.append(child);
    else if (!liken(old, child)) old.replaceWith(child);
  });
  while (element.childNodes.length > children.length) element.lastChild.remove();
}

/** Give a node the other's attributes, text and children; false where it is of another kind. */
function liken(node, other) {
  if (node.nodeName !== other.nodeName || node.dataset?.key !== other.dataset?.key) return false;
  if (!(node instanceof Element)) {
    if (node.data !== other.data) node.data = other.data;
    return true;
  }
  for (const name of node.getAttributeNames()) if (!other.hasAttribute(name)) node.removeAttribute(name);
  for (const { name, value } of other.attributes) if (node.getAttribute(name) !== value) node.setAttribute(name, value);
  fit(node, [...other.childNodes]);
  return true;
}

/** Say a line in a live region; the same line is not said again. */
export function say(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** A word of the list, as text in its own direction. */
export const word = (text, ...more) => el("bdi", { class: "word", dir: "auto" }, text, ...more);

const MARKS = { "in training": "\u2217", "held out": "\u25e6" };

/** Set beside a word of a list: what it is to the split. A new word, or one of which nothing is known, has no mark. */
export const mark = (tag) => MARKS[tag] && el("span", { class: "mark", role: "img", "aria-label": tag, title: tag }, MARKS[tag]);

/** What the marks mean. */
export const legend = (list) => (list.members ? "\u2217 in training, \u25e6 held out, no mark: new" : "");

export const count = (n) => n.toLocaleString("en");
export const percent = (p) => (p >= 0.995 ? "100 %" : p >= 0.0995 ? `${Math.round(p * 100)} %` : `${(p * 100).toFixed(1)} %`);
export const minus = (x, digits) => x.toFixed(digits).replace("-", "\u2212");

/** mean, and half the width of its 95 % interval where there are several seeds. */
export function interval(value, signed = false) {
  if (!value) return "";
  const mean = (signed && value.mean > 0 ? "+" : "") + minus(value.mean, 3);
  return value.half === null ? mean : `${mean} \u00b1 ${value.half.toFixed(3)}`;
}

/** The most probable next tokens, in a style of page.css; `actual` is marked, and shown even where it is not among them. */
export function likeliest(app, probabilities, n, actual, style) {
  const ranked = [...probabilities.keys()].sort((a, b) => probabilities[b] - probabilities[a]);
  const shown = ranked.slice(0, n);
  if (!shown.includes(actual)) shown.splice(n - 1, 1, actual);
  return el("ol", { class: style }, shown.map((id) =>
    el("li", { class: id === actual && "actual", "aria-current": id === actual && "true", "--share": probabilities[id] },
      word(app.glyph(id)), el("span", { class: "number" }, percent(probabilities[id])))));
}

/** A plot's horizontal lines, each with its number, and what is plotted above them. */
export function axes({ width, left, y, yTicks, yLabel }) {
  return svg("g", { class: "axes" }, svg("text", { x: left, y: 11 }, yLabel), yTicks.map((tick) => [
    svg("line", { x1: left, x2: width, y1: y(tick), y2: y(tick) }),
    svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(1)),
  ]));
}

export function ticks(low, high, size) {
  const found = [];
  for (let i = Math.ceil(low / size - 1e-9); i * size <= high + 1e-9; i++) found.push(i * size);
  return found;
}
