// A session of training: the workers, the runs that they train, and what has come of each so far. Nothing is drawn here.

import { scriptOf } from "./dom.js";
import { bytesFrom } from "./source.js";

const STEP_COST = 4000; // parameters whose work a step's fixed cost is worth

/** A worker that runs this page's own script, and a way to ask it. */
class Trainer {
  constructor(engine, told) {
    const url = URL.createObjectURL(new Blob([scriptOf()], { type: "text/javascript" }));
    this.worker = new Worker(url);
    URL.revokeObjectURL(url);
    this.asked = new Map();
    this.calls = 0;
    this.worker.onmessage = ({ data }) => {
      if (data.kind !== "answer") return told(data);
      const { done, refused } = this.asked.get(data.call);
      this.asked.delete(data.call);
      return data.line ? refused(new Error(data.line)) : done(data.found);
    };
    this.worker.onerror = (event) => {
      for (const { refused } of this.asked.values()) refused(new Error(`This browser cannot train here: ${event.message}`));
    };
    this.ready = this.ask({ kind: "engine", packed: engine });
  }

  ask(message, given = []) {
    return new Promise((done, refused) => {
      const call = ++this.calls;
      this.asked.set(call, { done, refused });
      this.worker.postMessage({ ...message, call }, given);
    });
  }

  tell(message) {
    this.worker.postMessage(message);
  }
}

export class Session {
  /** `changed(what)`: called when there is something new to show: "slice", "done", "failed". */
  constructor(engine, changed) {
    this.engine = engine;
    this.changed = changed;
    /** @type {Trainer[]} */
    this.trainers = [];
    /** @type {ReturnType<typeof newRun>[]} */
    this.runs = [];
    /** idle, reading, training, paused, stopping or done */
    this.status = "idle";
    this.source = null; // what read() gave
    this.began = this.paused = this.took = 0; // milliseconds
  }

  /**
   * A list, read and split as the protocol says; an Error whose message says what is wrong with it.
   * @param {{ file?: Blob, name: string, [more: string]: any }} source
   * @param {string} protocol
   */
  async read({ file, ...source }, protocol) {
    const reader = new Trainer(this.engine, () => {});
    try {
      await reader.ready;
      const bytes = file && await bytesFrom(file, source.name); // here: of a page from disk, WebKit's workers read no file
      return await reader.ask({ kind: "read", ...source, bytes, protocol }, bytes ? [bytes.buffer] : []);
    } finally {
      reader.worker.terminate();
    }
  }

  /** Train rungs { name, model, train } under seeds 0, 1, ..., side by side. `read`: what read() gave. */
  async start(read, rungs, seeds) {
    this.end();
    const { list, parts, protocol } = read;
    this.source = read;
    this.runs = Array.from({ length: seeds }, (_, seed) => rungs.map((rung) => newRun(rung, seed))).flat();
    this.status = "training";
    this.began = performance.now();
    const lots = deal(this.runs, Math.min(navigator.hardwareConcurrency || 2, rungs.length));
    this.trainers = lots.map(() => new Trainer(this.engine, (told) => this.hear(told)));
    const mine = this.trainers;
    await Promise.all(mine.map(async (trainer, i) => {
      await trainer.ready;
      await trainer.ask({ kind: "list", list, parts, protocol });
      if (this.trainers !== mine) return;
      trainer.tell({ kind: "train", jobs: lots[i].map((run) => ({ id: this.runs.indexOf(run), turn: run.turn, seed: run.seed, model: run.rung.model, train: run.rung.train })) });
    }));
  }

  hear(told) {
    const run = this.runs[told.id];
    if (!run) return;
    if (told.kind === "slice") take(run, told);
    if (told.kind === "done") Object.assign(run, { done: told, step: told.step });
    if (told.kind === "failed") run.failed = told.line;
    if (this.runs.every(({ done, failed }) => done || failed)) {
      this.status = "done";
      this.took = performance.now() - this.began;
      this.end();
    }
    this.changed(told.kind, run);
  }

  pause() {
    this.status = "paused";
    this.paused = performance.now();
    for (const trainer of this.trainers) trainer.tell({ kind: "pause" });
  }

  go() {
    this.status = "training";
    this.began += performance.now() - this.paused;
    for (const trainer of this.trainers) trainer.tell({ kind: "go" });
  }

  /** What is begun ends with the weights that it has; what is not is let go. */
  async stop() {
    if (this.status === "paused") this.began += performance.now() - this.paused;
    this.status = "stopping";
    await Promise.all(this.trainers.map((trainer) => trainer.ask({ kind: "stop" })));
    for (const run of this.runs) if (!run.done && !run.failed) run.failed = "Stopped before it began.";
    this.runs = this.runs.filter(({ step, done }) => done || step > 0);
    this.status = "done";
    this.took = performance.now() - this.began;
    this.end();
    this.changed("done");
  }

  end() {
    for (const { worker } of this.trainers) worker.terminate();
    this.trainers = [];
  }

  /** Share of the work that is done, seconds left, tokens a second of all workers. */
  get progress() {
    const cost = ({ rung, n_params: n }) => rung.train.steps * (n + STEP_COST);
    const all = this.runs.reduce((total, run) => total + cost(run), 0);
    const done = this.runs.reduce((total, run) => total + cost(run) * (run.done || run.failed ? 1 : run.step / run.rung.train.steps), 0);
    const share = all ? done / all : 0;
    const seconds = ((this.status === "paused" ? this.paused : performance.now()) - this.began) / 1000;
    return { share, left: share ? (seconds * (1 - share)) / share : null, tokens: this.runs.reduce((n, run) => n + run.step * run.tokens, 0) / seconds };
  }

  /** Bytes of the models' memory, as the workers told. */
  get memory() {
    return this.runs.reduce((total, { memory, done }) => total + (done ? 0 : memory), 0);
  }
}

function newRun(rung, seed) {
  return { rung, seed, turn: seed, n_params: rung.n_params, step: 0, tokens: 0, memory: 0, ms: 0, losses: new Float32Array(rung.train.steps), sums: new Float64Array(rung.train.steps + 1), /** @type {[number, number][]} */ validation: [], snapshots: [], /** @type {any} */ done: null, failed: "" };
}

function take(run, { step, losses, ms, tokens, memory = 0, validation, words }) {
  run.losses.set(losses, step - losses.length);
  losses.forEach((loss, i) => { const at = step - losses.length + i; run.sums[at + 1] = run.sums[at] + loss; });
  Object.assign(run, { step, tokens, memory });
  run.ms += ms;
  if (validation !== null && validation !== undefined) run.validation.push([step, validation]);
  if (words) run.snapshots.push({ step, samples: words });
}

/**
 * The runs in n lots of like cost: all seeds of a rung in one.
 * @param {ReturnType<typeof newRun>[]} runs
 * @param {number} n
 */
function deal(runs, n) {
  const lots = Array.from({ length: n }, () => ({ cost: 0, runs: /** @type {typeof runs} */ ([]) }));
  const rungs = [...new Set(runs.map(({ rung }) => rung))].sort((a, b) => (b.n_params - a.n_params));
  for (const rung of rungs) {
    const lot = lots.reduce((a, b) => (b.cost < a.cost ? b : a));
    lot.cost += rung.train.steps * (rung.n_params + STEP_COST);
    lot.runs.push(...runs.filter((run) => run.rung === rung));
  }
  return lots.map((lot) => lot.runs);
}
