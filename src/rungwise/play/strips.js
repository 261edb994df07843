// Vectors as strips of coloured cells: below zero in one colour, above it in another, the stronger the larger.

import { el, minus } from "./dom.js";

/** Numbers as text: three figures where they are small. */
export const number = (x) => minus(x, Math.abs(x) < 10 ? 2 : 1);

/** A vector under its name. `most` is full colour; `heads` cuts it into one line a head; `labels` name the cells. */
export function strip(name, values, { most, heads = 1, labels } = {}) {
  const largest = most ?? extent([values]);
  const size = values.length / heads;
  const range = `${values.length} numbers, ${number(Math.min(...values))} to ${number(Math.max(...values))}`;
  const readout = el("span", { class: "soft number" }, range);
  const cell = (value, i) => {
    const at = labels ? labels[i] : heads > 1 ? `head ${Math.floor(i / size) + 1}, number ${(i % size) + 1}` : `number ${i + 1}`;
    return el("span", { class: value < 0 ? "cell minus" : "cell plus", "--share": Math.min(1, Math.abs(value) / largest).toFixed(3), title: `${at}: ${number(value)}` }, labels?.[i]);
  };
  const cells = [...values].map(cell);
  const lines = Array.from({ length: heads }, (_, h) => el("div", { class: labels ? "cells named" : "cells" }, cells.slice(h * size, (h + 1) * size)));
  return el("figure", { class: "strip", onpointerover: ({ target }) => (readout.textContent = target.title || range), onpointerleave: () => (readout.textContent = range) },
    el("figcaption", {}, el("span", { class: "strip-name" }, name), " ", readout),
    el("div", { role: "img", "aria-label": `${name}: ${range}` }, lines));
}

/** A row a head, a column a character: each number in its cell. */
export function grid(name, rows, columns, digits) {
  const largest = extent(rows);
  const cell = (value) => el("td", { class: value < 0 ? "cell minus" : "cell plus", "--share": Math.min(1, Math.abs(value) / largest).toFixed(3) }, minus(value, digits));
  return el("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name },
    el("table", { class: "heads" }, el("caption", {}, name),
      el("thead", {}, el("tr", {}, el("td", {}), columns.map((sign) => el("th", { scope: "col" }, el("bdi", {}, sign))))),
      el("tbody", {}, rows.map((row, h) => el("tr", {}, el("th", { scope: "row" }, `head ${h + 1}`), [...row].map(cell))))));
}

/** The largest magnitude of some vectors. */
export const extent = (vectors) => Math.max(1e-9, ...vectors.flatMap((values) => [...values].map(Math.abs)));
