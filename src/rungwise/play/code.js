// Python as it stands in the source, with its comments, strings and keywords set apart, and some of its lines lit.

import { el } from "./dom.js";

const PYTHON = /(#.*)|("""[^]*?"""|"[^"\n]*")|\b(class|def|return|for|in|if|elif|else|not|and|or|is|lambda|raise|with|while|None|True|False)\b/g;
const KINDS = ["comment", "string", "keyword"];

/** A function or class under its name; `lit` holds the numbers of the lines to point out. */
export function code({ where, text, lit = [] }) {
  const lines = [[]];
  const add = (part, kind) => part.split("\n").forEach((piece, i) => {
    if (i) lines.push([]);
    if (piece) lines.at(-1).push(kind ? el("span", { class: kind }, piece) : piece);
  });
  let at = 0;
  for (const found of text.matchAll(PYTHON)) {
    add(text.slice(at, found.index));
    add(found[0], KINDS[[1, 2, 3].findIndex((i) => found[i])]);
    at = found.index + found[0].length;
  }
  add(text.slice(at));
  const shown = lines.map((parts, i) => [lit.includes(i) ? el("mark", {}, parts) : parts, i < lines.length - 1 && "\n"]);
  return el("figure", {}, el("figcaption", {}, where), el("pre", { tabindex: 0, role: "region", "aria-label": where }, shown));
}
