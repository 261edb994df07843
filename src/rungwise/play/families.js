// What other families have in attention's place, one character at a time, as model/families/ defines it.

/** How each is called in a sentence. */
export const FAMILIES = { bigram: "bigram", bow: "bag of characters", mlp: "window", rnn: "RNN", gru: "GRU", lstm: "LSTM", conv: "convolution", mingru: "minGRU" };

const sigmoid = (z) => 1 / (1 + Math.exp(-z));
const parts = (x, n) => Array.from({ length: n }, (_, i) => x.subarray((i * x.length) / n, ((i + 1) * x.length) / n));
const zeros = (n) => new Float64Array(n);

/**
 * Of each family: what it makes of a character's vector x. `apply(name, y)` is its linear layer of that name; `kept`, of
 * its layer, lasts from character to character: `rows`, every x so far, and `state`; `note(part, values)` adds to the trace.
 */
const MIXERS = {
  bow: (apply, x, { rows }) => x.map((_, i) => rows.reduce((total, row) => total + row[i], 0) / rows.length),
  mlp: (apply, x, { rows }, { reach }) =>
    apply("input", joined(Array.from({ length: reach }, (_, back) => rows.at(-1 - back) ?? zeros(x.length)))).map(Math.tanh),
  conv(apply, x, { rows }, config, layer, note) {
    const [value, gate] = parts(apply("input", joined([x, rows.at(-1 - 2 ** layer) ?? zeros(x.length)])), 2);
    const open = note("gate", gate.map(sigmoid));
    return value.map((v, i) => Math.tanh(v) * open[i]);
  },
  rnn(apply, x, kept, { width }) {
    const read = apply("hidden", kept.state ?? zeros(width));
    return (kept.state = apply("input", x).map((v, i) => Math.tanh(v + read[i])));
  },
  gru(apply, x, kept, { width }, layer, note) {
    const before = kept.state ?? zeros(width);
    const [[xr, xz, xn], [hr, hz, hn]] = [parts(apply("input", x), 3), parts(apply("hidden", before), 3)];
    const reset = note("reset", xr.map((v, i) => sigmoid(v + hr[i])));
    const keep = note("gate", xz.map((v, i) => sigmoid(v + hz[i])));
    return (kept.state = xn.map((v, i) => (1 - keep[i]) * Math.tanh(v + reset[i] * hn[i]) + keep[i] * before[i]));
  },
  lstm(apply, x, kept, { width }, layer, note) {
    const [h, c] = kept.state ?? [zeros(width), zeros(width)];
    const read = apply("hidden", h);
    const [write, keep, value, show] = parts(apply("input", x).map((v, i) => v + read[i]), 4);
    note("gate", keep.map(sigmoid));
    const cell = note("cell", c.map((v, i) => sigmoid(keep[i]) * v + sigmoid(write[i]) * Math.tanh(value[i])));
    kept.state = [cell.map((v, i) => sigmoid(show[i]) * Math.tanh(v)), cell];
    return kept.state[0];
  },
  mingru(apply, x, kept, { width }, layer, note) {
    const before = kept.state ?? zeros(width);
    const [gate, candidate] = parts(apply("input", x), 2);
    const share = note("gate", gate.map(sigmoid));
    return (kept.state = candidate.map((v, i) => (1 - share[i]) * before[i] + share[i] * v));
  },
};

/** What a block's mixer writes, before its projection. */
export function mix({ config, weights }, layer, x, kept, note) {
  const apply = (name, y) => linear(y, weights[`blocks.${layer}.attention.f.${name}.weight`], weights[`blocks.${layer}.attention.f.${name}.bias`]);
  kept.rows.push(x);
  return MIXERS[config.family](apply, x, kept, { ...config, width: config.n_head * config.head_size }, layer, note);
}

function joined(rows) {
  const out = zeros(rows.length * rows[0].length);
  rows.forEach((row, i) => out.set(row, i * row.length));
  return out;
}

export function linear(x, weight, bias) {
  const out = new Float64Array(weight.length / x.length);
  for (let row = 0, at = 0; row < out.length; row++) {
    let total = bias ? bias[row] : 0;
    for (let i = 0; i < x.length; i++) total += weight[at++] * x[i];
    out[row] = total;
  }
  return out;
}
