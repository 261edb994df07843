// What one takes away of a training: a run directory, as `rungwise climb` leaves it, in a zip; and this page with the new
// models inside.

import { bytesOf } from "./forward.js";
import { PROTOCOLS } from "./list.js";
import { decode } from "./text.js";
import { base64, safetensors, zip } from "./zip.js";

export function save(blob, name) {
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  Object.assign(link, { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const safe = (name) => name.replace(/[^\p{L}\p{N}._-]+/gu, "-").slice(0, 60) || "list";

/** A zip of run directories, one a rung, that rungwise sample, eval and export take. `data`: of a page. */
export function runsZip(data) {
  const files = {};
  for (const rung of data.rungs) {
    for (const [file, content] of Object.entries(runFiles(data, rung))) files[`${safe(data.list.name)}/${rung.name}/seed-${rung.seed}/${file}`] = content;
  }
  return zip(files);
}

export const zipName = (data) => `rungwise-${safe(data.list.name)}.zip`;

function runFiles({ list }, rung) {
  const model = { ...rung.model };
  delete model.mlp_hidden;
  const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join("");
  const validation = new Map(rung.validation);
  const metrics = rung.curve.map(([step, loss]) => ({ step, train_loss: loss, ...(validation.has(step) ? { val_loss: validation.get(step) } : {}) }));
  return {
    "config.json": JSON.stringify({
      format: 1, model, train: rung.train, protocol: { name: list.protocol, ...PROTOCOLS[list.protocol] }, word_start: rung.word_start,
      seed: rung.seed, rung: rung.name, split_seed: 0, data: list.name, data_sha256: list.sha256 ?? "", trained_in: "a page of rungwise play",
    }, null, 2),
    "vocabulary.json": JSON.stringify({ characters: list.characters, firsts: list.firsts }),
    "model.safetensors": safetensors(rung.weights.layout, bytesOf(rung.weights.data)),
    "metrics.jsonl": lines([...metrics, { step: rung.train.steps, final_test_loss: rung.test_loss.mean }]),
    "samples.txt": (rung.snapshots.at(-1)?.samples ?? []).map((text) => `${text}\n`).join(""),
    "snapshots.jsonl": lines(rung.snapshots),
  };
}

/** This page, as it was written, with other data. `blank`: its HTML before anything was shown; `list`: what was trained
 * on. */
export async function pageWith(blank, data, list) {
  const words = { name: list.name, sha256: data.list.sha256, data: await packed(list) };
  const text = JSON.stringify({ ...data, train: { ...data.train, words } }).replaceAll("<", "\\u003c");
  const mark = '<script type="application/json" id="data">';
  const begin = blank.indexOf(mark) + mark.length;
  return new Blob(["<!doctype html>\n", blank.slice(0, begin), text, blank.slice(blank.indexOf("<" + "/script>", begin))], { type: "text/html" });
}

/** A list's words, one a line, as a page holds them. */
async function packed({ codes, offsets, characters }) {
  const lines = Array.from({ length: offsets.length - 1 }, (_, i) => `${decode({ characters }, Array.from(codes.subarray(offsets[i], offsets[i + 1])))}\n`);
  const stream = new Blob(lines).stream().pipeThrough(new CompressionStream("gzip"));
  return base64(new Uint8Array(await new Response(stream).arrayBuffer()));
}
