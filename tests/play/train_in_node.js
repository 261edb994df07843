// Trains as the page does, without a page: JSON lines of a list and jobs on standard input, what came of each as JSON.
import { readFileSync } from "node:fs";
import { compile } from "../../src/rungwise/play/engine.js";
import { readList, split, tape, wordStart } from "../../src/rungwise/play/list.js";
import { kneserNey } from "../../src/rungwise/play/ngram.js";
import { Run } from "../../src/rungwise/play/run.js";
import { openList } from "../../src/rungwise/play/text.js";

const { wasm, words, name, protocol, jobs, parts: asked, shown } = JSON.parse(readFileSync(0, "utf-8"));
const module = await compile(readFileSync(wasm));
const read = readList(Buffer.from(words, "base64"), name);
const parts = split(read, protocol);
const list = { ...openList({ ...read, characters: read.characters.join(""), example: "" }), codes: read.codes, offsets: read.offsets };
const found = { characters: read.characters.join(""), n: read.offsets.length - 1, runs: [] };
if (asked) found.parts = Object.fromEntries(Object.entries(parts).map(([part, indices]) => [part, [...indices]]));
if (shown) {
  const tapes = Object.fromEntries(Object.entries(parts).map(([part, indices]) => [part, tape(list, indices, wordStart(protocol, { batching: "words" }))]));
  found.kneserNey = kneserNey(tapes.train, tapes.test, list.characters.length + 2);
}
for (const job of jobs) {
  const run = new Run(module, list, parts, protocol, job);
  const told = { losses: [], first: run.words(), layout: run.layout, weights: Buffer.from(run.engine.parameters().buffer).toString("base64") };
  const began = performance.now();
  while (run.step < job.steps) told.losses.push(...run.advance(job.steps - run.step));
  Object.assign(told, { ms: (performance.now() - began) / job.steps, words: run.words(), test: run.loss("test"), train: run.loss("train") });
  found.runs.push(told);
}
console.log(JSON.stringify(found));
