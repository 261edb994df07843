// Linear layers: y = x W^T + b, and the three products of a step.
//
// y and the input's gradient belong to the rows; the weight's gradient is a sum over all rows, cut into blocks of
// results. In bf16 the operands of every product are rounded to pairs (matrix.h): weights once a step, after they
// have changed, rows by the member that has them. Sums, weights, gradients and the optimiser stay float32.
#pragma once

#include "rows.h"
#include "threads.h"

struct Linear {
    Tensor weight, bias;        // (out, in), (1, out); of a cell's layer (gates, A), the first of its columns
    Matrix in_pairs, out_pairs; // bf16: pairs of rows of x and dy; layers share them
    int out() const { return weight.rows; }
    int in() const { return weight.columns; }
};

class Products {
public:
    Products(const Parameters& parameters, bool bf16) : parameters_(parameters), bf16_(HAS_BF16 && bf16) {}
    bool bf16() const { return bf16_; }
    void make_room(Memory& memory, int rows, int widest) {
        if (bf16_) left_ = {memory.floats(rows * stride(words(widest))), stride(words(widest))};
    }

    // y = (x W^T + b) * times + plus: dropout and residual connection, where there are any
    void apply(const Linear& l, Matrix x, Matrix y, Part rows, Matrix times = {}, Matrix plus = {}) const {
        const Finish finish{l.bias.empty() ? nullptr : parameters_.w(l.bias), times, plus};
        product(x, rows, l.in(), l.weight.transposed, l.weight.transposed_pairs, y, l.out(), finish);
    }

    // dx = (dy W) * times + plus. n: rows in all.
    APART void input_gradient(const Linear& l, Matrix x, Matrix dy, Matrix dx, Part rows, int n, Matrix times = {},
                              Matrix plus = {}) const {
        if (bf16_) {
            pair_rows(x, rows, n, l.in(), l.in_pairs);
            pair_rows(dy, rows, n, l.out(), l.out_pairs);
        }
        const Matrix weight{parameters_.w(l.weight), l.weight.ld};
        product(dy, rows, l.out(), weight, l.weight.pairs, dx, l.in(), {nullptr, times, plus});
    }

    // Tasks: dW = dy^T x, db = the sum of dy's rows. All input_gradients are there.
    APART void weight_gradient(Member& me, const Linear& l, Matrix x, Matrix dy, int n) const {
        const Matrix gradient{parameters_.g(l.weight), l.weight.ld};
        const int down = (l.out() + BLOCK_ROWS - 1) / BLOCK_ROWS, across = (l.in() + BLOCK_COLUMNS - 1) / BLOCK_COLUMNS;
        me.each(down * across, [&](int block) {
            const int row = block % down * BLOCK_ROWS, column = block / down * BLOCK_COLUMNS;
            const Part rows{row, std::min(l.out(), row + BLOCK_ROWS)};
            const Part columns{column, std::min(l.in(), column + BLOCK_COLUMNS)};
            if constexpr (HAS_BF16)
                if (bf16_)
                    return multiply<true>(Left::transposed(l.out_pairs), l.in_pairs, gradient, rows, words(n), columns);
            multiply(Left::transposed(dy), x, gradient, rows, n, columns);
        });
        if (!l.bias.empty()) me.one([&] { bias_gradient(l, dy, n); });
    }

private:
    static constexpr int BLOCK_ROWS = 48, BLOCK_COLUMNS = TILE_VECTORS * WIDTH;  // whole tiles
    static_assert(BLOCK_ROWS % TILE_ROWS == 0 && TILE_ROWS % 2 == 0);

    APART void product(Matrix a, Part rows, int depth, Matrix b, Matrix b_pairs, Matrix c, int columns,
                       const Finish& finish) const {
        if constexpr (HAS_BF16)
            if (bf16_) {
                pair_columns(a, rows, depth, left_);
                return multiply<true>(Left::of(left_), b_pairs, c, rows, words(depth), Part::all(columns), finish);
            }
        multiply(Left::of(a), b, c, rows, depth, Part::all(columns), finish);
    }

    void bias_gradient(const Linear& l, Matrix dy, int n) const {
        float* db = parameters_.g(l.bias);
        for (int j = 0; j < std::min<long>(l.out(), l.bias.rows * l.bias.ld); j += WIDTH) {
            Vec totals[4] = {};  // short sums: less rounding, and no addition waits for the last
            for (int i = 0; i < n; ++i) totals[i % 4] += load(dy.row(i) + j);
            save(db + j, (totals[0] + totals[1]) + (totals[2] + totals[3]));
        }
    }

    const Parameters& parameters_;
    const bool bf16_;
    Matrix left_;  // pairs of columns of the left operand; each member has its rows
};
