// One run: a rung under a seed, on a list. Batches, learning rates, dropout's masks and the words on the way are those of
// the command line (batches.py, loop.py, prefix_tree.py), functions of the seed and the step alone.

import { Engine } from "./engine.js";
import { END, firstCounts, tape, wordStart } from "./list.js";
import { Generator, deriveSeed } from "./random.js";
import { UserError } from "./source.js";
import { PAD, asListed, decode } from "./text.js";
import { complete, initialise, shapes } from "./weights.js";

const STEPS_A_BLOCK = 256;
const EVALUATION_WORDS = 20_000;
const SCORED_TRAIN_WORDS = 200_000;
const N_WORDS = 10;
const MOST_TRIES = 1000;
const [QUANTILES, RANKED] = [200, 10_000];

/** The training configuration for so many steps: a schedule reaches its peak and falls from there on (rules.fitted). */
export function fitted(train, steps) {
  if (train.schedule === "constant") return { ...train, steps };
  const [warmup_steps, min_learning_rate] = [Math.min(train.warmup_steps, Math.floor(steps / 2)), Math.min(train.min_learning_rate, train.learning_rate / 2)];
  return { ...train, steps, warmup_steps, min_learning_rate };
}

/** The rate of step 0, 1, ... (loop.learning_rate). */
function learningRate(train, step) {
  const { learning_rate: peak, min_learning_rate: least, warmup_steps: warmup, steps } = train;
  if (train.schedule === "constant") return peak;
  if (step < warmup) return (peak * (step + 1)) / warmup;
  return least + (peak - least) * ((1 + Math.cos((Math.PI * (step - warmup)) / Math.max(1, steps - warmup))) / 2);
}

/** Inputs and targets of sequences, one after the other (Tape.packed). */
function packed({ tokens }, starts, lengths) {
  const n = lengths.reduce((a, b) => a + b, 0);
  const [inputs, targets] = [new Int32Array(n), new Int32Array(n)];
  let at = 0;
  for (let i = 0; i < starts.length; i++) {
    inputs.set(tokens.subarray(starts[i], starts[i] + lengths[i]), at);
    targets.set(tokens.subarray(starts[i] + 1, starts[i] + lengths[i] + 1), at);
    at += lengths[i];
  }
  return { inputs, targets, lengths: Int32Array.from(lengths) };
}

export class Run {
  /**
   * @param {WebAssembly.Module} module
   * @param {any} list of text.openList, with codes and offsets
   * @param {import("./list.js").Parts} parts
   * @param {string} protocol
   * @param {{ model: import("./weights.js").Model, train: import("./weights.js").Training, seed: number }} job
   */
  constructor(module, list, parts, protocol, { model, train, seed }) {
    this.list = list;
    this.parts = parts;
    this.train = train;
    this.seed = seed;
    this.config = complete(model, list);
    this.start = wordStart(protocol, train);
    this.tape = list.tape ??= tape(list, parts.train, wordStart(protocol, { batching: "words" })); // all runs read one
    if (train.batching === "stream" && this.tape.tokens.length <= train.window + 1) {
      throw new UserError(`The training words make ${this.tape.tokens.length} tokens; a window of ${train.window} needs more.`);
    }
    this.firsts = firstCounts(list, parts.train);
    this.engine = new Engine(module, this.config, train, initialise(this.config, seed), deriveSeed(seed, "dropout"));
    this.scored = {};
    /** @type {{ number: number, starts: Int32Array, lengths: Int32Array } | null} */
    this.block = null;
  }

  get step() {
    return this.engine.step;
  }

  /** Scored tokens of a step, in the mean. */
  get tokensAStep() {
    const { batching, batch_size: batch, window } = this.train;
    return batch * (batching === "words" ? this.tape.lengths.reduce((a, b) => a + b, 0) / this.tape.lengths.length : window);
  }

  /** At most n steps, within a block; the losses before each. */
  advance(n) {
    const begin = this.step;
    const steps = Math.min(n, this.train.steps - begin, STEPS_A_BLOCK - (begin % STEPS_A_BLOCK));
    const { starts, lengths } = this.drawn(Math.floor(begin / STEPS_A_BLOCK));
    const [from, to] = [begin % STEPS_A_BLOCK, (begin % STEPS_A_BLOCK) + steps].map((step) => step * this.train.batch_size);
    const rates = Array.from({ length: steps }, (_, i) => learningRate(this.train, begin + i));
    const losses = this.engine.steps(packed(this.tape, starts.subarray(from, to), lengths.subarray(from, to)), rates);
    const bad = losses.findIndex((loss) => !Number.isFinite(loss));
    if (bad >= 0) throw new UserError(`Training diverged: the loss of step ${begin + bad} is not finite. Try a lower learning_rate or grad_clip=1.`);
    return losses;
  }

