// An experiment of one's own: two configurations, A and B, that differ in some fields, under the same seeds; so they meet
// the same words, and their test losses are compared in pairs.

import { summary } from "./curves.js";
import { byId, el, minus, replace } from "./dom.js";
import { paired } from "./results.js";
import { fitted } from "./run.js";
import { complete, countParameters, KINDS, MLPS, NORMS, POSITIONS } from "./weights.js";

/** Fields that can be changed: what they may be, with limits that keep a phone usable. */
const FIELDS = {
  family: KINDS, n_layer: [1, 8], n_head: [1, 8], n_embd: [8, 128], mlp: MLPS, norm: NORMS, position: POSITIONS, dropout: [0, 0.9],
  learning_rate: [1e-5, 1], schedule: ["constant", "cosine"], weight_decay: [0, 1], grad_clip: [0, 10], batch_size: [1, 128],
};
const MOST_PARAMETERS = 1_000_000;
const SIDES = ["A", "B"];
const ENOUGH = 3; // seeds, before an interval says much

export function setUpExperiment(page, start) {
  const { ladder } = page.train;
  byId("experiment-base").replaceChildren(...ladder.filter(({ model }) => model.residual || model.n_layer === 1)
    .map(({ name, title }) => el("option", { value: name, selected: name === "gelu" }, title)));
  byId("experiment-base").addEventListener("change", () => fill(ladder));
  byId("experiment-go").addEventListener("click", start);
  fill(ladder);
}

const base = (ladder) => ladder.find(({ name }) => name === byId("experiment-base").value);
const idOf = (side, field) => `experiment-${side}-${field}`;

function fill(ladder) {
  const { model, train } = base(ladder);
  const values = { ...model, ...train };
  replace(byId("experiment-fields"), el("table", { class: "fields" },
    el("thead", {}, el("tr", {}, ["field", ...SIDES].map((title) => el("th", { scope: "col" }, title)))),
    el("tbody", {}, Object.entries(FIELDS).map(([field, kind]) => el("tr", {}, el("th", { scope: "row" }, field),
      SIDES.map((side) => el("td", {}, control(idOf(side, field), `${field} of ${side}`, kind, values[field]))))))));
}

function control(id, label, kind, value) {
  if (typeof kind[0] === "string") return el("select", { id, "aria-label": label }, kind.map((choice) => el("option", { selected: choice === value }, choice)));
  return el("input", { id, "aria-label": label, type: "number", min: kind[0], max: kind[1], step: "any", value });
}

const WHOLE = ["n_layer", "n_head", "n_embd", "batch_size"];

function read(side) {
  return Object.fromEntries(Object.entries(FIELDS).map(([field, kind]) => {
    const { value } = byId(idOf(side, field));
    if (typeof kind[0] === "string") return [field, value];
    const number = Number(value);
    const [least, most] = kind.map(Number);
    if (value === "" || !(number >= least && number <= most) || (WHOLE.includes(field) && !Number.isInteger(number))) {
      throw new Error(`${field} of ${side} must be ${WHOLE.includes(field) ? "a whole number " : ""}from ${least} to ${most}.`);
    }
    return [field, number];
  }));
}

/** A and B as rungs, for a list; an Error says which field does not fit. */
export function experimentRungs({ train: { ladder } }, list, steps) {
  const below = base(ladder);
  return SIDES.map((side) => {
    const values = read(side);
    /** @returns {any} `from` with what its fields are set to */
    const own = (from) => Object.fromEntries(Object.keys(from).map((field) => [field, values[field] ?? from[field]]));
    const model = own(below.model);
    const width = below.model.head_size;
    if (!width || values.n_embd !== below.model.n_embd || values.n_head !== below.model.n_head) model.head_size = values.n_embd / values.n_head;
    refuse(side, model);
    const n_params = countParameters(complete(model, list));
    if (n_params > MOST_PARAMETERS) throw new Error(`${side} has ${n_params.toLocaleString("en")} parameters; a page takes ${MOST_PARAMETERS.toLocaleString("en")}.`);
    const train = fitted(own(below.train), steps);
    return { ...below, name: side, title: side, on: side === "B" ? "A" : null, why: "", source: "", code: [], changes: changes(values, below), model, train, n_params };
  });
}

/** What ModelConfig refuses. */
function refuse(side, { family, n_layer, n_embd, n_head, head_size, projection, residual, mlp, position, norm, final_norm }) {
  if (!Number.isInteger(head_size)) throw new Error(`n_embd of ${side} must be a multiple of n_head=${n_head}, but is ${n_embd}.`);
  const wide = n_head * head_size;
  if (wide !== n_embd && ["bow", "bigram"].includes(family)) throw new Error(`Family ${family} has the width of the stream: begin ${side} with a rung whose heads are together as wide as its n_embd.`);
  if (wide !== n_embd && !projection && (residual || mlp !== "none" || n_layer > 1)) {
    throw new Error(`Without a projection, the heads of ${side} must together be as wide as n_embd=${n_embd}, but are ${wide} wide, where an MLP or another block follows.`);
  }
  if (family === "transformer" && position === "rope" && head_size % 2) throw new Error(`RoPE rotates pairs: the head size of ${side} must be even, but is ${head_size}.`);
  if (final_norm && norm === "none") throw new Error(`The final norm of ${side} needs a norm: layernorm or rmsnorm.`);
}

function changes(values, { model, train }) {
  const before = { ...model, ...train };
  return Object.keys(values).filter((field) => values[field] !== before[field]).map((field) => ({ field, before: before[field], after: values[field] }));
}

/** What the seeds show so far: the paired difference with its interval, and one sentence. */
export function verdict(session) {
  const of = (side) => session.runs.filter(({ rung }) => rung.name === side);
  const differences = paired(of("A"), of("B"));
  if (!differences.length) return el("p", { class: "soft" }, "The first pair of runs is on its way.");
  const { mean, half, n } = summary(differences);
  const shown = `${mean > 0 ? "+" : ""}${minus(mean, 4)}${half === null ? "" : ` \u00b1 ${half.toFixed(4)}`}`;
  return el("p", { class: "verdict" }, el("strong", {}, sentence(mean, half, n)),
    ` Test loss of B less that of A: ${shown} nats a character (${n} seed${n > 1 ? "s, 95 % interval" : ""}).`);
}

function sentence(mean, half, n) {
  if (n < ENOUGH) return `${n} seed${n > 1 ? "s say" : " says"} little: take ${ENOUGH} or more.`;
  if (mean + half < 0) return "B is better than A.";
  if (mean - half > 0) return "B is worse than A.";
  return "No difference that these seeds can show.";
}
