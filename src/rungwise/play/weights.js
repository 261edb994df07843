// A model's parameters: their names and shapes in the order of Transformer.named_parameters() (cost.shapes), how they
// begin (transformer.initialise), and what the engine is told of the model (library.py).

import { FAMILIES } from "./families.js";
import { deriveSeed, Twister } from "./random.js";

export const MLPS = ["none", "relu", "gelu", "swiglu"];
export const NORMS = ["none", "layernorm", "rmsnorm"];
export const POSITIONS = ["none", "learned", "rope"];
export const KINDS = ["transformer", ...Object.keys(FAMILIES)];

/**
 * ModelConfig; in the page's data with what follows from it.
 * @typedef {{ vocab_size: number, block_size: number, n_layer: number, n_head: number, n_embd: number, head_size: number | null,
 *   projection: boolean, residual: boolean, mlp: string, mlp_ratio: number, norm: string, final_norm: boolean, position: string,
 *   head_bias: boolean, tie_embeddings: boolean, dropout: number, attention_dropout?: number | null, family: string, reach: number,
 *   mlp_hidden?: number }} Model
 * TrainConfig.
 * @typedef {{ steps: number, batch_size: number, learning_rate: number, schedule: string, warmup_steps: number,
 *   min_learning_rate: number, weight_decay: number, grad_clip: number, beta1: number, beta2: number, batching: string,
 *   window: number, optimizer: string }} Training
 * @typedef {[string, number[]][]} Layout names and shapes of parameters
 */

/**
 * A model's configuration for a list, with what follows from it.
 * @param {Model} model
 * @param {{ characters: string[], block_size: number }} list
 * @returns {Model}
 */
export function complete(model, list) {
  const config = { ...model, vocab_size: list.characters.length + 2, block_size: list.block_size };
  const wide = config.mlp_ratio * config.n_embd;
  const hidden = { none: 0, swiglu: Math.max(1, Math.floor((2 * wide) / 3)) };
  config.head_size ??= config.n_embd / config.n_head;
  return { ...config, mlp_hidden: hidden[config.mlp] ?? wide };
}

const size = (shape) => shape.reduce((a, b) => a * b, 1);

/** The matrices, [name, outputs, inputs], by which a block mixes places (cost.mixing). A: width of what it writes. */
function mixing({ family, reach, n_embd: d }, a) {
  const gates = { rnn: 1, gru: 3, lstm: 4 }[family];
  if (gates) return [["input", gates * a, d], ["hidden", gates * a, a]];
  const one = { transformer: ["qkv", 3 * a, d], mlp: ["input", a, reach * d], conv: ["input", 2 * a, 2 * d], mingru: ["input", 2 * a, d] }[family];
  return one ? [one] : [];
}

/**
 * @param {Model} config
 * @returns {Layout}
 */
export function shapes(config) {
  const { n_embd: d, mlp_hidden: m, vocab_size: v } = config;
  const a = config.n_head * (config.head_size ?? d / config.n_head);
  /** @type {Layout} */
  const found = [["embedding.weight", [v, d]]];
  const norm = (name) => {
    if (config.norm !== "none") found.push([`${name}.weight`, [d]]);
    if (config.norm === "layernorm") found.push([`${name}.bias`, [d]]);
  };
  const linear = (name, outputs, inputs) => found.push([`${name}.weight`, [outputs, inputs]], [`${name}.bias`, [outputs]]);
  if (config.position === "learned") found.push(["positions.weight", [config.block_size, d]]);
  for (let i = 0; i < config.n_layer; i++) {
    if (config.family !== "bigram") norm(`blocks.${i}.attention.norm`);
    for (const [name, outputs, inputs] of mixing(config, a)) {
      linear(`blocks.${i}.attention.f.${name}`, outputs, inputs);
      if (name === "qkv") found.pop(); // it has no bias
    }
    if (config.projection && config.family !== "bigram") linear(`blocks.${i}.attention.f.projection`, d, a);
    if (!m) continue;
    norm(`blocks.${i}.mlp.norm`);
    if (config.mlp === "swiglu") linear(`blocks.${i}.mlp.f.gate`, m, d);
    linear(`blocks.${i}.mlp.f.up`, m, d);
    linear(`blocks.${i}.mlp.f.down`, d, m);
  }
  if (config.final_norm) norm("final_norm");
  if (!config.tie_embeddings) found.push(["head.weight", [v, config.projection ? d : a]]);
  if (config.head_bias) found.push(["head.bias", [v]]);
  return found;
}

export const countParameters = (config) => shapes(config).reduce((n, [, shape]) => n + size(shape), 0);

/** The first weights under a seed, one tensor after the other. */
export function initialise(config, seed) {
  const layout = shapes(config);
  const all = new Float32Array(layout.reduce((n, [, shape]) => n + size(shape), 0));
  let at = 0;
  let fanIn = 0; // of the weight that a bias follows
  for (const [name, shape] of layout) {
    const values = all.subarray(at, (at += size(shape)));
    if (/norm\.(weight|bias)$/.test(name)) {
      values.fill(name.endsWith("weight") ? 1 : 0);
      continue;
    }
    const random = new Twister(deriveSeed(seed, `init/${name}`));
    const table = name === "embedding.weight" || name === "positions.weight";
    if (shape.length === 2) fanIn = shape[1];
    if (table && !config.tie_embeddings) random.normal(values);
    else random.uniform(values, 1 / Math.sqrt(name === "head.bias" && config.tie_embeddings ? config.n_embd : fanIn));
  }
  return all;
}

/** Shape in rows.h. */
export function shapeOf(config) {
  return Int32Array.of(
    config.vocab_size, config.n_layer, config.n_head, config.n_embd, config.head_size, config.mlp_hidden,
    MLPS.indexOf(config.mlp), NORMS.indexOf(config.norm), POSITIONS.indexOf(config.position),
    config.position === "learned" ? config.block_size : 0,
    ...[config.projection, config.residual, config.final_norm, config.head_bias, config.tie_embeddings].map(Number),
    // to even at a half, in Python; no dropout of a rung is at a half
    ...[config.dropout, config.attention_dropout ?? config.dropout].map((p) => Math.round(p * 65536)),
    KINDS.indexOf(config.family), config.reach,
  );
}
