// Random numbers as the command line draws them: numpy's PCG64 for batches, splits and words, PyTorch's Mersenne Twister
// for a model's first weights. The same seed then gives the same run, in a page and in a terminal.

const U32 = 2 ** 32;
const U64 = (1n << 64n) - 1n;
const U128 = (1n << 128n) - 1n;
const utf8 = new TextEncoder();

/** A 32-bit seed of its own for each purpose (hashing.derive_seed): CRC-32. */
export function deriveSeed(seed, purpose) {
  let crc = -1;
  for (const byte of utf8.encode(`${seed}/${purpose}`)) {
    crc ^= byte;
    for (let i = 0; i < 8; i++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

/** numpy's default_rng(entropy): PCG64 (O'Neill 2014) seeded by a SeedSequence. entropy: 32-bit numbers. */
export class Generator {
  constructor(entropy) {
    const words = seedSequence(entropy, 8).map(BigInt);
    const wide = (i) => (words[i] | (words[i + 1] << 32n)) << 64n | words[i + 2] | (words[i + 3] << 32n);
    this.increment = ((wide(4) << 1n) | 1n) & U128;
    this.state = 0n;
    this.step();
    this.state = (this.state + wide(0)) & U128;
    this.step();
    this.kept = -1; // the upper half of a number of which the lower half is used
  }

  step() {
    this.state = (this.state * 0x2360ed051fc65da44385df649fccf645n + this.increment) & U128;
  }

  /** A whole number below 2^32. */
  next() {
    if (this.kept >= 0) {
      const kept = this.kept;
      this.kept = -1;
      return kept;
    }
    this.step();
    const mixed = (this.state >> 64n) ^ (this.state & U64);
    const turn = this.state >> 122n;
    const found = ((mixed >> turn) | (mixed << ((64n - turn) & 63n))) & U64;
    this.kept = Number(found >> 32n);
    return Number(found & 0xffffffffn);
  }

  /** A whole number below n, 1 <= n < 2^32, without bias (Lemire 2019). */
  below(n) {
    if (n === 1) return 0;
    for (;;) {
      const x = this.next();
      const low = Math.imul(x, n) >>> 0;
      if (low >= n || low >= U32 % n) return Math.floor(((x >>> 16) * n + Math.floor(((x & 0xffff) * n) / 65536)) / 65536);
    }
  }

  /** Put an array in a random order, in place. Places are drawn as numpy draws them here: anew until one fits. */
  shuffle(array) {
    for (let i = array.length - 1; i > 0; i--) {
      const mask = 2 ** (32 - Math.clz32(i)) - 1;
      let j;
      do j = (this.next() & mask) >>> 0; while (j > i);
      [array[i], array[j]] = [array[j], array[i]];
    }
    return array;
  }
}

/** numpy's SeedSequence: n well-mixed 32-bit numbers. */
function seedSequence(entropy, n) {
  let factor = 0x43b0d7e5;
  const hash = (value) => {
    value ^= factor;
    factor = Math.imul(factor, 0x931e8875);
    value = Math.imul(value, factor);
    return value ^ (value >>> 16);
  };
  const mix = (a, b) => {
    const found = Math.imul(0xca01f9dd, a) - Math.imul(0x4973f715, b);
    return found ^ (found >>> 16);
  };
  const pool = [0, 1, 2, 3].map((i) => hash(entropy[i] ?? 0));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], hash(pool[from]));
  }
  factor = 0x8b51f9dd;
  return Array.from({ length: n }, (_, i) => {
    let value = pool[i % 4] ^ factor;
    factor = Math.imul(factor, 0x58f38ded);
    value = Math.imul(value, factor);
    return (value ^ (value >>> 16)) >>> 0;
  });
}

/** torch.Generator().manual_seed(seed), of 32 bits: MT19937 (Matsumoto & Nishimura 1998). */
export class Twister {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.at = 624;
  }

  next() {
    const { state } = this;
    if (this.at === 624) {
      for (let i = 0; i < 624; i++) {
        const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff);
        state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0);
      }
      this.at = 0;
    }
    let y = state[this.at++];
    y ^= y >>> 11;
    y ^= (y << 7) & 0x9d2c5680;
    y ^= (y << 15) & 0xefc60000;
    return (y ^ (y >>> 18)) >>> 0;
  }

  /** Tensor.uniform_(-bound, bound) of float32. */
  uniform(array, bound) {
    const range = Math.fround(bound);
    for (let i = 0; i < array.length; i++) array[i] = this.unit() * (range - -range) - range;
  }

  /** Tensor.normal_() of at least 16 float32: Box & Muller, in groups of sixteen, the last of which is drawn anew. */
  normal(array) {
    for (let i = 0; i < array.length; i++) array[i] = this.unit();
    for (let i = 0; i + 16 <= array.length; i += 16) gauss(array, i);
    if (array.length % 16 === 0) return;
    const last = array.length - 16;
    for (let i = last; i < array.length; i++) array[i] = this.unit();
    gauss(array, last);
  }

  unit() {
    return (this.next() & 0xffffff) / 2 ** 24;
  }
}

function gauss(array, from) {
  for (let i = from; i < from + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - array[i]));
    const angle = 2 * Math.PI * array[i + 8];
    array[i] = radius * Math.cos(angle);
    array[i + 8] = radius * Math.sin(angle);
  }
}
