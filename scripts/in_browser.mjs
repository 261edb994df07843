// Trainers that run in a browser, at the same sizes, one after the other in every round: what bench_pages.py starts.
// JSON on standard input: { folder, tinygpt, wasm, list, rungs: [{ name, model, train }], rounds, steps }; JSON comes out.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { compile } from "../src/rungwise/play/engine.js";
import { readList, split, wordStart, tape } from "../src/rungwise/play/list.js";
import { Run } from "../src/rungwise/play/run.js";
import { openList } from "../src/rungwise/play/text.js";

const asked = JSON.parse(readFileSync(0, "utf-8"));
const fetched = createRequire(join(asked.folder, "package.json"));
const RATE = 1e-3;
const [BETA1, BETA2, EPSILON] = [0.9, 0.999, 1e-8];
const BATCHES = 8; // that others meet in turn, all padded to one width: a change of shape would be compiled anew

/** What jax-js asks of iterators, and older nodes lack. */
const iterators = Object.getPrototypeOf(Object.getPrototypeOf([][Symbol.iterator]()));
for (const name of ["map", "filter", "flatMap", "some", "every", "reduce"]) iterators[name] ??= function (...told) { return [...this][name](...told); };

const read = readList(readFileSync(asked.list), "given-names");
const list = { ...openList({ ...read, characters: read.characters.join(""), example: "" }), codes: read.codes, offsets: read.offsets };
const parts = split(read, "strict");
const V = list.characters.length + 2;

/** Batches of n words: inputs and targets of n rows and T columns (-1 behind a word's end), and how many are scored. */
function batches(n) {
  const { tokens, starts, lengths } = tape(list, parts.train, wordStart("strict", { batching: "words" }));
  const T = lengths.subarray(0, n * BATCHES).reduce((a, b) => Math.max(a, b));
  return Array.from({ length: BATCHES }, (_, b) => {
    const [inputs, targets] = [new Int32Array(n * T), new Int32Array(n * T).fill(-1)];
    for (let i = 0; i < n; i++) {
      const [from, length] = [starts[b * n + i], lengths[b * n + i]];
      inputs.set(tokens.subarray(from, from + length), i * T);
      targets.set(tokens.subarray(from + 1, from + length + 1), i * T);
    }
    return { n, T, inputs, targets, scored: targets.filter((id) => id >= 0).length };
  });
}

/** One row of V numbers an id, 1 at the id; -1 has none. */
function oneHot(ids) {
  const rows = new Float32Array(ids.length * V);
  ids.forEach((id, i) => id >= 0 && (rows[i * V + id] = 1));
  return rows;
}

/** Shapes of the parameters in order, those of a rung: q, k and v each by itself. RoPE has none: it is left out. */
function shapesOf({ n_layer: L, n_embd: D }) {
  const block = [[D], [D], [D, D], [D, D], [D, D], [D, D], [D], [D], [D], [D, 4 * D], [4 * D], [4 * D, D], [D]];
  return [[V, D], ...Array.from({ length: L }, () => block).flat(), [D, V], [V]];
}

function initial(shape) {
  const n = shape.reduce((a, b) => a * b, 1);
  return Float32Array.from({ length: n }, () => (shape.length > 1 ? (Math.random() - 0.5) * 2 / Math.sqrt(shape[0]) : 0));
}

/** The forward pass of both libraries, told how each calls its operations. x: (B, T, V), one-hot. */
function forward(o, parameters, x, { n_layer: L, n_head: H, n_embd: D }, { n, T }) {
  const p = parameters[Symbol.iterator]();
  const take = () => p.next().value;
  const linear = (h, w, b) => o.add(o.matmul(h, w), b);
  const norm = (h) => { const [scale, shift] = [take(), take()]; return o.add(o.mul(o.standardize(h), o.add(scale, 1)), shift); };
  let stream = o.matmul(x, take());
  for (let i = 0; i < L; i++) {
    const h = norm(o.keep(stream));
    const [q, k, v] = [o.keep(h), o.keep(h), h].map((from) => o.reshape(o.matmul(from, take()), [n, T, H, D / H]));
    stream = o.add(stream, linear(o.reshape(o.attention(q, k, v), [n, T, D]), take(), take()));
    const up = linear(norm(o.keep(stream)), take(), take());
    stream = o.add(stream, linear(o.gelu(up), take(), take()));
  }
  return linear(stream, take(), take());
}

