// The model's forward pass, one position at a time, as layers.py and transformer.py define it. Because attention only looks
// back, a position is computed once: its keys and values go into `memory`, and later positions read them there.

import { linear, mix } from "./families.js";

const NORM_EPSILON = 1e-5;
const ROPE_BASE = 10000;

/** The parameters of a model by name, out of one little-endian base64 string. */
export function readWeights({ layout, data }, precision) {
  const { buffer } = bytesOf(data);
  const values = precision === "float32" ? new Float32Array(buffer) : Float32Array.from(new Uint16Array(buffer), half);
  const weights = {};
  let at = 0;
  for (const [name, shape] of layout) {
    const size = shape.reduce((a, b) => a * b, 1);
    weights[name] = values.subarray(at, (at += size));
  }
  return weights;
}

export function bytesOf(base64) {
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** A 16-bit float (IEEE 754 binary16) from its bits. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = (bits & 1023) / 1024;
  return sign * (exponent ? (1 + fraction) * 2 ** (exponent - 15) : fraction * 2 ** -14);
}

/** What is remembered of earlier positions: how many were read, and of each layer keys and values, or rows and a state. */
export function newMemory(model) {
  return { read: 0, layers: Array.from({ length: model.config.n_layer }, () => ({ keys: [], values: [], rows: [], state: null })) };
}

/**
 * Feed one token. Returns the logits of the next one, and how they came about: `trace`, every intermediate vector by
 * name. `embedding`, `place` (of learned positions) and `start` begin the stream; then, of each block from 0,
 * `0.attention.norm`, `.q`, `.k`, `.v` (all heads in a row), `.turned_q`, `.turned_k` (RoPE), `.scores`, `.weights`
 * (a row a head, over this and each earlier position), `.mixed`, `.projection`; `0.mlp.norm`, `.gate`, `.up`,
 * `.hidden`; of another family instead of attention what families.js notes; and of both sublayers `.out`, what each writes, and `.x`, the stream after it. A part that the model
 * lacks leaves no entry.
 */
export function step(model, token, memory) {
  const { config } = model;
  const trace = {};
  let x = embed(model, token, memory.read++, trace);
  const names = ["attention", "mlp"].filter((name) => (name === "mlp" ? config.mlp !== "none" : config.family !== "bigram"));
  for (let layer = 0; layer < config.n_layer; layer++) {
    for (const name of names) {
      const note = (part, values) => (trace[`${layer}.${name}.${part}`] = values);
      const y = norm(model, x, `blocks.${layer}.${name}.norm`);
      if (y !== x) note("norm", y);
      const out = note("out", name === "mlp" ? mlp(model, layer, y, note) : attend(model, layer, y, memory.layers[layer], note));
      x = note("x", config.residual ? x.map((value, i) => value + out[i]) : out);
    }
  }
  const y = norm(model, x, "final_norm");
  if (y !== x) trace.final_norm = y;
  return { logits: readOff(model, x), trace };
}

/** The sublayers of a model in the order in which they write to the stream: { layer, name, out, x } of a trace. */
export function sublayers({ n_layer }, trace) {
  return Array.from({ length: n_layer }, (_, layer) => ["attention", "mlp"].map((name) => ({
    layer, name, out: trace[`${layer}.${name}.out`], x: trace[`${layer}.${name}.x`] }))).flat().filter(({ x }) => x);
}

/** The weights of a head over this and each earlier position. */
export const headWeights = (trace, layer, head) => trace[`${layer}.attention.weights`][head];

/** A token's vector; where positions are learned, that of its position is added. */
function embed({ config, weights }, token, position, trace) {
  const row = (table, i) => Float64Array.from(table.subarray(i * config.n_embd, (i + 1) * config.n_embd));
  const x = (trace.embedding = row(weights["embedding.weight"], token));
  if (config.position !== "learned") return (trace.start = x);
  const place = (trace.place = row(weights["positions.weight"], position));
  return (trace.start = x.map((value, i) => value + place[i]));
}

/**
 * Logits of the next token, read off a stream: through the final norm, where there is one, and the model's own last
 * layer, which may be the embedding itself (tied). Null where the widths differ.
 */
export function readOff(model, x) {
  const { config, weights } = model;
  const head = weights["head.weight"] ?? weights["embedding.weight"];
  if (head.length !== config.vocab_size * x.length) return null;
  return linear(norm(model, x, "final_norm"), head, weights["head.bias"]);
}

