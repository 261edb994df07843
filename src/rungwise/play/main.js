// The page: its state, which stands in the address's fragment, and the controls that change it.

import { attend } from "./attend.js";
import { climb } from "./climb.js";
import { byId, count, interval } from "./dom.js";
import { flow } from "./flow.js";
import { newMemory, readWeights, step } from "./forward.js";
import { clear, copy, draw, generate } from "./generate.js";
import { predict } from "./predict.js";
import { readWord } from "./sample.js";
import { encode, glyph, openList } from "./text.js";
import { train } from "./train.js";

const VIEWS = { climb, predict, attend, flow, generate, train };
const { list: listed, rungs, precision } = JSON.parse(byId("data").textContent);
const list = openList(listed);
const START = {
  view: "climb", rung: rungs.at(-1).name, with: "", word: list.example, head: "", blind: false, at: -1,
  t: 1, k: 0, p: 1, prefix: "", seed: 0,
};
const models = new Map();

const app = {
  list, rungs, state: { ...START }, fresh: 0,
  find: (name) => rungs.find((rung) => rung.name === name) ?? null,
  rung: () => app.find(app.state.rung) ?? rungs.at(-1),
  glyph: (id) => glyph(list, id),
  /** A rung's model, its weights decoded when they are first needed. */
  model(rung = app.rung()) {
    if (!models.has(rung)) models.set(rung, { config: rung.model, start: rung.word_start, weights: readWeights(rung.weights, precision) });
    return models.get(rung);
  },
  /** The typed word's tokens; what cannot be read is said in the element named. */
  ids(note) {
    const { ids, unknown, cut } = encode(list, app.state.word);
    const said = [];
    if (unknown.length) said.push(`Not in this list's alphabet, and passed over: ${unknown.join(" ")}`);
    if (cut) said.push(`Only the first ${ids.length} characters are read: the model knows no longer words.`);
    byId(note).textContent = said.join(" ") || (ids.length ? "" : "Type a word above.");
    return ids;
  },
  set(changes) {
    Object.assign(app.state, changes);
    remember();
    render();
  },
};

/** Write the state to the address. Safari refuses more than a hundred times in half a minute: then later. */
function remember() {
  clearTimeout(app.later);
  try {
    history.replaceState(null, "", fragment(app.state));
  } catch {
    app.later = setTimeout(remember, 2000);
  }
}

function fragment(state) {
  const told = Object.entries(state).filter(([name, value]) => name === "view" || value !== START[name]);
  return `#${new URLSearchParams(told)}`;
}

/** The state of a fragment: known names only, each of the kind that it has at the start, and in its range. */
function readFragment(text) {
  const state = { ...START };
  for (const [name, value] of new URLSearchParams(text.replace(/^#/, ""))) {
    if (!Object.hasOwn(START, name)) continue;
    const kind = typeof START[name];
    if (kind === "string") state[name] = value;
    if (kind === "boolean") state[name] = value === "true";
    if (kind === "number" && value.trim() && Number.isFinite(Number(value))) state[name] = Number(value);
  }
  if (!Object.hasOwn(VIEWS, state.view)) state.view = START.view;
  if (!app.find(state.rung)) state.rung = START.rung;
  return within(state);
}

function within(state) {
  const clamp = (value, low, high) => Math.min(high, Math.max(low, value));
  const whole = (name, low, high) => Math.round(clamp(state[name], low, high));
  return { ...state, t: clamp(state.t, 0, 3), p: clamp(state.p, 0.01, 1), k: whole("k", 0, 1e6), at: whole("at", -1, 1e6), seed: whole("seed", 0, 2 ** 31 - 1) };
}

function render() {
  const { view } = app.state;
  const rung = app.rung();
  app.width = innerWidth;
  for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    link.href = fragment({ ...app.state, view: link.dataset.view });
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("word-field").hidden = !["predict", "attend", "flow"].includes(view);
  for (const control of document.querySelectorAll("[data-state]")) show(control, app.state[control.dataset.state]);
  const number = rungs.indexOf(rung);
  Object.assign(byId("rung"), { max: rungs.length - 1, value: number });
  byId("rung").setAttribute("aria-valuetext", rung.title);
  byId("rung-title").textContent = rung.title;
  const behind = rung.word_start.end_fed && !rung.word_start.first_scored ? " (each word behind an END)" : "";
  const loss = rung.test_loss ? `, test loss ${interval(rung.test_loss)}${behind}` : "";
  byId("rung-facts").textContent = `${number + 1} of ${rungs.length}, ${count(rung.n_params)} parameters${loss}`;
  VIEWS[view](app);
}

function show(control, value) {
  if (control.type === "checkbox") control.checked = value;
  else if (control !== document.activeElement || control.type === "range") control.value = value;
}

function read(control) {
  if (control.type === "checkbox") return control.checked;
  if (typeof START[control.dataset.state] === "string") return control.value;
  return control.value === "" ? START[control.dataset.state] : Number(control.value);
}

for (const control of document.querySelectorAll("[data-state]")) {
  control.addEventListener("input", () => app.set(within({ ...app.state, [control.dataset.state]: read(control) })));
}
byId("rung").addEventListener("input", () => app.set({ rung: rungs[Number(byId("rung").value)].name }));
byId("climb-fresh").addEventListener("click", () => { app.fresh++; render(); });
byId("generate-draw").addEventListener("submit", (event) => { event.preventDefault(); draw(app); });
byId("generate-copy").addEventListener("click", () => copy(app));
byId("generate-clear").addEventListener("click", () => clear(app));
const restore = () => { app.state = readFragment(location.hash); render(); };
addEventListener("hashchange", restore);
addEventListener("resize", () => app.width !== innerWidth && render());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
byId("list-name").textContent = list.name;
byId("about").textContent =
  `${count(list.n_train)} training words of ${list.name}, protocol ${list.protocol}: ${list.scored} are scored, in nats. `
  + `Each rung is shown with one seed (${[...new Set(rungs.map(({ seed }) => seed))].join(", ")}), its weights in ${precision}; losses are means over the climb's seeds, with 95 % intervals.`;
restore();

/** For the console, and for whoever checks this forward pass: logits of every position, and a word's reading. */
globalThis.rungwise = {
  logits(name, tokens) {
    const model = app.model(app.find(name));
    const memory = newMemory(model);
    return tokens.map((token) => [...step(model, token, memory).logits]);
  },
  read: (name, word) => readWord(app.model(app.find(name)), encode(list, word).ids),
};
