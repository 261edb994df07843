// The model's forward pass, one position at a time, as layers.py and model.py define it. Because attention only looks
// back, a position is computed once: its keys and values go into `memory`, and later positions read them there.

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

/** What attention remembers of earlier positions: keys and values of each layer. */
export function newMemory(model) {
  return Array.from({ length: model.config.n_layer }, () => ({ keys: [], values: [] }));
}

/**
 * Feed one token. Returns the logits of the next one, and how they came about: `stages`, the stream after the
 * embedding and after each sublayer with what that sublayer wrote, and `attention[layer][head]`, the weights of
 * this and each earlier position.
 */
export function step(model, token, memory) {
  const { config, weights } = model;
  let x = embed(model, token, memory[0].keys.length);
  const stages = [{ layer: -1, name: "embedding", x, written: x }];
  const attention = [];
  for (let layer = 0; layer < config.n_layer; layer++) {
    const join = (name, f) => {
      const written = f(norm(model, x, `blocks.${layer}.${name}.norm`));
      x = config.residual ? x.map((value, i) => value + written[i]) : written;
      stages.push({ layer, name, x, written });
    };
    join("attention", (y) => {
      const { out, looks } = attend(model, layer, y, memory[layer]);
      attention.push(looks);
      return out;
    });
    if (config.mlp !== "none") join("mlp", (y) => mlp(model, layer, y));
  }
  return { logits: readOff(model, x), stages, attention };
}

/** A token's vector; where positions are learned, that of its position is added. */
function embed({ config, weights }, token, position) {
  const row = (table, i) => Float64Array.from(table.subarray(i * config.n_embd, (i + 1) * config.n_embd));
  const x = row(weights["embedding.weight"], token);
  if (config.position !== "learned") return x;
  const place = row(weights["positions.weight"], position);
  return x.map((value, i) => value + place[i]);
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

function attend({ config, weights }, layer, x, { keys, values }) {
  const { n_head: heads, head_size: size } = config;
  const name = `blocks.${layer}.attention.f`;
  const qkv = linear(x, weights[`${name}.qkv.weight`]);
  const part = (i) => Array.from({ length: heads }, (_, h) => qkv.subarray((i * heads + h) * size, (i * heads + h + 1) * size));
  const turn = (head) => (config.position === "rope" ? rotate(head, keys.length) : head);
  const query = part(0).map(turn);
  keys.push(part(1).map(turn));
  values.push(part(2));
  const mixed = new Float64Array(heads * size);
  const looks = query.map((q, h) => {
    const row = softmax(keys.map((key) => dot(q, key[h]) / Math.sqrt(size)));
    row.forEach((weight, s) => values[s][h].forEach((value, k) => (mixed[h * size + k] += weight * value)));
    return row;
  });
  const projection = weights[`${name}.projection.weight`];
  return { out: projection ? linear(mixed, projection, weights[`${name}.projection.bias`]) : mixed, looks };
}

/** RoPE: pair (j, j + size/2) of a head turns by position * base^(-2j/size). */
function rotate(head, position) {
  const out = new Float64Array(head.length);
  const pairs = head.length / 2;
  for (let j = 0; j < pairs; j++) {
    const angle = position * ROPE_BASE ** (-j / pairs);
    const [a, b] = [head[j], head[j + pairs]];
    out[j] = a * Math.cos(angle) - b * Math.sin(angle);
    out[j + pairs] = a * Math.sin(angle) + b * Math.cos(angle);
  }
  return out;
}

const ACTIVATIONS = {
  relu: (z) => Math.max(0, z),
  gelu: (z) => (z * (1 + erf(z / Math.SQRT2))) / 2,
  swiglu: (z) => z / (1 + Math.exp(-z)), // SiLU, of the gate
};

/** Up, through the activation, down; in SwiGLU the activation is the gate's, and what goes up is multiplied by it. */
function mlp({ config, weights }, layer, x) {
  const part = (name, y) => linear(y, weights[`blocks.${layer}.mlp.f.${name}.weight`], weights[`blocks.${layer}.mlp.f.${name}.bias`]);
  const up = part("up", x);
  const activation = ACTIVATIONS[config.mlp];
  const hidden = config.mlp === "swiglu" ? part("gate", x).map((z, i) => activation(z) * up[i]) : up.map(activation);
  return part("down", hidden);
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

function linear(x, weight, bias) {
  const out = new Float64Array(weight.length / x.length);
  for (let row = 0, at = 0; row < out.length; row++) {
    let total = bias ? bias[row] : 0;
    for (let i = 0; i < x.length; i++) total += weight[at++] * x[i];
    out[row] = total;
  }
  return out;
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