const TRAINERS = {
  async rungwise({ model, train }) {
    const run = new Run(await compile(readFileSync(asked.wasm)), list, parts, "strict", { model, train: { ...train, steps: 1e6 }, seed: 0 });
    return { parameters: run.engine.size, steps(n) {
      let last;
      for (let done = 0; done < n;) { const losses = run.advance(n - done); last = losses.at(-1); done += losses.length; }
      return last;
    } };
  },

  async tinygpt({ model: { n_layer, n_head, n_embd }, train }) {
    if (!asked.tinygpt) return null;
    const module = await (await import(pathToFileURL(join(asked.tinygpt, "browser/public/tinygpt.js")).href)).default();
    globalThis.Worker = undefined; // its own: jax-js would take it for a browser's
    const [{ T }] = batches(train.batch_size);
    const { tokens } = tape(list, parts.train, wordStart("strict", { batching: "words" }));
    const model = module._tg_model_create(V, T, n_layer, n_head, n_embd, 4 * n_embd, 1);
    const at = module._malloc(tokens.length);
    module.HEAPU8.set(Uint8Array.from(tokens), at);
    module._tg_set_data(model, at, tokens.length, 1);
    return { parameters: module._tg_model_num_params(model), steps(n) {
      let last;
      for (let i = 0; i < n; i++) last = module._tg_train_step(model, train.batch_size, RATE, 0);
      return last;
    } };
  },

  async jax({ model, train }) {
    const { jit, valueAndGrad, numpy: np, nn } = fetched("@jax-js/jax");
    const shapes = shapesOf(model);
    const all = batches(train.batch_size);
    const o = {
      add: (a, b) => a.add(b), mul: (a, b) => a.mul(b), matmul: np.matmul, reshape: (a, shape) => a.reshape(shape), keep: (a) => a.ref,
      standardize: (a) => nn.standardize(a), gelu: (a) => nn.gelu(a), attention: (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true }),
    };
    const loss = (p, x, y) => nn.logSoftmax(forward(o, p, x, model, all[0])).mul(y).sum().mul(-1);
    const step = jit((p, m, v, x, y, first, second) => {
      const [value, gradients] = valueAndGrad(loss)(p.map((a) => a.ref), x, y);
      const m2 = m.map((a, i) => a.mul(BETA1).add(gradients[i].ref.mul(1 - BETA1)));
      const v2 = v.map((a, i) => a.mul(BETA2).add(gradients[i].ref.mul(gradients[i]).mul(1 - BETA2)));
      const p2 = p.map((a, i) => a.sub(m2[i].ref.mul(first.ref).div(np.sqrt(v2[i].ref.mul(second.ref)).add(EPSILON)).mul(RATE)));
      first.dispose(); second.dispose();
      return [value, p2, m2, v2];
    });
    const data = all.map(({ n, T, inputs, targets, scored }) => [oneHot(inputs), oneHot(targets).map((one) => one / scored)].map((rows) => np.array(rows).reshape([n, T, V])));
    let [p, m, v, t] = [shapes.map((shape) => np.array(initial(shape)).reshape(shape)), ...[0, 0].map(() => shapes.map((shape) => np.zeros(shape))), 0];
    return { parameters: shapes.reduce((n, shape) => n + shape.reduce((a, b) => a * b, 1), 0), async steps(n) {
      let value;
      for (let i = 0; i < n; i++) {
        const [x, y] = data[t++ % BATCHES];
        const bias = [1 / (1 - BETA1 ** t), 1 / (1 - BETA2 ** t)].map((one) => np.array(one));
        [value, p, m, v] = step(p, m, v, x.ref, y.ref, ...bias);
        value = (await value.data())[0];
      }
      return value;
    } };
  },

  async tfjs({ model, train }) {
    const tf = fetched("@tensorflow/tfjs");
    fetched("@tensorflow/tfjs-backend-wasm");
    await tf.setBackend("wasm");
    const all = batches(train.batch_size);
    const mask = tf.mul(tf.sub(tf.linalg.bandPart(tf.ones([all[0].T, all[0].T]), -1, 0), 1), 1e9);
    const heads = (a) => tf.transpose(a, [0, 2, 1, 3]);
    const o = {
      add: tf.add, mul: tf.mul, reshape: tf.reshape, keep: (a) => a,
      matmul: (a, w) => tf.reshape(tf.matMul(tf.reshape(a, [-1, w.shape[0]]), w), [...a.shape.slice(0, -1), w.shape[1]]),
      standardize(a) { const d = tf.sub(a, tf.mean(a, -1, true)); return tf.mul(d, tf.rsqrt(tf.add(tf.mean(tf.square(d), -1, true), 1e-5))); },
      gelu: (a) => tf.mul(tf.mul(a, 0.5), tf.add(tf.erf(tf.mul(a, Math.SQRT1_2)), 1)),
      attention(q, k, v) {
        const scores = tf.add(tf.mul(tf.matMul(heads(q), heads(k), false, true), 1 / Math.sqrt(q.shape[3])), mask);
        return heads(tf.matMul(tf.softmax(scores), heads(v)));
      },
    };
    const variables = shapesOf(model).map((shape) => tf.variable(tf.tensor(initial(shape), shape)));
    const adam = tf.train.adam(RATE, BETA1, BETA2, EPSILON);
    const data = all.map(({ n, T, inputs, targets, scored }) => [oneHot(inputs), oneHot(targets).map((one) => one / scored)].map((rows) => tf.tensor(rows, [n, T, V])));
    let t = 0;
    return { parameters: variables.reduce((n, { size }) => n + size, 0), steps(n) {
      let last;
      for (let i = 0; i < n; i++) {
        const [x, y] = data[t++ % BATCHES];
        const value = adam.minimize(() => {
          const logits = forward(o, variables, x, model, all[0]);
          return tf.neg(tf.sum(tf.mul(tf.sub(logits, tf.log(tf.sum(tf.exp(logits), -1, true))), y)));
        }, true, variables);
        [last] = value.dataSync();
        value.dispose();
      }
      return last;
    } };
  },
};

const found = {};
const ready = [];
for (const rung of asked.rungs) {
  for (const [name, make] of Object.entries(TRAINERS)) {
    const trainer = await make(rung);
    if (!trainer) continue;
    const first = await trainer.steps(1);
    await trainer.steps(BATCHES); // what is compiled is compiled now
    found[name] ??= {};
    found[name][rung.name] = { parameters: trainer.parameters, ms: [], cpu_ms: [], losses: [first] };
    ready.push([trainer, found[name][rung.name]]);
  }
}
for (let round = 0; round < asked.rounds; round++) {
  for (const [trainer, { ms, cpu_ms, losses }] of ready) {
    const [began, before] = [performance.now(), process.cpuUsage()];
    losses[1] = await trainer.steps(asked.steps);
    ms.push((performance.now() - began) / asked.steps);
    const { user, system } = process.cpuUsage(before); // microseconds, of all threads
    cpu_ms.push((user + system) / 1000 / asked.steps);
  }
}
process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit());
