// The ladder in one picture: the test loss of every rung with its interval, and the n-gram baseline as a line. Columns
// where their names fit side by side, else rows, so that every name can be read.

import { axes, el, interval, svg, ticks } from "./dom.js";

const LETTER = 6.9; // wide, at most, in the chart's type

export function ladderChart(app, room, rung, other) {
  const measured = app.rungs.filter((r) => r.test_loss);
  if (measured.length < 2) return null;
  const plot = { app, rung, other, measured, ...range(measured, app.list.ngram) };
  const widest = LETTER * Math.max(...app.rungs.map(({ title }) => title.length));
  const width = Math.max(280, room);
  return [widest + 4 < (width - 34) / app.rungs.length ? columns(plot, width) : rows(plot, width, widest), el("p", { class: "soft small" }, said(plot))];
}

function range(measured, ngram) {
  const spans = measured.flatMap(({ test_loss: t, published }) => [t.mean - (t.half ?? 0), t.mean + (t.half ?? 0), published ?? t.mean]);
  if (ngram) spans.push(ngram.test_loss);
  const low = Math.min(...spans);
  return { low, high: Math.max(...spans, low + 0.1) };
}

/** The chart in words, under it: what is drawn, and who is beaten by counting. */
function said({ app, measured }) {
  const { ngram } = app.list;
  const parts = ["Test loss, nats a scored character; lower is better."];
  if (measured.some(({ published }) => published !== null)) parts.push("Short dashes: what the article reports.");
  if (ngram) {
    const better = measured.filter(({ test_loss: t }) => t.mean < ngram.test_loss).length;
    parts.push(`Long dashes: the best n-gram baseline, which counts what follows the last ${ngram.order - 1} characters and has no network. ${better
      ? `${better} of ${measured.length} rungs do better.` : "No rung does better."}`);
  }
  return parts.join(" ");
}

function group({ app, rung, other }, r, ...children) {
  return svg("g", { class: `rung ${r === rung ? "chosen" : ""} ${r === other ? "other" : ""}`, onclick: () => app.set({ rung: r.name }) }, ...children);
}

function frame({ measured, app }, width, height, ...children) {
  const losses = measured.map((r) => `${r.title} ${interval(r.test_loss)}`);
  if (app.list.ngram) losses.push(baseline(app.list.ngram));
  return svg("svg", { class: "chart", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `Test loss of each rung: ${losses.join("; ")}` }, ...children);
}

const baseline = ({ order, test_loss: loss }) => `${order}-gram baseline ${loss.toFixed(3)}`;

/** Rungs side by side, losses upwards. */
function columns(plot, width) {
  const { app, rung, measured, low, high } = plot;
  const [height, left, { ngram }] = [230, 34, app.list];
  const y = (loss) => 26 + ((high - loss) / (high - low)) * (height - 78);
  const gap = (width - left) / app.rungs.length;
  const x = (r) => left + (app.rungs.indexOf(r) + 0.5) * gap;
  const size = [0.1, 0.2, 0.5, 1, 2].find((s) => (high - low) / s <= 4) ?? 5;
  const edge = (r, below) => below?.test_loss && svg("path", { class: "edge", d: `M${x(below)} ${y(below.test_loss.mean)} L${x(r)} ${y(r.test_loss.mean)}` });
  const lineAt = ngram ? y(ngram.test_loss) : -99;
  const labelAt = ({ test_loss: { mean, half }, published }) => { // below its interval, or above where it would meet the baseline
    const below = y(mean - (half ?? 0)) + 18;
    return below > lineAt - 5 && below < lineAt + 14 ? Math.min(y(mean + (half ?? 0)), y(published ?? mean)) - 8 : below;
  };
  const point = (r) => {
    const { mean, half } = r.test_loss;
    return [
      half && svg("line", { x1: x(r), x2: x(r), y1: y(mean - half), y2: y(mean + half) }),
      r.published !== null && svg("path", { class: "printed", d: `M${x(r) - 11} ${y(r.published)} h22` }),
      svg("circle", { cx: x(r), cy: y(mean), r: r === rung ? 6 : 4 }),
      svg("text", { class: "halo", x: x(r), y: labelAt(r), "text-anchor": "middle" }, mean.toFixed(3)),
    ];
  };
  return frame(plot, width, height,
    axes({ width, left, y, yTicks: ticks(low, high, size), yLabel: "test loss" }),
    ngram && [svg("path", { class: "ngram", d: `M${left} ${y(ngram.test_loss)} H${width}` }),
      svg("text", { class: "ngram-name halo", x: left + 6, y: y(ngram.test_loss) - 7 }, baseline(ngram))],
    measured.map((r) => edge(r, app.find(r.on))),
    app.rungs.map((r, i) => group(plot, r,
      svg("rect", { class: "catch", x: left + i * gap, y: 20, width: gap, height: height - 20 }),
      r.test_loss && point(r),
      svg("text", { class: "name", x: x(r), y: height - 6, "text-anchor": "middle" }, r.title))));
}

/** Rungs one under the other, losses to the left. */
function rows(plot, width, widest) {
  const { app, rung, low, high } = plot;
  const [row, top, number, { ngram }] = [30, 30, 46, app.list];
  const left = Math.min(widest, width * 0.45) + 12;
  const height = top + row * app.rungs.length + 8;
  const x = (loss) => left + 8 + ((loss - low) / (high - low)) * (width - left - number - 16);
  const y = (r) => top + (app.rungs.indexOf(r) + 0.5) * row;
  const point = (r) => {
    const { mean, half } = r.test_loss;
    return [
      half && svg("line", { x1: x(mean - half), x2: x(mean + half), y1: y(r), y2: y(r) }),
      r.published !== null && svg("path", { class: "printed", d: `M${x(r.published)} ${y(r) - 9} v18` }),
      svg("circle", { cx: x(mean), cy: y(r), r: r === rung ? 6 : 4 }),
      svg("text", { x: width - 2, y: y(r) + 4, "text-anchor": "end" }, mean.toFixed(3)),
    ];
  };
  const named = ngram && Math.max(0, Math.min(x(ngram.test_loss) - 8, width - LETTER * baseline(ngram).length));
  return frame(plot, width, height,
    ngram && [svg("path", { class: "ngram", d: `M${x(ngram.test_loss)} ${top - 8} V${height}` }),
      svg("text", { class: "ngram-name", x: named, y: 14 }, baseline(ngram))],
    app.rungs.map((r) => group(plot, r,
      svg("rect", { class: "catch", x: 0, y: y(r) - row / 2, width, height: row }),
      svg("text", { class: "name", x: 4, y: y(r) + 4, textLength: LETTER * r.title.length > left - 8 && left - 10, lengthAdjust: "spacingAndGlyphs" }, r.title),
      r.test_loss && point(r))));
}
