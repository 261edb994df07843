// Flow: one position on its way through the blocks. What each part writes to the stream, and what could be read off.

import { byId, el, likeliest, replace } from "./dom.js";
import { FAMILIES } from "./families.js";
import { length, readOff, softmax, sublayers } from "./forward.js";
import { chips, chosenPlace } from "./places.js";
import { readWord } from "./sample.js";
import { direction } from "./text.js";

const N_TILES = 5;

export function flow(app) {
  const ids = app.ids("flow-note");
  const positions = ids.length ? readWord(app.model(), ids) : [];
  const at = chosenPlace(app, positions);
  replace(byId("flow-at"), chips(app, positions, "flow-place"));
  byId("flow-at").dir = direction(app.state.word);
  replace(byId("flow-stages"), at >= 0 ? stages(app, positions[at]) : []);
}

function stages(app, { trace, next }) {
  const { residual, position, family } = app.rung().model;
  const found = [{ layer: -1, out: trace.start, x: trace.start }, ...sublayers(app.rung().model, trace)];
  const first = position === "learned" ? "Embedding and position" : "Embedding";
  const norms = found.map(({ x, out }) => [length(x), length(out)]);
  const longest = Math.max(...norms.flat());
  const title = ({ layer, name }) => (layer < 0 ? first : `Block ${layer + 1}: ${name === "mlp" ? "MLP" : FAMILIES[family] ?? name}`);
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
