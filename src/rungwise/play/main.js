// The page: its state, which stands in the address's fragment, and the controls that change it.

import { attend } from "./attend.js";
import { climb } from "./climb.js";
import { byId, count, el, interval, say } from "./dom.js";
import { FAMILIES } from "./families.js";
import { flow } from "./flow.js";
import { newMemory, readWeights, step } from "./forward.js";
import { copy, generate, more } from "./generate.js";
import { inside, walk } from "./inside.js";
import { predict } from "./predict.js";
import { readWord } from "./sample.js";
import { copyLink, savePicture } from "./share.js";
import { conditionId, encode, glyph, openList } from "./text.js";
import { losses, msAStep, setUpTraining, train } from "./train.js";

const VIEWS = { climb, predict, attend, inside, flow, generate, train };
const OF_A_WORD = ["predict", "attend", "inside", "flow"];
const blank = document.documentElement.outerHTML; // before anything is shown
const page = JSON.parse(byId("data").textContent);
let { rungs, precision } = page;
let list = openList(page.list);
let single = rungs.length === 1;
const START = {
  view: !rungs.length ? "train" : single ? "generate" : "climb", rung: rungs[0]?.name ?? "", with: "", word: list.example, head: "", blind: false, at: -1, step: "",
  t: 1, k: 0, p: 1, prefix: "", seed: 0, given: list.conditions[0] ?? "",
};
const PLAY_MS = 2600;
const models = new Map();

