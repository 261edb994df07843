// Inside: one character on its way through the model, step by step, with every vector and the code that computes it.

import { arcs } from "./arcs.js";
import { code } from "./code.js";
import { byId, el, replace, say } from "./dom.js";
import { headWeights } from "./forward.js";
import { chips, chosenPlace, signs } from "./places.js";
import { readWord } from "./sample.js";
import { steps } from "./steps.js";
import { extent, grid, number, strip } from "./strips.js";
import { direction } from "./text.js";

export function inside(app) {
  const ids = app.ids("inside-note");
  const positions = ids.length ? readWord(app.model(), ids) : [];
  byId("inside-at").dir = direction(app.state.word);
  replace(byId("inside-at"), chips(app, positions, "inside-place"));
  const all = steps(app.rung().model);
  const i = current(all, app.state.step);
  say("inside-number", `Step ${i + 1} of ${all.length}`);
  replace(byId("inside-rail"), rail(app, all, all[i]));
  replace(byId("inside-step"), positions.length ? shown(app, positions, all[i]) : []);
}

/** Go on by so many steps; after the last comes the first. */
export function walk(app, by) {
  const all = steps(app.rung().model);
  app.set({ step: all[(current(all, app.state.step) + by + all.length) % all.length].key });
}

/** The number of the step named; where this model has none of that name, the same part of its last block, or the first. */
function current(all, key) {
  const exact = all.findIndex((step) => step.key === key);
  const part = key.replace(/^\d+/, "");
  const alike = all.findLastIndex((step) => part !== key && step.key.replace(/^\d+/, "") === part);
  return Math.max(0, exact < 0 ? alike : exact);
}

/** The parts of the model, and the steps of the part that is shown. */
function rail(app, all, chosen) {
  const button = (text, step, mine) => el("button", { type: "button", "data-key": `${mine ? "" : "to "}${text} ${step.key}`, "aria-current": mine && "step", onclick: () => app.set({ step: step.key }) }, text);
  const groups = [...new Set(all.map(({ group }) => group))];
  return [
    el("div", { class: "rail" }, groups.map((group) => {
      const mine = group === chosen.group;
      return button(group, mine ? chosen : all.find((step) => step.group === group), mine);
    })),
    el("div", { class: "rail steps" }, all.filter(({ group }) => group === chosen.group).map((step) => button(step.name, step, step === chosen))),
  ];
}

function shown(app, positions, step) {
  const at = chosenPlace(app, positions);
  const letters = signs(app, positions);
  const { token, trace, logits, next, probabilities } = positions[at];
  const { say, parts } = step.show({ app, at, positions, signs: letters, sign: letters[at], token, trace, logits, next, probabilities });
  const most = extent(parts.filter(({ values, labels }) => values && !labels).map(({ values }) => values));
  const numbers = parts.filter(({ values }) => values);
  return [
    el("div", { class: "step-vectors" },
      el("h3", {}, step.group.startsWith("Block") ? `${step.group}: ${step.name}` : capital(step.name)),
      el("p", { class: "say" }, say),
      parts.map((part) => drawn(app, part, { most, letters, positions, at, layer: Number(step.key.split(".")[0]) })),
      numbers.length > 0 && el("details", {}, el("summary", {}, "The numbers"), numbers.map(({ name, values, labels }) =>
        el("p", { class: "small" }, el("strong", {}, `${name}: `), el("span", { class: "numbers" }, [...values].map((value, i) => (labels ? `${labels[i]} ` : "") + number(value)).join("  \u00b7  ")))))),
    el("div", { class: "step-code" }, el("h4", {}, "The code that does it"), app.code[step.code].map(code)),
  ];
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

function drawn(app, part, { most, letters, positions, at, layer }) {
  if (part.likely) return [el("h4", {}, part.name), part.likely];
  if (part.values) return strip(part.name, part.values, { ...part, most: part.labels ? undefined : most });
  const table = grid(part.name, part.rows, letters.slice(0, at + 1), part.digits);
  if (!part.arcs) return table;
  const room = Math.max(280, byId("inside-step").clientWidth / (innerWidth > 900 ? 2 : 1) - 20);
  return [table, part.rows.map((_, head) => el("figure", { class: "strip" }, el("figcaption", {}, `head ${head + 1}`),
    arcs({ signs: letters, at, rtl: direction(app.state.word) === "rtl", room: Math.min(room, letters.length * 44), label: `Head ${head + 1}`,
      rows: positions.map(({ trace }) => headWeights(trace, layer, head)) })))];
}
