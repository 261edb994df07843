// The page's forward pass without a page: JSON { config, weights, tokens } on standard input, logits on standard output.
import { readFileSync } from "node:fs";
import { newMemory, readWeights, step } from "../../src/rungwise/play/forward.js";

const { config, weights, tokens } = JSON.parse(readFileSync(0, "utf-8"));
const model = { config, weights: readWeights(weights, "float32") };
const memory = newMemory(model);
console.log(JSON.stringify(tokens.map((token) => [...step(model, token, memory).logits])));