  /** Where the sequences of a block of steps lie (batches.draw). */
  drawn(block) {
    if (this.block && this.block.number === block) return this.block;
    const random = new Generator([deriveSeed(this.seed, "batches"), block]);
    const n = STEPS_A_BLOCK * this.train.batch_size;
    const [starts, lengths] = [new Int32Array(n), new Int32Array(n)];
    for (let i = 0; i < n; i++) {
      if (this.train.batching === "words") {
        const word = random.below(this.tape.starts.length);
        [starts[i], lengths[i]] = [this.tape.starts[word], this.tape.lengths[word]];
      } else [starts[i], lengths[i]] = [1 + random.below(this.tape.tokens.length - this.train.window - 1), this.train.window];
    }
    this.block = { number: block, starts, lengths };
    return this.block;
  }

  /** Mean nats a scored token of a part; null where it is empty. `most`: words of it. */
  loss(part, most = part === "train" ? SCORED_TRAIN_WORDS : Infinity) {
    const words = this.parts[part];
    if (!words.length) return null;
    const scored = (this.scored[`${part} ${most}`] ??= tape(this.list, words.subarray(0, most), this.start));
    const { starts, lengths, unscored } = scored;
    const nats = this.engine.score(packed(scored, starts, lengths));
    let [total, n, at] = [0, 0, 0];
    for (const length of lengths) {
      for (let t = unscored; t < length; t++) total += nats[at + t];
      n += length - unscored;
      at += length;
    }
    return total / n;
  }

  /** [name, shape] of each parameter. */
  get layout() {
    return shapes(this.config);
  }

  /** Log-likelihoods of training words at evenly spaced ranks (collect._quantiles). */
  quantiles() {
    const some = tape(this.list, this.parts.train.subarray(0, RANKED), this.start);
    const { starts, lengths, unscored } = some;
    const nats = this.engine.score(packed(some, starts, lengths));
    let at = 0;
    const words = Array.from(lengths, (length) => -nats.subarray(at + unscored, (at += length)).reduce((a, b) => a + b, 0)).sort((a, b) => a - b);
    return Array.from({ length: QUANTILES + 1 }, (_, i) => Number(words[Math.round((i / QUANTILES) * (words.length - 1))].toFixed(3)));
  }

  /** What the validation words say now. */
  evaluate() {
    return this.loss("validation", EVALUATION_WORDS);
  }

  /** Ten words, drawn by the same numbers each time, so that one sees the words change (sample.generate). */
  words() {
    const width = this.list.block_size - 1 + (this.start.end_fed ? 1 : 0);
    const random = new Generator([deriveSeed(this.seed, "sampling"), 0]);
    const numbers = () => Array.from({ length: width + 1 }, () => random.next() / 2 ** 32);
    const found = [];
    for (let tries = 0; found.length < N_WORDS && tries < MOST_TRIES; tries += N_WORDS) {
      for (const ids of this.draw(Array.from({ length: N_WORDS }, numbers), width)) {
        const word = asListed(this.list, ids, []);
        if (word && found.length < N_WORDS) found.push(decode(this.list, word));
      }
    }
    return found;
  }

  /** A word's ids for each row of numbers; all words side by side, a token a pass. */
  draw(numbers, width) {
    const { end_fed: fed } = this.start;
    const rows = numbers.map((row) => ({ row, ids: [fed ? END : pick(this.firsts, row[0])], path: [] }));
    const V = this.config.vocab_size;
    this.engine.tree(rows.length, width, (grow) => {
      let [alive, next] = [rows, 0];
      for (let time = 1; alive.length; time++) {
        alive.forEach((word, i) => word.path.push(next + i));
        const logits = grow(alive.map(({ ids }) => ids.at(-1)), alive.map(({ path }) => path), next);
        next += alive.length;
        alive.forEach((word, i) => {
          const own = Float64Array.from(logits.subarray(i * V, (i + 1) * V));
          own[PAD] = -Infinity;
          if (fed && time === 1) own[END] = -Infinity; // a word has at least one character
          word.ids.push(time === width ? END : pick(powers(own), word.row[time]));
        });
        alive = alive.filter(({ ids }) => ids.at(-1) !== END);
      }
    });
    return rows.map(({ ids }) => ids.slice(fed ? 1 : 0, -1));
  }
}

function powers(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  return logits.map((value) => Math.exp(value - largest));
}

/** The index at a share of the weights' sum, 0 <= share < 1. */
function pick(weights, share) {
  const line = [];
  let total = 0;
  for (const weight of weights) line.push((total += weight));
  const found = line.findIndex((upTo) => upTo / total > share);
  return found < 0 ? weights.length - 1 : found;
}