/** Attention, or what another family has in its place; then the projection, where there is one. */
function attend(model, layer, x, kept, note) {
  const mixed = note("mixed", (model.config.family === "transformer" ? heads : mix)(model, layer, x, kept, note));
  const name = `blocks.${layer}.attention.f.projection`;
  const projection = model.weights[`${name}.weight`];
  return projection ? note("projection", linear(mixed, projection, model.weights[`${name}.bias`])) : mixed;
}

function heads({ config, weights }, layer, x, { keys, values }, note) {
  const { n_head: heads, head_size: size } = config;
  const qkv = linear(x, weights[`blocks.${layer}.attention.f.qkv.weight`]);
  const [q, k, v] = ["q", "k", "v"].map((part, i) => note(part, qkv.subarray(i * heads * size, (i + 1) * heads * size)));
  const each = (all) => Array.from({ length: heads }, (_, h) => all.subarray(h * size, (h + 1) * size));
  const turned = (all, part) => (config.position === "rope" ? note(part, rotate(all, size, keys.length)) : all);
  const query = each(turned(q, "turned_q"));
  keys.push(each(turned(k, "turned_k")));
  values.push(each(v));
  const scores = note("scores", query.map((part, h) => keys.map((key) => dot(part, key[h]) / Math.sqrt(size))));
  const mixed = new Float64Array(heads * size);
  note("weights", scores.map(softmax)).forEach((row, h) => row.forEach((weight, s) =>
    values[s][h].forEach((value, i) => (mixed[h * size + i] += weight * value))));
  return mixed;
}

/** RoPE: pair (j, j + size/2) of each head turns by position * base^(-2j/size). */
function rotate(all, size, position) {
  const out = new Float64Array(all.length);
  const pairs = size / 2;
  for (let head = 0; head < all.length; head += size) {
    for (let j = 0; j < pairs; j++) {
      const angle = position * ROPE_BASE ** (-j / pairs);
      const [a, b] = [all[head + j], all[head + j + pairs]];
      out[head + j] = a * Math.cos(angle) - b * Math.sin(angle);
      out[head + j + pairs] = a * Math.sin(angle) + b * Math.cos(angle);
    }
  }
  return out;
}

const ACTIVATIONS = {
  relu: (z) => Math.max(0, z),
  gelu: (z) => (z * (1 + erf(z / Math.SQRT2))) / 2,
  swiglu: (z) => z / (1 + Math.exp(-z)), // SiLU, of the gate
};

/** Up, through the activation, down; in SwiGLU the activation is the gate's, and what goes up is multiplied by it. */
function mlp({ config, weights }, layer, x, note) {
  const part = (name, y) => linear(y, weights[`blocks.${layer}.mlp.f.${name}.weight`], weights[`blocks.${layer}.mlp.f.${name}.bias`]);
  const up = note("up", part("up", x));
  const activation = ACTIVATIONS[config.mlp];
  const hidden = config.mlp === "swiglu" ? note("gate", part("gate", x)).map((z, i) => activation(z) * up[i]) : up.map(activation);
  return part("down", note("hidden", hidden));
}

/** LayerNorm or RMSNorm, where the model has one of that name. RMSNorm takes the mean to be 0, and has no bias. */
function norm({ config, weights }, x, name) {
  const scale = weights[`${name}.weight`];
  if (!scale) return x;
  const bias = weights[`${name}.bias`];
  const mean = config.norm === "rmsnorm" ? 0 : sum(x) / x.length;
  const variance = sum(x.map((value) => (value - mean) ** 2)) / x.length;
  return x.map((value, i) => ((value - mean) / Math.sqrt(variance + NORM_EPSILON)) * scale[i] + (bias ? bias[i] : 0));
}

export function softmax(logits) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const powers = logits.map((value) => Math.exp(value - largest));
  const total = sum(powers);
  return powers.map((value) => value / total);
}

/** The error function to 1.5e-7 (Abramowitz & Stegun 1964, 7.1.26). */
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  return Math.sign(x) * (1 - series * Math.exp(-x * x));
}

const dot = (a, b) => a.reduce((total, value, i) => total + value * b[i], 0);
const sum = (values) => values.reduce((a, b) => a + b, 0);
export const length = (x) => Math.sqrt(dot(x, x));
