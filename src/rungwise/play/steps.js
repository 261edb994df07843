// The steps from a character to the probabilities of the next one: for each a sentence, and the vectors that it reads
// and writes, out of the forward pass's own trace. A step that a model does not take is not in its list.

import { count, likeliest, percent } from "./dom.js";
import { length, softmax } from "./forward.js";
import { number } from "./strips.js";

const ACTIVATIONS = {
  relu: "ReLU sets every number below 0 to 0",
  gelu: "GELU lets large numbers through and damps those near 0 and below",
  swiglu: "SwiGLU passes the gate through SiLU, and multiplies the other half by it, number by number",
};
const NORMS = {
  layernorm: "LayerNorm takes away the vector's mean and divides by its spread. Then each number has a learned scale and a learned shift of its own.",
  rmsnorm: "RMSNorm divides the vector by its root mean square. Then each number has a learned scale of its own.",
};
const LARGEST = 64; // so many logits are shown at most

/** Every step of a model, in order: { key, group, name, code, show }. */
export function steps(config) {
  const blocks = Array.from({ length: config.n_layer }, (_, layer) => [...attention(config, layer), ...mlp(config, layer)]);
  return [...start(config), ...blocks.flat(), ...end(config)];
}

function start({ n_embd, position }) {
  const group = "Start";
  return [
    { key: "embedding", group, name: "embedding", code: "embedding", show: ({ sign, token, trace }) => ({
      say: `${sign === "start" ? "The token before each word" : `The character ${quoted(sign)}`} is token ${token}. Row ${token} of the embedding table stands for it: ${n_embd} learned numbers. The model begins with these.`,
      parts: [{ name: `row ${token} of the table`, values: trace.embedding }] }) },
    position === "learned" && { key: "place", group, name: "position", code: "place", show: ({ at, trace }) => ({
      say: `The model has learned a vector for each place, too. That of place ${at + 1} is added.`,
      parts: [{ name: "embedding", values: trace.embedding }, { name: `place ${at + 1}`, values: trace.place }, { name: "their sum: the stream", values: trace.start }] }) },
  ].filter(Boolean);
}

/** A step of a sublayer; `show` reads the parts of its trace by their short names. */
function of(layer, sublayer, name, code, show, part = name) {
  const key = `${layer}.${sublayer}`;
  return { key: `${key}.${part}`, group: `Block ${layer + 1}`, name, code,
    show: (c) => show({ ...c, mine: (short) => c.trace[`${key}.${short}`], of: (s, short) => c.positions[s].trace[`${key}.${short}`], stream: streamInto(c, layer, sublayer) }) };
}

/** The stream that a sublayer reads. */
function streamInto({ trace }, layer, sublayer) {
  return (sublayer === "mlp" ? trace[`${layer}.attention.x`] : trace[`${layer - 1}.mlp.x`] ?? trace[`${layer - 1}.attention.x`]) ?? trace.start;
}

const norm = ({ norm: kind }, layer, sublayer) => kind !== "none" && of(layer, sublayer, "norm", "norm", ({ mine, stream }) => ({
  say: NORMS[kind], parts: [{ name: "the stream", values: stream }, { name: "after the norm", values: mine("norm") }] }));

function attention(config, layer) {
  const { n_head: heads, head_size: size, position, projection } = config;
  const take = (...args) => of(layer, "attention", ...args);
  const last = position === "rope" ? ["turned_q", "turned_k"] : ["q", "k"];
  const many = heads > 1;
  return [
    norm(config, layer, "attention"),
    take("Q, K, V", "qkv", ({ mine, stream }) => ({
      say: `Three linear layers read the vector. They make a query (what this character looks for), a key (what others find it by) and a value (what it hands on): ${size} numbers each${many ? ` for each of ${heads} heads` : ""}.`,
      parts: [{ name: "read", values: mine("norm") ?? stream }, ...["q", "k", "v"].map((part) => ({ name: { q: "query", k: "key", v: "value" }[part], values: mine(part), heads }))] }), "qkv"),
    position === "rope" && take("RoPE", "rope", ({ mine, at }) => ({
      say: `RoPE turns pairs of numbers of the query and of the key, by angles that grow with the place (here ${at}, from 0). A score then depends on how far apart two characters are.`,
      parts: [["query", "q"], ["query, turned", "turned_q"], ["key", "k"], ["key, turned", "turned_k"]].map(([name, part]) => ({ name, values: mine(part), heads })) }), "rope"),
    take("scores", "scores", ({ mine, of: other, at, signs }) => ({
      say: `The query is multiplied by the key of each character so far, number by number, and summed up. Divided by \u221a${size}, this is the score. The mask hides later characters.`,
      parts: [{ name: "query of this character", values: mine(last[0]), heads }, ...nearest(at).map((s) => ({ name: `key of ${quoted(signs[s])}`, values: other(s, last[1]), heads })),
        { name: "scores", rows: mine("scores"), digits: 2 }] })),
    take("softmax", "weights", ({ mine }) => ({
      say: `Softmax makes weights of the scores: none below 0, and ${many ? "those of each head" : "all of them"} sum to 1. So much of each character ${many ? "the head" : "attention"} takes.`,
      parts: [{ name: "scores", rows: mine("scores"), digits: 2 }, { name: "weights", rows: mine("weights"), digits: 2, arcs: true }] }), "weights"),
    take("weighted sum", "mixed", ({ mine, of: other, at, signs }) => ({
      say: `Each character's value is multiplied by its weight, and all are added up${many ? ", head by head" : ""}.`,
      parts: [...heaviest(mine("weights")).map((s) => ({ name: `value of ${quoted(signs[s])} \u00d7 ${mine("weights").map((row) => row[s].toFixed(2)).join(" and ")}`, heads,
        values: other(s, "v").map((value, i) => value * mine("weights")[Math.floor(i / size)][s]) })), { name: `the sum${at >= MOST_SHOWN ? " of all characters" : ""}`, values: mine("mixed"), heads }] }), "mixed"),
    projection && take("projection", "projection", ({ mine }) => ({
      say: `A linear layer mixes what the head${many ? "s" : ""} found: ${heads * size} numbers become ${config.n_embd}.`,
      parts: [{ name: "weighted sum", values: mine("mixed"), heads }, { name: "what attention writes", values: mine("projection") }] })),
    join(config, layer, "attention", "attention"),
  ].filter(Boolean);
}

