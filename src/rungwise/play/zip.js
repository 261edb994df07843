// Files out of a page: base64, a zip that stores (APPNOTE.TXT 6.3.10), and safetensors.

import { sha256 } from "./sha256.js";

const utf8 = new TextEncoder();

export function base64(bytes) {
  let text = "";
  for (let i = 0; i < bytes.length; i += 0x8000) text += String.fromCharCode(...bytes.subarray(i, i + 0x8000));
  return btoa(text);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let i = 0; i < 8; i++) n = (n >>> 1) ^ (n & 1 ? 0xedb88320 : 0);
  return n;
});

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) crc = (crc >>> 8) ^ TABLE[(crc ^ byte) & 255];
  return ~crc >>> 0;
}

/** Little-endian numbers: [bytes, value] each. */
function numbers(...parts) {
  const found = [];
  for (const [size, value] of parts) for (let i = 0; i < size; i++) found.push(Math.floor(value / 2 ** (8 * i)) & 255);
  return Uint8Array.from(found);
}

/** A zip of files { path: text or bytes }, none of them compressed. */
export function zip(files) {
  const [local, central] = [/** @type {Uint8Array<ArrayBuffer>[]} */ ([]), /** @type {Uint8Array<ArrayBuffer>[]} */ ([])];
  let at = 0;
  for (const [path, content] of Object.entries(files)) {
    const data = typeof content === "string" ? utf8.encode(content) : content;
    const name = utf8.encode(path);
    const DAY = 33; // 1 January 1980: the same run gives the same bytes
    const about = [[2, 20], [2, 0x800], [2, 0], [2, 0], [2, DAY], [4, crc32(data)], [4, data.length], [4, data.length], [2, name.length], [2, 0]];
    const head = numbers([4, 0x04034b50], ...about);
    local.push(head, name, data);
    central.push(numbers([4, 0x02014b50], [2, 20], ...about, [2, 0], [2, 0], [2, 0], [4, 0], [4, at]), name);
    at += head.length + name.length + data.length;
  }
  const size = central.reduce((n, part) => n + part.length, 0);
  const n = Object.keys(files).length;
  return new Blob([...local, ...central, numbers([4, 0x06054b50], [2, 0], [2, 0], [2, n], [2, n], [4, size], [4, at], [2, 0])], { type: "application/zip" });
}

/** model.safetensors of float32 tensors, laid out one after the other, with the checksum of files.write_tensors. */
export function safetensors(layout, bytes) {
  const checksum = [utf8.encode("{}")];
  const places = new Map();
  let place = 0;
  for (const [name, shape] of layout) places.set(name, [shape, bytes.subarray(place, (place += 4 * shape.reduce((a, b) => a * b, 1)))]);
  for (const name of [...places.keys()].sort()) {
    const [shape, data] = places.get(name);
    checksum.push(utf8.encode(`\n${name} float32 (${shape.join(", ")}${shape.length === 1 ? "," : ""})\n`), data);
  }
  const header = { __metadata__: { rungwise: JSON.stringify({ about: "{}", sha256: sha256(joined(checksum)) }) } };
  let at = 0;
  for (const [name, shape] of layout) {
    const end = at + 4 * shape.reduce((a, b) => a * b, 1);
    header[name] = { dtype: "F32", shape, data_offsets: [at, end] };
    at = end;
  }
  const text = utf8.encode(JSON.stringify(header));
  const padding = utf8.encode(" ".repeat((8 - (text.length % 8)) % 8));
  return joined([numbers([8, text.length + padding.length]), text, padding, bytes]);
}

function joined(parts) {
  const found = new Uint8Array(parts.reduce((n, part) => n + part.length, 0));
  let at = 0;
  for (const part of parts) {
    found.set(part, at);
    at += part.length;
  }
  return found;
}
