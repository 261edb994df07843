// Attend: whom each character looks at, in every layer and head.

import { arcs } from "./arcs.js";
import { byId, el, minus, percent, replace } from "./dom.js";
import { headWeights } from "./forward.js";
import { chips, chosenPlace, signs } from "./places.js";
import { readWord } from "./sample.js";
import { direction } from "./text.js";

const POSITIONS = {
  none: "This model has no RoPE: a score depends on the characters alone; only the mask over what comes later tells the order.",
  rope: "This model has RoPE: queries and keys are turned by their position, so a head can prefer the character just before.",
  learned: "This model has no RoPE, but a learned vector for each position, added to the character's: a head can prefer a place.",
};

export function attend(app) {
  const ids = app.ids("attend-note");
  const rung = app.rung();
  const rope = rung.model.position === "rope";
  byId("attend-rope").hidden = !rope;
  byId("attend-position").textContent = POSITIONS[rung.model.position];
  const whole = ids.length ? readWord(app.model(), ids) : [];
  const steps = rope && app.state.blind
    ? readWord({ ...app.model(), config: { ...rung.model, position: "none" } }, ids) : whole;
  byId("attend-worth").textContent = steps === whole || !ids.length ? ""
    : `: the word's log-likelihood goes from ${likelihood(whole)} to ${likelihood(steps)} nats`;
  const [layer, head] = chosen(app.state.head, rung.model);
  byId("attend-at").dir = direction(app.state.word);
  replace(byId("attend-at"), chips(app, steps, "attend-place"));
  const show = (l, h) => {
    const shown = { signs: signs(app, steps), rows: steps.map(({ trace }) => headWeights(trace, l, h)), name: `Layer ${l + 1}, head ${h + 1}` };
    replace(byId("attend-arcs"), steps.length ? arcs({ ...shown, at: chosenPlace(app, steps), label: shown.name,
      rtl: direction(app.state.word) === "rtl", room: byId("attend-arcs").clientWidth }) : []);
    replace(byId("attend-weights"), steps.length ? table(app, shown) : []);
  };
  replace(byId("attend-heads"), steps.length ? heads(app, steps, rung.model, layer, head, show) : []);
  show(layer, head);
}

const likelihood = (steps) => minus(-steps.reduce((total, { surprise }) => total + surprise, 0), 2);

/** Layer and head, from 0, of a state such as "2.1"; the last layer's first where the model has no such head. */
function chosen(state, { n_layer, n_head }) {
  const [layer, head] = state.split(".").map((number) => Number(number) - 1);
  return layer in Array(n_layer).fill() && head in Array(n_head).fill() ? [layer, head] : [n_layer - 1, 0];
}

function heads(app, steps, { n_layer, n_head }, layer, head, show) {
  const button = (l, h) => {
    const mine = l === layer && h === head;
    const key = `${l + 1}.${h + 1}`;
    const choose = () => key !== app.state.head && app.set({ head: key });
    return el("button", { type: "button", class: `head ${direction(app.state.word)}`, "data-key": key, "aria-pressed": String(mine), "aria-label": `Layer ${l + 1}, head ${h + 1}`,
      onclick: choose, onfocus: choose, onpointerenter: () => show(l, h), onpointerleave: () => show(layer, head) },
    picture(steps, l, h), el("span", {}, `head ${h + 1}`));
  };
  return Array.from({ length: n_layer }, (_, l) => el("div", { class: "layer" }, el("span", { class: "soft" }, `layer ${l + 1}`),
    Array.from({ length: n_head }, (_, h) => button(l, h))));
}

/** All weights of a head in one small square: a row a character, the darker the more it looks there. */
function picture(steps, layer, head) {
  const canvas = el("canvas", { width: steps.length, height: steps.length, "aria-hidden": "true" });
  const pen = canvas.getContext("2d");
  pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--accent");
  steps.forEach(({ trace }, t) => headWeights(trace, layer, head).forEach((weight, s) => {
    pen.globalAlpha = Math.max(0.04, weight);
    pen.fillRect(s, t, 1, 1);
  }));
  return canvas;
}

function table(app, { signs: letters, rows, name }) {
  const cells = (t) => letters.map((sign, s) => {
    const weight = rows[t][s];
    if (weight === undefined) return el("td", { class: "later" });
    const shown = weight >= 0.005 ? Math.round(weight * 100) : "\u00b7";
    return el("td", { "--share": weight, title: `${letters[t]} looks at ${sign}: ${percent(weight)}` }, shown);
  });
  const caption = `${name}: what each character (row) takes from itself and those before it (columns), in percent`;
  return [el("p", { class: "soft small", id: "attend-said" }, caption), el("table", { class: "weights", dir: direction(app.state.word), "aria-labelledby": "attend-said" },
    el("thead", {}, el("tr", {}, el("td", {}), letters.map((sign) => el("th", { scope: "col" }, el("bdi", {}, sign))))),
    el("tbody", {}, letters.map((sign, t) => el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, sign)), cells(t)))))];
}