function mlp(config, layer) {
  if (config.mlp === "none") return [];
  const take = (...args) => of(layer, "mlp", ...args);
  const code = config.mlp === "swiglu" ? "swiglu" : "mlp";
  const gated = config.mlp === "swiglu";
  return [
    norm(config, layer, "mlp"),
    take("MLP: up", code, ({ mine, stream }) => ({
      say: `${gated ? "Two linear layers read" : "A linear layer reads"} the vector at this place alone: ${config.n_embd} numbers become ${gated ? "twice " : ""}${config.mlp_hidden}.`,
      parts: [{ name: "read", values: mine("norm") ?? stream }, gated && { name: "gate", values: mine("gate") }, { name: "up", values: mine("up") }].filter(Boolean) }), "up"),
    take("MLP: activation", code, ({ mine }) => {
      const hidden = mine("hidden");
      const alive = hidden.filter((value) => Math.abs(value) > 0.01).length;
      return { say: `${ACTIVATIONS[config.mlp]}. Of ${hidden.length} numbers, ${alive} are further than 0.01 from 0 now.`,
        parts: [gated && { name: "gate", values: mine("gate") }, { name: "up", values: mine("up") }, { name: "after the activation", values: hidden }].filter(Boolean) };
    }, "hidden"),
    take("MLP: down", code, ({ mine }) => ({
      say: `A linear layer brings ${config.mlp_hidden} numbers back to ${config.n_embd}. This is what the MLP writes.`,
      parts: [{ name: "after the activation", values: mine("hidden") }, { name: "what the MLP writes", values: mine("out") }] }), "out"),
    join(config, layer, "mlp", "the MLP"),
  ].filter(Boolean);
}

/** How a sublayer's output meets the stream. */
function join({ residual }, layer, sublayer, writer) {
  if (!residual) {
    return of(layer, sublayer, "output", "out", ({ mine }) => ({
      say: `This model has no residual connection: what ${writer} writes takes the place of the stream. Nothing else goes on.`,
      parts: [{ name: "the stream now", values: mine("x") }] }), "x");
  }
  return of(layer, sublayer, "residual sum", "residual", ({ mine, stream }) => ({
    say: `What ${writer} writes is added to the stream. Nothing of the old vector is lost: its length goes from ${number(length(stream))} to ${number(length(mine("x")))}.`,
    parts: [{ name: "the stream", values: stream }, { name: `what ${writer} writes`, values: mine("out") }, { name: "their sum: the stream now", values: mine("x") }] }), "x");
}

function end(config) {
  const group = "End";
  const stream = (c) => streamInto(c, config.n_layer, "attention");
  return [
    config.final_norm && { key: "final_norm", group, name: "final norm", code: "final_norm", show: (c) => ({
      say: NORMS[config.norm], parts: [{ name: "the stream", values: stream(c) }, { name: "after the norm", values: c.trace.final_norm }] }) },
    { key: "logits", group, name: "logits", code: "logits", show: (c) => ({
      say: `The last layer compares the vector with a learned row of each of ${count(config.vocab_size)} tokens${config.tie_embeddings ? " (the embedding table again)" : ""}: a logit each. The larger it is, the more the model expects that token next.`,
      parts: [{ name: "read", values: c.trace.final_norm ?? stream(c) }, largest(c, "logits", c.logits)] }) },
    { key: "probabilities", group, name: "softmax", code: "probabilities", show: (c) => ({
      say: `Softmax makes probabilities of the logits: they sum to 1. In this word ${c.app.glyph(c.next) === "end" ? "the end" : quoted(c.app.glyph(c.next))} follows, to which the model gave ${percent(c.probabilities[c.next])}.`,
      parts: [largest(c, "probabilities", softmax(c.logits)), { name: "the most probable next", likely: likeliest(c.app, c.probabilities, 8, c.next, "bars") }] }) },
  ].filter(Boolean);
}

/** One number for each token, by name; of a large alphabet the largest only. */
function largest({ app }, name, all) {
  const shown = [...all.keys()];
  if (shown.length > LARGEST) shown.sort((a, b) => all[b] - all[a]).splice(LARGEST);
  const some = shown.length < all.length ? `, the ${LARGEST} largest of ${count(all.length)}` : "";
  return { name: name + some, values: shown.map((id) => all[id]), labels: shown.map(app.glyph) };
}

const quoted = (sign) => `\u201c${sign}\u201d`;
const MOST_SHOWN = 6;
/** Places whose keys are drawn: the last few. */
const nearest = (at) => Array.from({ length: Math.min(at + 1, MOST_SHOWN) }, (_, i) => at - Math.min(at, MOST_SHOWN - 1) + i);
/** Places of the largest weights, in their order. */
const heaviest = (rows) => rows[0].map((_, s) => s).sort((a, b) => Math.max(...rows.map((row) => row[b])) - Math.max(...rows.map((row) => row[a]))).slice(0, MOST_SHOWN).sort((a, b) => a - b);
