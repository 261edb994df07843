// The worker: it reads lists, counts n-grams and trains one run at a time, a slice after the other, so that it hears the
// page in between. The page only shows what it is told here.

import { compile } from "./engine.js";
import { UserError, firstCounts, readList, split, tape, wordStart } from "./list.js";
import { kneserNey } from "./ngram.js";
import { Run } from "./run.js";
import { openList } from "./text.js";

const SLICE_MS = 120;
const EVALUATIONS = 20;

/** Steps before the last at which words are drawn (task.snapshot_steps): 0, 1, 2, 5, 10, 20, 50, ... */
const isShown = (step) => /^([125]0*|0)$/.test(String(step));

const state = { module: null, list: null, parts: null, protocol: "", run: null, job: null, running: false };

const TASKS = {
  async engine({ bytes }) {
    state.module = await compile(bytes);
  },
  read({ bytes, name, protocol }) {
    const list = readList(bytes, name);
    return { list, parts: split(list, protocol) };
  },
  list({ list, parts, protocol }) {
    const text = (i) => Array.from(list.codes.subarray(list.offsets[i], list.offsets[i + 1]), (id) => list.characters[id - 2]).join("");
    Object.assign(state, { list: { ...openList({ ...list, characters: list.characters.join(""), example: text(0) }), codes: list.codes, offsets: list.offsets }, parts, protocol });
  },
  count() {
    const start = wordStart(state.protocol, { batching: "words" });
    const tapes = Object.fromEntries(Object.entries(state.parts).map(([part, words]) => [part, tape(state.list, words, start)]));
    const losses = (part) => (state.parts[part].length ? kneserNey(tapes.train, tapes[part], state.list.characters.length + 2) : null);
    return { test: losses("test"), validation: losses("validation"), firsts: firstCounts(state.list, state.parts.train) };
  },
  train({ job }) {
    state.run = new Run(state.module, state.list, state.parts, state.protocol, job);
    state.job = job;
    state.running = true;
    postMessage({ kind: "begun", id: job.id, n_params: state.run.engine.size, tokensAStep: state.run.tokensAStep });
    slice(1);
  },
  pause() {
    state.running = false;
    return state.run && { weights: state.run.engine.parameters() };
  },
  go() {
    if (!state.run || state.running) return;
    state.running = true;
    slice(1);
  },
};

const channel = new MessageChannel(); // not a timer: a page in the background would slow it
let resume = () => {};
channel.port1.onmessage = () => resume();

function slice(steps) {
  resume = () => safely(state.job.id, () => advance(steps));
  channel.port2.postMessage(0);
}

/** Take a slice of steps, up to the next one at which something is looked at, and tell what came of it. */
function advance(most) {
  const { run, job } = state;
  if (!state.running) return;
  const every = Math.max(1, Math.floor(run.train.steps / EVALUATIONS));
  const told = { kind: "slice", id: job.id, losses: new Float64Array(0), ms: 0 };
  if (run.step === 0 && !job.quiet) postMessage({ ...told, step: 0, validation: run.evaluate(), words: run.words() });
  let stop = 1;
  while (stop < most && !(isShown(run.step + stop) && !job.quiet) && (run.step + stop) % every) stop++;
  const began = performance.now();
  told.losses = run.advance(stop);
  const ms = (performance.now() - began) / told.losses.length;
  told.ms = ms * told.losses.length;
  const [step, last] = [run.step, run.train.steps];
  Object.assign(told, { step, memory: run.engine.memory });
  if (step % every === 0 || step === last) told.validation = run.evaluate();
  if (!job.quiet && (isShown(step) || step === last)) told.words = run.words();
  postMessage(told);
  if (step < last) return slice(Math.max(1, Math.min(256, Math.round(SLICE_MS / ms))));
  state.running = false;
  const losses = Object.fromEntries(["train", "validation", "test"].map((part) => [part, run.loss(part)]));
  postMessage({ kind: "done", id: job.id, losses, weights: run.engine.parameters() });
  state.run = null;
}

/** What goes wrong is one line; a trap of the engine is told as one, too. */
function safely(id, task) {
  try {
    task();
  } catch (error) {
    state.running = false;
    state.run = null;
    const line = error instanceof UserError ? error.message : error instanceof WebAssembly.RuntimeError || error instanceof RangeError
      ? "The engine stopped: this model takes more memory than a page has. Take a smaller one."
      : `The engine stopped: ${error.message}`;
    postMessage({ kind: "failed", id, line });
  }
}

globalThis.onmessage = async ({ data }) => {
  try {
    const found = await TASKS[data.kind](data);
    if (data.call !== undefined) postMessage({ kind: "answer", call: data.call, found });
  } catch (error) {
    const line = error instanceof UserError ? error.message : `This page cannot do that here: ${error.message}`;
    postMessage({ kind: "answer", call: data.call, id: data.job?.id, line });
  }
};