const app = {
  list, rungs, single, code: page.inside, state: { ...START }, fresh: 0,
  find: (name) => rungs.find((rung) => rung.name === name) ?? null,
  rung: () => app.find(app.state.rung) ?? rungs[0],
  glyph: (id) => glyph(list, id),
  /** A rung's model, its weights decoded when they are first needed. */
  model(rung = app.rung()) {
    if (!models.has(rung)) models.set(rung, { config: rung.model, start: rung.word_start, weights: readWeights(rung.weights, precision) });
    return { ...models.get(rung), given: conditionId(list, app.state.given) };
  },
  /** The typed word's tokens; what cannot be read is said in the element named. */
  ids(note) {
    const { ids, unknown, cut } = encode(list, app.state.word);
    const notes = [];
    if (unknown.length) notes.push(`Not in this list's alphabet, and ignored: ${unknown.join(" ")}`);
    if (cut) notes.push(`Only the first ${ids.length} characters are read: the model knows no longer words.`);
    say(note, notes.join(" ") || (ids.length ? "" : "Type a word above."));
    return ids;
  },
  /** Show what was trained in this page instead. */
  adopt(trained) {
    ({ rungs, precision } = trained);
    list = openList(trained.list);
    single = false;
    models.clear();
    Object.assign(app, { list, rungs, single });
    if (encode(list, app.state.word).unknown.length || !app.state.word) app.state.word = list.example;
    Object.assign(START, { rung: rungs[0].name, word: list.example });
    describe();
    if (app.state.view !== "train") render();
    else showRung();
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
  const changed = Object.entries(state).filter(([name, value]) => name === "view" || value !== START[name]);
  return `#${new URLSearchParams(changed)}`;
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
  const view = rungs.length ? app.state.view : "train";
  app.width = innerWidth;
  for (const name of Object.keys(VIEWS)) byId(name).hidden = name !== view;
  for (const link of document.querySelectorAll("nav a")) {
    link.href = fragment({ ...app.state, view: link.dataset.view });
    if (link.dataset.view === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  byId("word-field").hidden = !OF_A_WORD.includes(view);
  for (const control of document.querySelectorAll("[data-state]")) show(control, app.state[control.dataset.state]);
  showRung();
  const remark = withoutAttention(view);
  byId("no-attention").hidden = !remark;
  byId("no-attention").textContent = remark;
  if (remark && view !== "flow") byId(view).hidden = true;
  else VIEWS[view](app);
}

/** What a view about attention shows of a model that has none, in a sentence. */
function withoutAttention(view) {
  const name = FAMILIES[app.rung()?.model.family];
  const says = {
    attend: `This model has no attention, so no character looks at another: what it knows of earlier ones comes through its ${name}. Flow shows what that writes.`,
    inside: `This view follows a character through attention, and this model has a ${name} instead: Flow shows what each of its blocks writes.`,
    flow: `This model has no attention: what is called ${name} below carries what earlier characters said.`,
  };
  if (name === "bigram") says.flow = "This model has no attention and no block: the next character is read off the last one's vector.";
  return (name && says[view]) || "";
}

/** The rung's name and figures, beside the slider. A page without models has neither. */
function showRung() {
  const rung = app.rung();
  document.querySelector(".settings").hidden = document.querySelector(".share").hidden = document.querySelector("nav").hidden = !rung;
  if (!rung) return;
  const number = rungs.indexOf(rung);
  Object.assign(byId("rung"), { max: rungs.length - 1, value: number });
  byId("rung").setAttribute("aria-valuetext", rung.title);
  byId("rung-title").textContent = rung.title;
  byId("rung-next").textContent = number + 1 < rungs.length ? "Next rung" : "Back to the first";
  byId("rung-facts").textContent = `${single ? "" : `${number + 1} of ${rungs.length}, `}${facts(rung)}`;
}

function facts(rung) {
  const behind = rung.word_start.end_fed && !rung.word_start.first_scored ? " (each word behind an END)" : "";
  return `${count(rung.n_params)} parameters${rung.test_loss ? `, test loss ${interval(rung.test_loss)}${behind}` : ""}`;
}

/** A control shows the state; what is being typed stays as it is typed while it says the same. */
function show(control, value) {
  if (control.type === "checkbox") control.checked = value;
  else if (control !== document.activeElement || control.type === "range" || read(control) !== value) control.value = value;
}

function read(control) {
  if (control.type === "checkbox") return control.checked;
  if (typeof START[control.dataset.state] === "string") return control.value;
  return control.value === "" ? START[control.dataset.state] : Number(control.value);
}

function next() {
  app.set({ rung: rungs[(rungs.indexOf(app.rung()) + 1) % rungs.length].name });
}

/** Climb by itself, from where it is or else from the first rung, until the last or until anything else is chosen. */
function play(on) {
  clearInterval(app.playing);
  app.playing = on && setInterval(() => (app.rung() === rungs.at(-1) ? play(false) : next()), PLAY_MS);
  byId("rung-play").textContent = on ? "Pause" : "Play";
  byId("rung-play").setAttribute("aria-pressed", String(Boolean(on)));
  if (on && app.rung() === rungs.at(-1)) next();
}

/** What this view shows, in a line. */
function caption() {
  const { view, word } = app.state;
  const of = [single ? "" : app.rung().title, facts(app.rung()), OF_A_WORD.includes(view) && `word: ${word}`];
  return of.filter(Boolean).join("; ");
}

/** Which list and models these are. */
function describe() {
  byId("list-name").textContent = list.name;
  byId("given-field").hidden = !list.conditions.length;
  byId("given-what").textContent = list.given ?? "";
  byId("given").replaceChildren(...list.conditions.map((value) => el("option", { value }, value)));
  const seeds = [...new Set(rungs.map(({ seed }) => seed))].join(", ");
  const models = single ? `The model was trained with seed ${seeds}; its weights are in ${precision}.`
    : `Each rung is shown with one seed (${seeds}), its weights in ${precision}; losses are means over the climb's seeds, with 95 % intervals.`;
  byId("about").textContent = `${count(list.n_train)} training words of ${list.name}, protocol ${list.protocol}: ${list.scored} are scored, in nats. ${(list.unit ?? "character") === "character" ? "" : `What is called a character here is a ${list.unit}. `}${rungs.length ? models : "No model is trained yet."}`;
}

/** A page of one run speaks of one model, and begins with what it writes. */
function layOut() {
  for (const element of document.querySelectorAll("[data-only]")) element.hidden = (element.dataset.only === "run") !== single;
  if (!single) return;
  const nav = document.querySelector("nav");
  nav.prepend(nav.querySelector("[data-view=generate]"));
  nav.append(nav.querySelector("[data-view=climb]"), nav.querySelector("[data-view=train]"));
}

for (const control of document.querySelectorAll("[data-state]")) {
  control.addEventListener("input", () => app.set(within({ ...app.state, [control.dataset.state]: read(control) })));
}
byId("rung").addEventListener("input", () => app.set({ rung: rungs[Number(byId("rung").value)].name }));
byId("rung-next").addEventListener("click", next);
byId("rung-play").addEventListener("click", () => play(!app.playing));
for (const event of ["pointerdown", "keydown"]) addEventListener(event, ({ target }) => target.id !== "rung-play" && play(false));
byId("climb-fresh").addEventListener("click", () => { app.fresh++; render(); });
byId("inside-back").addEventListener("click", () => walk(app, -1));
byId("inside-next").addEventListener("click", () => walk(app, 1));
byId("generate-draw").addEventListener("submit", (event) => { event.preventDefault(); more(app); });
byId("generate-copy").addEventListener("click", () => copy(app));
byId("share-link").addEventListener("click", () => copyLink(location.href.split("#")[0] + fragment(app.state)));
byId("share-picture").addEventListener("click", () => savePicture(`${list.name}-${single ? "" : `${app.rung().name}-`}${app.state.view}`, caption()));
const restore = () => { app.state = readFragment(location.hash); render(); };
addEventListener("hashchange", restore);
addEventListener("pageshow", render); // a browser may put old values back into fields
addEventListener("resize", () => app.width !== innerWidth && render());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);
describe();
layOut();
setUpTraining(app, page, blank);
restore();

/** For the console, and for who checks this forward pass: logits and the trace of every position, and a word's reading. */
globalThis.rungwise = {
  logits(name, tokens) {
    const model = app.model(app.find(name));
    const memory = newMemory(model);
    return tokens.map((token) => [...step(model, token, memory).logits]);
  },
  trace(name, tokens) {
    const model = app.model(app.find(name));
    const memory = newMemory(model);
    const flat = (values) => [...values].map((row) => (typeof row === "number" ? row : [...row])).flat();
    return tokens.map((token) => Object.fromEntries(Object.entries(step(model, token, memory).trace).map(([part, values]) => [part, flat(values)])));
  },
  /** The losses of every step of a rung that this page trains, under a seed. */
  losses: (name, seed = 0) => losses(name, seed),
  msAStep: (name) => msAStep(name),
  read: (name, word) => readWord(app.model(app.find(name)), encode(list, word).ids),
};
