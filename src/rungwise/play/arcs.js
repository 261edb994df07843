// Attention as arcs over the word: from each character to those that it looks back at, the thicker the more it takes.

import { percent, svg } from "./dom.js";

/** `rows[t][s]`: what place t takes from place s. Arcs of the place `at` stand out. */
export function arcs({ signs, rows, at, rtl, room, label }) {
  const n = signs.length;
  const gap = Math.min(58, (room - 8) / n);
  const [width, letters] = [n * gap, Math.min(24, gap * 0.7)];
  const rise = Math.min(130, Math.max(34, (n - 1) * gap * 0.36));
  const base = rise + 16;
  const x = (t) => (rtl ? n - 1 - t + 0.5 : t + 0.5) * gap;
  const chosen = rows[at];
  const arc = (t, s) => {
    const weight = rows[t][s];
    if (weight < 0.01) return null;
    const high = (rise * (t - s)) / Math.max(1, n - 1);
    const path = s === t ? `M${x(t) - letters * 0.6} ${base + letters + 8} h${letters * 1.2}`
      : `M${x(t)} ${base} C${x(t)} ${base - high * 1.34} ${x(s)} ${base - high * 1.34} ${x(s)} ${base}`;
    return svg("path", { class: t === at ? "arc chosen" : "arc", d: path, "stroke-width": (1 + 5 * weight).toFixed(2), opacity: (t === at ? 0.25 + 0.75 * weight : weight * 0.45).toFixed(3) });
  };
  const other = rows.flatMap((row, t) => (t === at ? [] : row.map((_, s) => arc(t, s))));
  const most = chosen.indexOf(Math.max(...chosen));
  return svg("svg", { class: "arcs", viewBox: `0 0 ${width} ${base + letters + 14}`, width, role: "img",
    "aria-label": `${label}: ${signs[at]} takes most from ${most === at ? "itself" : signs[most]}, ${percent(chosen[most])}` },
  other, chosen.map((_, s) => arc(at, s)),
  signs.map((sign, t) => svg("text", { class: t === at ? "chosen" : t > at && "later", x: x(t), y: base + letters, "text-anchor": "middle",
    "--size": `${[...sign].length > 2 ? Math.min(12, gap / 2.4) : letters}px` }, sign)));
}
