// The worker: it reads lists, counts n-grams and trains runs, a slice of one after a slice of the other, so that it hears
// the page in between. The page only shows what it is told here.

import { compile } from "./engine.js";
import { bytesOf } from "./forward.js";
import { PROTOCOLS, SCORED, firstCounts, readList, split, tape, wordStart } from "./list.js";
import { filterOf } from "./members.js";
import { kneserNey } from "./ngram.js";
import { Run } from "./run.js";
import { sha256 } from "./sha256.js";
import { UserError } from "./source.js";
import { openList } from "./text.js";
import { base64 } from "./zip.js";

const SLICE_MS = 120;
const EVALUATIONS = 20;

/** Steps at which words are drawn (task.snapshot_steps): 0, 1, 2, 5, 10, 20, 50, ... */
const isShown = (step) => /^([125]0*|0)$/.test(String(step));

/** @type {any} */
const state = { module: null, list: null, parts: null, protocol: "", runs: [], running: false };

/** Not by way of a Blob: WebKit reads none in a page from disk. */
const unpacked = async (text) =>
  new Uint8Array(await new Response(new Response(bytesOf(text)).body?.pipeThrough(new DecompressionStream("gzip"))).arrayBuffer());

const TASKS = {
  async engine({ packed }) {
    state.module = await compile(await unpacked(packed));
  },
  /** A list, from the page (`packed`) or a file's bytes; its split; and what the page tells of it. */
  async read({ packed, bytes: given, name, sha256: known, protocol, ...how }) {
    const bytes = given ?? await unpacked(packed);
    const list = readList(bytes, name, how);
    const found = { list, parts: split(list, protocol), protocol };
    TASKS.list(found);
    return { ...found, sha256: known ?? sha256(bytes), about: about() };
  },
  list({ list, parts, protocol }) {
    Object.assign(state, { list: { ...openList({ ...list, characters: list.characters.join(""), example: "" }), codes: list.codes, offsets: list.offsets }, parts, protocol, runs: [] });
  },
  train({ jobs }) {
    for (const job of jobs) state.runs.push({ job, run: null });
    go();
  },
  pause: () => { state.running = false; },
  go: () => go(),
  /** What is begun ends here, with the weights that it has. */
  stop() {
    state.running = false;
    for (const one of state.runs.filter(({ run }) => run)) safely(one, () => finish(one));
    state.runs = [];
  },
};

/** What the page tells of a list, and the n-gram baselines. */
function about() {
  const { list, parts, protocol } = state;
  const start = wordStart(protocol, { batching: "words" });
  const tapes = Object.fromEntries(Object.entries(parts).map(([part, words]) => [part, tape(list, words, start)]));
  const losses = (part) => parts[part].length && kneserNey(tapes.train, tapes[part], list.characters.length + 2);
  const [test, chosen] = [losses("test"), losses("validation")];
  const by = chosen || test;
  const order = by.indexOf(Math.min(...by)) + 1;
  return {
    ngram: { order, test_loss: test[order - 1], losses: test, validation: chosen || null },
    firsts: firstCounts(list, parts.train), scored: SCORED[PROTOCOLS[protocol].start_token], n_train: parts.train.length,
    members: filterOf(list, parts.train), held_out: filterOf(list, [...parts.validation, ...parts.test]), example: example(list),
  };
}

/** A word of middling length (collect._example). */
function example({ codes, offsets, characters }) {
  const lengths = Array.from({ length: offsets.length - 1 }, (_, i) => offsets[i + 1] - offsets[i]);
  const median = [...lengths].sort((a, b) => a - b)[lengths.length >> 1];
  const i = lengths.indexOf(median);
  return Array.from(codes.subarray(offsets[i], offsets[i + 1]), (id) => characters[id - 2]).join("");
}

const channel = new MessageChannel(); // not a timer: a page in the background would slow it
channel.port1.onmessage = () => {
  if (!state.running || !state.runs.length) return;
  const one = state.runs.reduce((a, b) => (share(b) < share(a) ? b : a));
  safely(one, () => advance(one));
  channel.port2.postMessage(0);
};

/** Runs of the first seed before those of the next; of one seed, side by side. */
const share = ({ job, run }) => job.turn + (run ? run.step / run.train.steps : 0);

function go() {
  if (state.running) return;
  state.running = true;
  channel.port2.postMessage(0);
}

function begin(one) {
  const { job } = one;
  one.run = new Run(state.module, state.list, state.parts, state.protocol, job);
  one.slice = 1;
  const { run } = one;
  postMessage({ kind: "slice", id: job.id, step: 0, losses: new Float64Array(0), ms: 0, tokens: run.tokensAStep,
    validation: run.evaluate(), words: job.turn ? undefined : run.words() });
}

/** A slice of steps, up to the next one at which something is looked at. */
function advance(one) {
  if (!one.run) return begin(one);
  const { run, job } = one;
  const every = Math.max(1, Math.floor(run.train.steps / EVALUATIONS));
  const isLooked = (step) => (!job.turn && isShown(step)) || step % every === 0;
  let n = 1;
  while (n < one.slice && !isLooked(run.step + n)) n++;
  const began = performance.now();
  const losses = run.advance(n);
  const ms = performance.now() - began;
  one.slice = Math.max(1, Math.min(256, Math.round((SLICE_MS * losses.length) / ms)));
  const { step } = run;
  const last = step === run.train.steps;
  postMessage({ kind: "slice", id: job.id, step, losses, ms, tokens: run.tokensAStep, memory: run.engine.memory,
    validation: step % every === 0 || last ? run.evaluate() : null, words: !job.turn && (isShown(step) || last) ? run.words() : undefined });
  if (last) {
    finish(one);
    state.runs = state.runs.filter((other) => other !== one);
  }
}

function finish({ run, job }) {
  const losses = Object.fromEntries(["train", "validation", "test"].map((part) => [part, run.loss(part)]));
  postMessage({ kind: "done", id: job.id, step: run.step, losses, model: run.config, word_start: run.start, train: run.train,
    ...(job.turn ? {} : { weights: { layout: run.layout, data: base64(new Uint8Array(run.engine.parameters().buffer)) }, quantiles: run.quantiles() }) });
}

/** What goes wrong is one line; a trap of the engine is told as one, too. */
function safely(one, task) {
  try {
    task();
  } catch (error) {
    state.runs = state.runs.filter((other) => other !== one);
    postMessage({ kind: "failed", id: one.job.id, line: lineOf(error) });
  }
}

function lineOf(error) {
  if (error instanceof UserError) return error.message;
  if (error instanceof WebAssembly.RuntimeError || error instanceof RangeError) return "The engine stopped: this model takes more memory than a page has. Take a smaller one.";
  return `This browser cannot do that: ${error.message}`;
}

/** A list's memory, which goes to the page as it is: to copy it would hold the page up. Who reads a list ends then. */
const buffersOf = (list) => (list ? [list.codes.buffer, list.offsets.buffer] : []);

globalThis.onmessage = async ({ data }) => {
  try {
    const found = await TASKS[data.kind](data);
    if (data.call !== undefined) postMessage({ kind: "answer", call: data.call, found }, { transfer: buffersOf(found?.list) });
  } catch (error) {
    postMessage({ kind: "answer", call: data.call, line: lineOf(error) });
  }
};
