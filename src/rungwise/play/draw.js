// A drawing of a model, made from its configuration alone. Each part names the fields that it shows, so that whatever
// a rung changes lights up.

import { count, svg } from "./dom.js";
import { FAMILIES } from "./families.js";

const WIDTH = 320;
const CENTRE = WIDTH / 2;
const GAP = 14;
const NORMS = { layernorm: "LayerNorm", rmsnorm: "RMSNorm" };
const ACTIVATIONS = { relu: "ReLU", gelu: "GELU", swiglu: "SwiGLU" };

/** The drawing; `changed` holds the names of the fields that light up. */
export function drawModel(config, changed) {
  const pen = { y: 8, shapes: [], said: [], changed };
  drawEmbedding(pen, config);
  arrow(pen);
  const top = pen.y;
  arrow(pen, 26);
  drawBlock(pen, config);
  const bottom = pen.y;
  pen.shapes.unshift(...drawStack(pen, config, top, bottom));
  pen.y += Math.min(config.n_layer - 1, 3) * 4;
  arrow(pen);
  if (config.final_norm) {
    box(pen, `Final ${NORMS[config.norm]}`, "", config.n_embd, ["final_norm", "norm"]);
    arrow(pen);
  }
  drawHead(pen, config);
  const said = `A model of ${pen.said.join("; ")}.`;
  return svg("svg", { class: "model", viewBox: `0 0 ${WIDTH} ${pen.y + 4}`, role: "img", "aria-label": said }, pen.shapes);
}

/** The token's vector; beside it the position's, where those are learned, and their sum. */
function drawEmbedding(pen, { n_embd, vocab_size, block_size, position }) {
  const note = (n, what) => `${n} ${what} \u2192 ${n_embd}`;
  if (position !== "learned") return box(pen, "Embedding", `${note(vocab_size, "tokens")} numbers`, n_embd, ["n_embd"]);
  const [top, lit] = [pen.y, isLit(pen, ["position"])];
  box(pen, "Embedding", note(vocab_size, "tokens"), n_embd, ["n_embd"], { centre: CENTRE - 74, wide: 132 });
  pen.y = top;
  box(pen, "Positions", note(block_size, "places"), n_embd, ["position", "n_embd"], { centre: CENTRE + 74, wide: 132 });
  pen.shapes.push(
    svg("path", { class: "stream", d: `M${CENTRE - 74} ${pen.y} v16 H${CENTRE}` }),
    svg("path", { class: `stream ${lit}`, d: `M${CENTRE + 74} ${pen.y} v16 H${CENTRE}` }));
  plus(pen, pen.y + 16, lit);
  pen.y += 25;
}

/** The last layer. Where it is tied, its weights are the embedding's: a dashed line leads back there. */
function drawHead(pen, { n_embd, n_head, head_size, vocab_size, projection, head_bias, tie_embeddings }) {
  const bias = head_bias ? "" : ", no bias";
  const width = projection ? n_embd : n_head * head_size;
  box(pen, tie_embeddings ? "Linear, tied" : "Linear", `${width} \u2192 ${vocab_size} logits${bias}`, n_embd, ["head_bias", "tie_embeddings"]);
  if (!tie_embeddings) return;
  const lit = isLit(pen, ["tie_embeddings"]);
  pen.shapes.unshift(svg("path", { class: `tie ${lit}`, d: `M${CENTRE - 60} ${pen.y - 20} H2 V28 H${CENTRE - 60}` }));
  pen.said.push("the weights of the embedding, used again");
}

function drawBlock(pen, config) {
  pen.said.push(`${config.n_layer} ${config.n_layer > 1 ? "blocks, each" : "block"} of`);
  if (config.family !== "bigram") sublayer(pen, config, () => {
    const heads = `${config.n_head} ${config.n_head > 1 ? "heads" : "head"} of ${config.head_size}`;
    if (config.family === "transformer") {
      drawHeads(pen, config);
      box(pen, "Attention", heads, config.n_embd, ["n_head", "head_size"], { height: 58 });
      if (config.position === "rope") badge(pen, "RoPE", 97, ["position"]);
    } else box(pen, capital(FAMILIES[config.family]), `${config.n_embd} \u2192 ${config.n_head * config.head_size}`, config.n_embd, ["family", "head_size", "reach"]);
    if (config.attention_dropout ?? config.dropout) badge(pen, "dropout", -97, ["dropout"]);
    if (config.projection) {
      arrow(pen);
      box(pen, "Projection", `${config.n_head * config.head_size} \u2192 ${config.n_embd}`, config.n_embd, ["projection"]);
    }
  });
  else if (config.mlp === "none") box(pen, "No memory", "the last character alone", config.n_embd, ["family"]);
  if (config.mlp !== "none") sublayer(pen, config, () => drawMlp(pen, config));
}

/** Norm, the layer itself, dropout; and the residual connection that runs past them. */
function sublayer(pen, config, body) {
  const start = pen.y;
  arrow(pen);
  if (config.norm !== "none") {
    box(pen, NORMS[config.norm], "", config.n_embd, ["norm"]);
    arrow(pen);
  }
  body();
  if (config.dropout) {
    arrow(pen);
    box(pen, `Dropout ${config.dropout}`, "", config.n_embd, ["dropout"]);
  }
  arrow(pen);
  if (!config.residual) return;
  const lit = isLit(pen, ["residual"]);
  pen.shapes.push(svg("path", { class: `stream ${lit}`, d: `M${CENTRE} ${start + 3} H26 V${pen.y + 9} H${CENTRE - 9}` }));
  plus(pen, pen.y + 9, lit);
  pen.y += 18;
  pen.said.push("a residual connection past it");
}

