// Matrices and their product.
//
// Tiles in registers. A product keeps a tile of its results in registers over the whole sum: 6 rows x 4 vectors of
// AVX-512's 32 registers. Each step of the sum loads 4 vectors and 6 numbers for 24 multiply-adds, so that arithmetic,
// not memory, is the limit. Both operands must be met as contiguous vectors, for which each weight is kept twice, as
// it is and transposed.
//
// Pairs of bf16. Where the CPU has it, an instruction takes two products of bf16 numbers (8 significant bits) into a
// float32 sum. So two steps of the sum lie side by side in one word of 32 bits, of the left operand along its row, of
// the right one along its column, and the same tiles run over half as many words.
#pragma once

#include <new>
#include <type_traits>
#include <vector>

#include "vectors.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
constexpr bool HAS_BF16 = true;
#else
constexpr bool HAS_BF16 = false;
#endif

// Zeroed, aligned to a cache line, freed with its owner.
class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    APART ~Memory() {
        for (void* block : blocks_) ::operator delete(block, std::align_val_t(64));
    }

    float* floats(long n) {
        size_t bytes = (n + WIDTH) * sizeof(float);
        blocks_.push_back(nullptr);
        blocks_.back() = ::operator new(bytes, std::align_val_t(64));
        std::memset(blocks_.back(), 0, bytes);
        return static_cast<float*>(blocks_.back());
    }

private:
    std::vector<void*> blocks_;
};

struct Matrix {
    float* data = nullptr;
    long ld = 0;  // floats from one row to the next
    float* row(long i) const { return data + i * ld; }
};

// Some of the rows of a matrix, or of its columns: begin <= i < end.
struct Part {
    int begin, end;
    static Part all(int n) { return {0, n}; }
};

// The left operand of a product, by strides, so that it may be a transposed matrix.
struct Left {
    const float* data;
    long row, step;  // floats to the next row, and to the next step of the sum
    static Left of(Matrix m) { return {m.data, m.ld, 1}; }
    static Left transposed(Matrix m) { return {m.data, 1, m.ld}; }
};

// What is done to a result on its way out, each where there is one: (result + bias) * times + plus.
struct Finish {
    const float* bias = nullptr;  // (columns,)
    Matrix times = {}, plus = {};           // (rows, columns)
};

// sum += left * right; of words that hold pairs of bf16: both products.
template <bool PAIRED>
INLINE void multiply_add(Vec& sum, float left, Vec right) {
    if constexpr (!PAIRED) sum += left * right;
#if defined(__AVX512BF16__)
    else sum = Vec(_mm512_dpbf16_ps(__m512(sum), __m512bh(_mm512_set1_ps(left)), __m512bh(right)));
#endif
}

// A tile of ROWS x (VECTORS * WIDTH) results at (row, column), which stay in registers over the whole sum.
template <bool PAIRED, int ROWS, int VECTORS>
static void tile(Left a, Matrix b, Matrix c, int row, int column, int depth, const Finish& finish) {
    const float* left = a.data + row * a.row;
    Vec sums[ROWS][VECTORS];
    EACH(i, ROWS)
        EACH(j, VECTORS) sums[i][j] = finish.bias ? load(finish.bias + column + j * WIDTH) : Vec{};
    for (int k = 0; k < depth; ++k) {
        Vec right[VECTORS];
        EACH(j, VECTORS) right[j] = load(b.row(k) + column + j * WIDTH);
        EACH(i, ROWS) {
            const float x = left[i * a.row + k * a.step];
            EACH(j, VECTORS) multiply_add<PAIRED>(sums[i][j], x, right[j]);
        }
    }
    EACH(i, ROWS)
        EACH(j, VECTORS) {
            const int at = column + j * WIDTH;
            if (finish.times.data) sums[i][j] *= load(finish.times.row(row + i) + at);
            if (finish.plus.data) sums[i][j] += load(finish.plus.row(row + i) + at);
            save(c.row(row + i) + at, sums[i][j]);
        }
}

// c (rows x columns, columns rounded up to WIDTH) = a b, finished; `depth` steps of the sum, or words of pairs. A
// result does not depend on the part that it is in.
template <bool PAIRED = false>
static void multiply(Left a, Matrix b, Matrix c, Part rows, int depth, Part columns, const Finish& finish = {}) {
    auto strip = [&](auto vectors, int column) {
        int row = rows.begin;
        auto next = [&](auto n) {
            tile<PAIRED, decltype(n)::value, decltype(vectors)::value>(a, b, c, row, column, depth, finish);
            row += decltype(n)::value;
        };
        if constexpr (decltype(vectors)::value * 2 <= TILE_VECTORS &&
                      TILE_ROWS > 4)  // few sums would wait for themselves
            while (row + 2 * TILE_ROWS <= rows.end) next(std::integral_constant<int, 2 * TILE_ROWS>{});
        while (row + TILE_ROWS <= rows.end) next(std::integral_constant<int, TILE_ROWS>{});
        if (row + 4 <= rows.end) next(std::integral_constant<int, 4>{});
        while (row < rows.end) next(std::integral_constant<int, 1>{});
    };
    int column = columns.begin;
    const int end = int(padded(columns.end));
    for (; column + TILE_VECTORS * WIDTH <= end; column += TILE_VECTORS * WIDTH)
        strip(std::integral_constant<int, TILE_VECTORS>{}, column);
    if (TILE_VECTORS > 2 && column + 2 * WIDTH <= end) {
        strip(std::integral_constant<int, 2>{}, column);
        column += 2 * WIDTH;
    }
    for (; column < end; column += WIDTH) strip(std::integral_constant<int, 1>{}, column);
}

// Words of pairs, two numbers to one: even in the low half, odd in the high half, rounded to the nearest.
constexpr int words(int n) { return (n + 1) / 2; }
#if defined(__AVX512BF16__)
INLINE Vec pair(Vec even, Vec odd) {
    const __m512i low = _mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(__m512(even))));
    const __m512i high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(__m256i(_mm512_cvtneps_pbh(__m512(odd)))), 16);
    return Vec(_mm512_or_si512(low, high));
}
// 2 * WIDTH numbers that lie one after the other.
INLINE Vec pair_along(const float* x, bool second) {
    return Vec(_mm512_cvtne2ps_pbh(__m512(second ? load(x + WIDTH) : Vec{}), __m512(load(x))));
}
#else
INLINE Vec pair(Vec even, Vec) { return even; }
INLINE Vec pair_along(const float* x, bool) { return load(x); }
#endif

// Rows 2k and 2k + 1 of `from` as row k of `to`, up to row n, behind which all is 0. rows.begin is even.
static void pair_rows(Matrix from, Part rows, int n, int columns, Matrix to) {
    for (int i = rows.begin; i < rows.end; i += 2)
        for (int j = 0; j < columns; j += WIDTH)
            save(to.row(i / 2) + j, pair(load(from.row(i) + j), i + 1 < n ? load(from.row(i + 1) + j) : Vec{}));
}

// Columns 2k and 2k + 1 of `from` as column k of `to`.
static void pair_columns(Matrix from, Part rows, int columns, Matrix to) {
    for (int i = rows.begin; i < rows.end; ++i)
        for (int j = 0; j < columns; j += 2 * WIDTH)
            save(to.row(i) + j / 2, pair_along(from.row(i) + j, j + WIDTH < columns));
}
