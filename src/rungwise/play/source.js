// The text of a list, from a file or a paste, packed or not: read as sources.py reads it, with its messages. Memory is
// bounded: what is too large is refused before it is read, and what unpacks to too much while it unpacks.

/** Bytes of a list that a page takes, unpacked: beyond, rungwise train does it. */
const MOST_BYTES = 1 << 25;
export const ELSEWHERE = "rungwise train reads larger lists.";

/** What is wrong with what a person gave: shown as it is. */
export class UserError extends Error {}

export const count = (n) => n.toLocaleString("en");

/** How files begin that hold no plain text. */
const BEGINS = { gzip: [0x1f, 0x8b], xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0], zip: [0x50, 0x4b, 3, 4], Parquet: [0x50, 0x41, 0x52, 0x31] };
const kindOf = (bytes) => Object.keys(BEGINS).find((kind) => BEGINS[kind].every((byte, i) => bytes[i] === byte));

/**
 * The bytes of a list, unpacked.
 * @param {Blob} blob
 * @param {string} name
 * @returns {Promise<Uint8Array>}
 */
export async function bytesFrom(blob, name) {
  const begin = kindOf(new Uint8Array(await blob.slice(0, 6).arrayBuffer()));
  if (begin !== "gzip" && begin !== "zip" && blob.size > MOST_BYTES) throw tooLarge(name, count(blob.size));
  let bytes;
  if (begin === "gzip") bytes = await unpacked(blob, "gzip", name, "gzip");
  else if (begin === "zip") bytes = await fromZip(blob, name);
  else bytes = new Uint8Array(await blob.arrayBuffer());
  const kind = kindOf(bytes);
  if (kind === "xz") throw new UserError(`${name} is packed by xz, which a page does not read: unpack it.`);
  if (kind === "Parquet") throw new UserError(`${name} is a Parquet file, which a page does not read: export its column as CSV.`);
  return bytes;
}

const tooLarge = (name, size) => new UserError(`${name} has ${size} bytes; a page takes ${count(MOST_BYTES)}. ${ELSEWHERE}`);

/** What a part of a file unpacks to, chunk by chunk, so that a small file that holds gigabytes is refused, too. */
async function unpacked(blob, format, name, kind) {
  const damaged = new UserError(`${name} is a damaged ${kind} file${kind === "gzip" ? ", or one of several parts" : ""}: unpack it.`);
  const reader = blob.stream().pipeThrough(new DecompressionStream(format)).getReader();
  const chunks = [];
  let n = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => { throw damaged; });
    if (done) break;
    chunks.push(value);
    n += value.length;
    if (n <= MOST_BYTES) continue;
    reader.cancel().catch(() => {});
    throw tooLarge(name, `more than ${count(MOST_BYTES)}`);
  }
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}

const [END_OF_ZIP, ENTRY, METHODS] = [0x06054b50, 0x02014b50, { 0: "", 8: "deflate-raw" }];
const LONGEST_END = 22 + 0xffff;

/** The one file in a zip (APPNOTE.TXT 6.3.10, without its 64-bit fields). */
async function fromZip(blob, name) {
  const damaged = () => new UserError(`${name} is a damaged zip file.`);
  const view = async (from, to) => new DataView(await blob.slice(Math.max(0, from), to).arrayBuffer());
  const end = await view(blob.size - LONGEST_END, blob.size);
  let at = end.byteLength - 22;
  while (at >= 0 && end.getUint32(at, true) !== END_OF_ZIP) at--;
  if (at < 0) throw damaged();
  const [size, begin] = [end.getUint32(at + 12, true), end.getUint32(at + 16, true)];
  if (size > MOST_BYTES) throw damaged();
  const entries = entriesOf(await view(begin, begin + size));
  if (!entries) throw damaged();
  const held = entries.filter(({ path }) => !path.endsWith("/") && !path.startsWith("__MACOSX/"));
  if (held.length !== 1) throw new UserError(`${name} is a zip of ${count(held.length)} files, not of one list: unpack it (and export a spreadsheet as CSV).`);
  const [{ path, flags, method, packed, place }] = held;
  if (flags & 1) throw new UserError(`${name} cannot be unpacked: File '${path}' is encrypted, password required for extraction.`);
  if (!(method in METHODS)) throw new UserError(`${name} cannot be unpacked: That compression method is not supported.`);
  const local = await view(place, place + 30);
  if (local.byteLength < 30) throw damaged();
  const from = place + 30 + local.getUint16(26, true) + local.getUint16(28, true);
  const data = blob.slice(from, from + packed);
  if (METHODS[method]) return unpacked(data, METHODS[method], name, "zip");
  if (data.size > MOST_BYTES) throw tooLarge(name, count(data.size));
  return new Uint8Array(await data.arrayBuffer());
}

function entriesOf(view) {
  const found = [];
  for (let at = 0; at + 46 <= view.byteLength && view.getUint32(at, true) === ENTRY; ) {
    const [n, more] = [view.getUint16(at + 28, true), view.getUint16(at + 30, true) + view.getUint16(at + 32, true)];
    if (at + 46 + n > view.byteLength) return null;
    const path = new TextDecoder().decode(new Uint8Array(view.buffer, at + 46, n));
    found.push({ path, flags: view.getUint16(at + 8, true), method: view.getUint16(at + 10, true), packed: view.getUint32(at + 20, true), place: view.getUint32(at + 42, true) });
    at += 46 + n + more;
  }
  return found;
}

/** Text, with "\n" at the ends of lines. Says where bytes are no UTF-8. */
export function textOf(bytes, name) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\r\n?/g, "\n");
  } catch {
    const at = firstBadByte(bytes);
    let line = 1;
    for (let i = 0; i < at; i++) if (bytes[i] === 10) line++;
    const mark = [...bytes.subarray(0, 4)].join();
    const wide = mark.startsWith("255,254") || mark.startsWith("254,255");
    const hint = wide ? `it looks like UTF-${mark === "255,254,0,0" ? 32 : 16}: save it as UTF-8` : "convert it first";
    throw new UserError(`${name} is not UTF-8: line ${count(line)}, byte ${count(at + 1)} of the file (0x${bytes[at].toString(16).padStart(2, "0")}); ${hint}.`);
  }
}

/** Where the first sequence begins that is no UTF-8 (Unicode 15, table 3-7). */
function firstBadByte(bytes) {
  const SECOND = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] };
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    const more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    if (more < 0) return i;
    for (let j = 1; j <= more; j++) {
      const [low, high] = (j === 1 && SECOND[first]) || [0x80, 0xbf];
      if (!(bytes[i + j] >= low && bytes[i + j] <= high)) return i;
    }
    i += more + 1;
  }
  return bytes.length - 1;
}