/** The MLP as it is shaped: out to its hidden width, and back. */
function drawMlp(pen, { n_embd: width, mlp_hidden: hidden, mlp }) {
  const lit = isLit(pen, ["mlp", "mlp_ratio"]);
  const [narrow, wide, y] = [boxWidth(width) / 2, 118, pen.y];
  const outline = [[-narrow, 0], [narrow, 0], [wide, 28], [narrow, 56], [-narrow, 56], [-wide, 28]];
  const points = outline.map(([dx, dy]) => `${CENTRE + dx},${y + dy}`).join(" ");
  const gate = mlp === "swiglu" ? `${hidden} \u00d7 gate` : hidden;
  const note = `${width} \u2192 ${gate} \u2192 ${width}, ${ACTIVATIONS[mlp]}`;
  pen.shapes.push(svg("polygon", { class: `part ${lit}`, points }), label(y + 24, "MLP", lit), label(y + 41, note, `note ${lit}`));
  pen.said.push(`MLP ${note}`);
  pen.y += 56;
}

/** Each head as the triangle that its causal weights fill. */
function drawHeads(pen, { n_head: n, n_embd: width }) {
  const size = Math.min(14, (boxWidth(width) - 20) / n - 4);
  const lit = isLit(pen, ["n_head"]);
  pen.late = Array.from({ length: n }, (_, h) => {
    const [x, y] = [CENTRE - (n * (size + 4) - 4) / 2 + h * (size + 4), pen.y + 38];
    return svg("path", { class: `look ${lit}`, d: `M${x} ${y} V${y + size} H${x + size} Z` });
  });
}

function drawStack(pen, { n_layer: n }, top, bottom) {
  const lit = isLit(pen, ["n_layer"]);
  const card = (i) => svg("rect", { class: `block ${lit}`, x: 8 + i * 4, y: top + i * 4, width: WIDTH - 28, height: bottom - top, rx: 10 });
  const text = n > 1 ? `${n} blocks` : "1 block";
  return [
    ...Array.from({ length: Math.min(n, 4) }, (_, i) => card(i)).reverse(),
    svg("text", { class: `times ${lit}`, x: WIDTH - 32, y: top + 20 }, text),
  ];
}

const boxWidth = (width) => Math.min(210, 142 + width * 0.7);
const capital = (text) => text[0].toUpperCase() + text.slice(1);
const isLit = ({ changed }, fields) => (fields.some((field) => changed.has(field)) ? "lit" : "");
const label = (y, text, kind, x = CENTRE) => svg("text", { class: `label ${kind}`, x, y }, text);

function box(pen, name, note, width, fields, { height = note ? 40 : 24, wide = boxWidth(width), centre = CENTRE } = {}) {
  const lit = isLit(pen, fields);
  pen.shapes.push(
    svg("rect", { class: `part ${lit}`, x: centre - wide / 2, y: pen.y, width: wide, height, rx: 6 }),
    label(pen.y + 16, name, lit, centre));
  if (note) pen.shapes.push(label(pen.y + 32, note, `note ${lit}`, centre));
  pen.shapes.push(...(pen.late ?? []));
  pen.late = [];
  pen.said.push(`${name} ${note}`.trim());
  pen.y += height;
}

function badge(pen, text, dx, fields) {
  const lit = isLit(pen, fields);
  const [x, y] = [CENTRE + dx, pen.y - 66];
  pen.shapes.push(
    svg("rect", { class: `badge ${lit}`, x: x - 28, y, width: 56, height: 20, rx: 10 }),
    svg("text", { class: `label note ${lit}`, x, y: y + 14 }, text));
  pen.said.push(text);
}

function plus(pen, y, lit) {
  pen.shapes.push(
    svg("circle", { class: `plus ${lit}`, cx: CENTRE, cy: y, r: 9 }),
    svg("text", { class: `sign ${lit}`, x: CENTRE, y: y + 5 }, "+"));
}

function arrow(pen, length = GAP) {
  pen.shapes.push(svg("path", { class: "stream", d: `M${CENTRE} ${pen.y} v${length}` }));
  pen.y += length;
}

/** How the model was trained, as words; what the rung changed is marked. */
export function trainingFacts({ train }) {
  return [
    [["steps"], `${count(train.steps)} steps`],
    [["batch_size", "batching"], `batches of ${train.batch_size} ${train.batching === "stream" ? "windows of the stream" : "words"}`],
    [["learning_rate", "schedule"], train.schedule === "cosine"
      ? `learning rate up to ${train.learning_rate}, cosine to ${train.min_learning_rate}` : `learning rate ${train.learning_rate}`],
    [["weight_decay"], `weight decay ${train.weight_decay}`],
    [["grad_clip"], train.grad_clip ? `gradients clipped at ${train.grad_clip}` : "no clipping"],
  ];
}
