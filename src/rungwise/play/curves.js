// Loss by step: every rung's training loss on its way down with the interval of its seeds, its validation loss dashed,
// the n-gram baseline, and the steps at which words were drawn.

import { axes, count, svg, ticks } from "./dom.js";

const POINTS = 70;
/** Student's t, 97.5 %, of 1, 2, ... degrees of freedom. */
const T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262];

/** Mean of numbers, and half the width of its 95 % interval; null where there is one number. */
export function summary(values) {
  const n = values.length;
  const mean = values.reduce((a, b) => a + b, 0) / n;
  if (n < 2) return { mean, n, half: null };
  const variance = values.reduce((total, value) => total + (value - mean) ** 2, 0) / (n - 1);
  return { mean, n, half: (T[n - 2] ?? 1.96) * Math.sqrt(variance / n) };
}

/** Runs that differ in their seed, with the losses of their steps and the sums of these -> [[step, mean, half]], steps
 * ever further apart. A loss is added up once, when it comes, not at each drawing. */
export function smoothed(runs) {
  const reached = Math.max(0, ...runs.map(({ step }) => step));
  if (!reached) return [];
  const { steps } = runs[0].rung.train;
  /** @type {[number, ReturnType<typeof summary>][]} */
  const found = [[0, summary(runs.filter(({ step }) => step).map(({ losses }) => losses[0]))]];
  let begin = 0;
  for (let i = 1; i <= POINTS && begin < reached; i++) {
    const end = Math.min(reached, Math.max(begin + 1, Math.round(steps ** (i / POINTS))));
    if (end < reached && end - begin < Math.min(8, steps / 20)) continue;
    const there = runs.filter(({ step }) => step >= end);
    if (!there.length) break;
    found.push([end, summary(there.map(({ sums }) => (sums[end] - sums[begin]) / (end - begin)))]);
    begin = end;
  }
  return found.map(([step, { mean, half }]) => [step, mean, half]);
}

/** rungs: { name, title, curve: [[step, loss, half?]], validation: [[step, loss]], kept, snapshots }; `chosen` stands out.
    options: width, ngram, at (a step that is marked), choose(name, step). */
export function lossChart(rungs, chosen, { width, ngram, at, choose }) {
  const shown = rungs.filter(({ curve }) => curve.length);
  if (!shown.length) return null;
  const [height, left, bottom] = [340, 34, 34];
  const points = shown.flatMap(({ curve, validation }) => [...curve, ...validation]);
  const last = Math.max(1, ...shown.map(({ steps, curve }) => steps ?? curve.at(-1)[0]));
  const losses = [...points.map(([, loss]) => loss), ...(ngram ? [ngram.test_loss] : [])];
  const low = Math.min(...losses) - 0.08;
  const high = Math.min(Math.max(...losses), low + 3);
  const scale = (step) => Math.log1p(step / 20); // the first hundreds matter as much as the last thousands, and 0 is there
  const x = (step) => left + 8 + ((width - left - 24) * scale(step)) / scale(last);
  const y = (loss) => 22 + ((height - bottom - 26) * (high - Math.max(low, Math.min(high, loss)))) / (high - low || 1);
  const path = (line) => line.map(([s, l], i) => `${i ? "L" : "M"}${x(s).toFixed(1)} ${y(l).toFixed(1)}`).join("");
  const band = (curve) => {
    const wide = curve.filter(([, , half]) => half);
    return wide.length > 1 && svg("path", { class: "band", d: `${path(wide.map(([s, l, h]) => [s, l + h]))}L${path(wide.map(([s, l, h]) => [s, l - h]).reverse()).slice(1)}Z` });
  };
  const own = (r) => svg("g", { class: r === chosen && "chosen" },
    r === chosen && band(r.curve),
    svg("path", { class: "line", d: path(r.curve) }),
    r.validation.length > 0 && svg("path", { class: "validation", d: path(r.validation) }),
    svg("circle", { cx: x(r.curve.at(-1)[0]), cy: y(r.curve.at(-1)[1]), r: 3.5 }),
    r === chosen && kept(r, x, y),
    r === chosen && r.snapshots.map(({ step }) => mark(r, step, step === at)));
  const mark = (r, step, lit) => {
    const loss = lossAt(r.curve, step, scale);
    const title = `words after ${count(step)} steps, loss ${loss.toFixed(3)}`;
    const go = () => choose(r.name, step);
    return svg("g", { class: lit ? "stop lit" : "stop", role: "button", tabindex: 0, "data-key": `${r.name} ${step}`, "aria-label": title, onclick: go,
      onkeydown: ({ key }) => ["Enter", " "].includes(key) && go() },
      svg("title", {}, title), svg("circle", { class: "catch", cx: x(step), cy: y(loss), r: 11 }), svg("circle", { cx: x(step), cy: y(loss), r: lit ? 5 : 3 }));
  };
  const steps = [0, 20, 100, 250, 500, 1000, 2000, 5000, 10000, 20000, 50000].filter((s) => s <= last);
  let free = -Infinity;
  const named = steps.filter((s) => x(s) - free > 36 && (free = x(s)) !== null);
  const ordered = [...shown.filter((r) => r !== chosen), ...shown.filter((r) => r === chosen)];
  return svg("svg", { class: "chart curves", viewBox: `0 0 ${width} ${height}`, role: "group",
    "aria-label": `Loss by step. At the end: ${shown.map((r) => `${r.title} ${r.curve.at(-1)[1].toFixed(3)}`).join("; ")}` },
  axes({ width, left, y, yTicks: ticks(low, high, high - low > 1 ? 0.5 : 0.2), yLabel: "loss, nats; dashed: validation" }),
  named.map((s) => svg("text", { x: x(s), y: height - bottom + 16, "text-anchor": "middle" }, count(s))),
  svg("text", { x: width, y: height - 2, "text-anchor": "end" }, "training steps"),
  ngram && [svg("path", { class: "ngram", d: `M${left} ${y(ngram.test_loss)} H${width}` }),
    svg("text", { class: "ngram-name halo", x: left + 10, y: y(ngram.test_loss) - 7 }, `${ngram.order}-gram baseline ${ngram.test_loss.toFixed(3)}`)],
  ordered.map(own));
}

/** The loss that a line through the points has at a step. */
function lossAt(curve, step, scale) {
  const after = curve.findIndex(([s]) => s >= step);
  if (after <= 0) return curve.at(after)[1];
  const [[s0, l0], [s1, l1]] = [curve[after - 1], curve[after]];
  return l0 + ((l1 - l0) * (scale(step) - scale(s0))) / (scale(s1) - scale(s0));
}

const nearest = (curve, step) => curve.reduce((a, b) => (Math.abs(b[0] - step) < Math.abs(a[0] - step) ? b : a));

/** A ring around the step whose weights were kept. */
function kept({ kept: step, validation, curve }, x, y) {
  if (step === null || step === undefined) return null;
  const [s, loss] = nearest(validation.length ? validation : curve, step);
  return svg("g", { class: "kept" }, svg("circle", { cx: x(s), cy: y(loss), r: 7 }), svg("title", {}, `the weights that were kept: step ${count(step)}, loss ${loss.toFixed(3)}`));
}
