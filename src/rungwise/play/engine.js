// engine.wasm: the native engine's training step, scores and tree of prefixes, in this thread.

import { shapeOf, shapes } from "./weights.js";

/** Compile the module once; each model that trains takes an instance, whose memory goes with it. */
export const compile = (bytes) => WebAssembly.compile(bytes);

export class Engine {
  /**
   * A model that begins with these parameters, one tensor after the other.
   * @param {WebAssembly.Module} module
   * @param {import("./weights.js").Model} config
   * @param {import("./weights.js").Training} train
   * @param {Float32Array} parameters
   * @param {number} dropoutKey
   */
  constructor(module, config, train, parameters, dropoutKey) {
    /** @type {any} */
    this.x = new WebAssembly.Instance(module, {}).exports;
    this.x._initialize();
    this.config = config;
    this.train = train;
    this.size = parameters.length;
    this.key = BigInt(dropoutKey);
    this.step = 0;
    this.shape = this.put(shapeOf(config));
    this.optimiser = this.put(Float64Array.of(train.beta1, train.beta2, train.weight_decay, train.grad_clip));
    this.recipe = this.put(Int32Array.of(Number(train.optimizer === "muon"), 0, 0, 0)); // Recipe in engine.cpp: no teacher
    const empty = new Float32Array(this.size);
    this.bases = [parameters, empty, empty].map((array) => this.put(array));
    const sizes = shapes(config).map(([, shape]) => shape.reduce((a, b) => a * b, 1));
    let at = 0;
    const places = sizes.map((n) => (at += n) - n);
    this.tables = this.bases.map((base) => this.put(Uint32Array.from(places, (place) => base + 4 * place)));
  }

  /** A copy of an array in the module's memory. */
  put(array) {
    const at = this.x.rungwise_take(Math.max(8, array.byteLength));
    new array.constructor(this.x.memory.buffer, at, array.length).set(array);
    return at;
  }

  /** Call with arrays in the module's memory, which are let go afterwards. The last ones are `made`: they come back. */
  with(arrays, made, call) {
    const given = arrays.map((array) => this.put(array));
    const results = made.map((array) => this.put(array));
    call(...given, ...results);
    const found = made.map((array, i) => new array.constructor(this.x.memory.buffer, results[i], array.length).slice());
    for (const at of [...given, ...results]) this.x.rungwise_free(at);
    return found;
  }

  /** Take a step for each rate; the losses before each, nats a scored token. lengths: (steps * batch,). */
  steps({ inputs, targets, lengths }, rates) {
    const [losses] = this.with([inputs, targets, lengths, Float64Array.from(rates)], [new Float64Array(rates.length)],
      (i, t, l, r, out) => this.x.rungwise_train(this.shape, this.optimiser, ...this.tables, i, t, l, this.train.batch_size,
        this.step, rates.length, r, this.key, out, this.recipe));
    this.step += rates.length;
    return losses;
  }

  /** -ln p of each target. */
  score({ inputs, targets, lengths }) {
    return this.with([inputs, targets, lengths], [new Float32Array(targets.length), new Uint8Array(targets.length)],
      (i, t, l, nats, correct) => this.x.rungwise_score(this.shape, this.tables[0], i, t, l, lengths.length, nats, correct))[0];
  }

  /** A tree of prefixes of at most `length` tokens, `rows` side by side; `use` is called with what grows it. */
  tree(rows, length, use) {
    const tree = this.x.rungwise_tree(this.shape, this.tables[0], rows, length, rows * length);
    try {
      return use((tokens, paths, first) => this.with([Int32Array.from(tokens), Int32Array.from(paths.flat())], [new Float32Array(tokens.length * this.config.vocab_size)],
        (t, p, logits) => this.x.rungwise_grow(tree, t, p, tokens.length, paths[0].length, first, logits))[0]);
    } finally {
      this.x.rungwise_fell(tree);
    }
  }

  parameters() {
    return new Float32Array(this.x.memory.buffer, this.bases[0], this.size).slice();
  }

  /** Bytes of its memory. */
  get memory() {
    return this.x.memory.buffer.byteLength;
  }
}
