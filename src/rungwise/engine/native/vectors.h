// Vectors of floats and what is computed with them. Plain C++ with the vector types of GCC and Clang: one source for
// SSE, AVX2, AVX-512, NEON and WebAssembly, and the compiler chooses the instructions. WIDTH is how many floats fill a
// vector. Nothing here has a tail: rows are padded to whole vectors.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX512F__)
constexpr int WIDTH = 16, TILE_VECTORS = 4;  // 6 x 4 results of 32 registers
#elif defined(__AVX__)
constexpr int WIDTH = 8, TILE_VECTORS = 2;   // 6 x 2 of 16
#elif defined(__aarch64__)
constexpr int WIDTH = 4, TILE_VECTORS = 4;   // 6 x 4 of 32
#else
constexpr int WIDTH = 4, TILE_VECTORS = 2;
#endif
#if defined(__wasm__)
constexpr int TILE_ROWS = 4;  // a browser's compiler keeps 4 x 2 in registers, not 6 x 2
#else
constexpr int TILE_ROWS = 6;
#endif

typedef float Vec __attribute__((vector_size(WIDTH * sizeof(float)), may_alias));
typedef int32_t IntVec __attribute__((vector_size(WIDTH * sizeof(int32_t))));
typedef uint64_t Bits __attribute__((vector_size(WIDTH * sizeof(uint16_t))));  // 16 random bits a lane
typedef uint16_t Halves __attribute__((vector_size(WIDTH * sizeof(uint16_t))));
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first lane takes a number's lowest bits");

#define INLINE inline __attribute__((always_inline))
#define APART __attribute__((noinline))  // called from several places; a page that trains should be small
// A loop that is written out, so that what it goes over stays in registers.
#if defined(__clang__)
#define UNROLL _Pragma("unroll")
#else
#define UNROLL _Pragma("GCC unroll 32")
#endif
#define EACH(i, n) UNROLL for (int i = 0; i < (n); ++i)

INLINE Vec load(const float* p) {
    Vec x;
    std::memcpy(&x, p, sizeof x);
    return x;
}
INLINE void save(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

INLINE IntVec lane_numbers() {
    IntVec x;
    for (int i = 0; i < WIDTH; ++i) x[i] = i;
    return x;
}

INLINE void accumulate(Vec x, float* to) { save(to, load(to) + x); }
APART inline void copy(const float* from, float* to, int n) {
    for (int j = 0; j < n; j += WIDTH) save(to + j, load(from + j));
}
APART inline void accumulate(const float* from, float* to, int n) {
    for (int j = 0; j < n; j += WIDTH) accumulate(load(from + j), to + j);
}

constexpr long padded(long n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

// Floats from one row to the next. Wide rows take an odd number of vectors: at a power of two, a column of tiles
// would fall into a few sets of the cache.
constexpr long stride(long columns) {
    long vectors = padded(columns) / WIDTH;
    return (vectors > TILE_VECTORS ? vectors | 1 : vectors) * WIDTH;
}

// e^x to 1e-7 for x <= 0, by 2^n e^r with |r| <= ln(2)/2; below -87 it stays at e^-87. A NaN stays a NaN.
INLINE Vec exponential(Vec x) {
    const Vec low = Vec{} - 87.0f;
    x = x < low ? low : x;
    Vec shift = Vec{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
    Vec n = (x * 1.44269504f + shift) - shift;
    Vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    Vec p = r * 1.3814617739e-3f + 8.3687132306e-3f;
    p = p * r + 4.1668387543e-2f;
    p = p * r + 1.6666520662e-1f;
    p = p * r + 4.9999993450e-1f;
    p = p * r * r + r + 1.0f;
    IntVec exponent = (__builtin_convertvector(n, IntVec) + 127) << 23;
    Vec scale;
    std::memcpy(&scale, &exponent, sizeof scale);
    return p * scale;
}

using Lanes = std::make_integer_sequence<int, WIDTH>;

// A shuffle whose lane i takes lane from(i) of a, or from(i) - WIDTH of b.
template <class From, int... I>
INLINE Vec shuffle(Vec a, Vec b, From from, std::integer_sequence<int, I...>) {
#if defined(__clang__) || __GNUC__ >= 12
    return __builtin_shufflevector(a, b, from(I)...);
#else
    return __builtin_shuffle(a, b, IntVec{from(I)...});
#endif
}

// Across the lanes, by halves.
template <int DISTANCE = WIDTH / 2>
INLINE float sum(Vec x) {
    x += shuffle(x, x, [](int l) constexpr { return l ^ DISTANCE; }, Lanes{});
    if constexpr (DISTANCE > 1) return sum<DISTANCE / 2>(x);
    else return x[0];
}
template <int DISTANCE = WIDTH / 2>
INLINE float largest(Vec x) {
    x = larger(x, shuffle(x, x, [](int l) constexpr { return l ^ DISTANCE; }, Lanes{}));
    if constexpr (DISTANCE > 1) return largest<DISTANCE / 2>(x);
    else return x[0];
}

// Swap off-diagonal DISTANCE x DISTANCE blocks, then half the distance: a transposed square of WIDTH x WIDTH.
template <int DISTANCE = WIDTH / 2>
INLINE void transpose(Vec (&square)[WIDTH]) {
    EACH(i, WIDTH) {
        if (i & DISTANCE) continue;
        Vec a = square[i], b = square[i + DISTANCE];
        square[i] = shuffle(a, b, [](int l) constexpr { return l & DISTANCE ? l + WIDTH - DISTANCE : l; }, Lanes{});
        square[i + DISTANCE] =
            shuffle(a, b, [](int l) constexpr { return l & DISTANCE ? l + WIDTH : l + DISTANCE; }, Lanes{});
    }
    if constexpr (DISTANCE > 1) transpose<DISTANCE / 2>(square);
}
