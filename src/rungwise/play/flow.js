// Flow: one position on its way through the blocks. What each part writes to the stream, and what could be read off.

import { byId, el, likeliest, replace, word } from "./dom.js";
import { length, readOff, softmax } from "./forward.js";
import { readWord } from "./sample.js";
import { direction } from "./text.js";

const N_TILES = 5;

export function flow(app) {
  const ids = app.ids("flow-note");
  const positions = ids.length ? readWord(app.model(), ids) : [];
  const at = Math.min(app.state.at < 0 ? positions.length - 1 : app.state.at, positions.length - 1);
  replace(byId("flow-at"), chips(app, positions, at));
  byId("flow-at").dir = direction(app.state.word);
  replace(byId("flow-stages"), at >= 0 ? stages(app, positions[at]) : []);
}

function chips(app, positions, at) {
  const sign = (t) => (app.model().start.end_fed && t === 0 ? "start" : app.glyph(positions[t].token));
  return positions.map((_, t) => el("label", { class: "chip" },
    el("input", { type: "radio", name: "at", value: t, checked: t === at, "data-key": `at${t}`, onchange: () => app.set({ at: t }) }),
    word(sign(t))));
}

function stages(app, { stages: found, next }) {
  const { residual, position } = app.rung().model;
  const first = position === "learned" ? "Embedding and position" : "Embedding";
  const norms = found.map(({ x, written }) => [length(x), length(written)]);
  const longest = Math.max(...norms.flat());
  const title = ({ layer, name }) => (layer < 0 ? first : `Block ${layer + 1}: ${name === "mlp" ? "MLP" : name}`);
  return found.map((stage, i) => {
    const logits = readOff(app.model(), stage.x);
    const probabilities = logits && softmax(logits);
    const [stream, written] = norms[i];
    return el("li", { class: "card stage" },
      el("h3", {}, title(stage)),
      el("div", {},
        gauge(stage.layer < 0 ? "begins with" : residual ? "adds" : "writes anew", written, longest, "written"),
        residual && stage.layer >= 0 && gauge("stream now", stream, longest, "stream-now")),
      probabilities
        ? likeliest(app, probabilities, N_TILES, next, "lens")
        : el("p", { class: "soft small" }, "This vector has another width than the last layer reads: nothing can be read off here."));
  });
}

function gauge(name, value, longest, kind) {
  return el("p", { class: `gauge ${kind}`, "--share": value / longest }, el("span", {}, name), el("span", { class: "bar" }), el("span", { class: "number" }, value.toFixed(1)));
}
