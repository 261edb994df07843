// The training step of rungwise.model.Transformer as one native program: forward, backward, clipping and AdamW.
//
// The PyTorch model is the reference; tests hold every gradient to it. What is different here, and why it is fast:
//   * Rows, not rectangles. A row is a token with its history; only real tokens have one. Position-wise parts are
//     matrix products over all rows of a batch, and attention walks each word through a list of its rows.
//   * Shared prefixes. The model is causal, so two words that begin alike share the rows of their common prefix:
//     always in scoring, and in training where no dropout tells them apart. A gradient then flows into a row from
//     every word that uses it.
//   * The first block's norm, queries, keys and values depend on the token alone: computed once a distinct token.
//   * Each matrix product keeps a tile of its result in registers and meets its operands as contiguous vectors.
//     For that each weight is kept twice, as it is and transposed.
//
// Dimensions: N rows, U distinct tokens, D n_embd, A n_head * head size, K head size, M hidden width of the MLP,
// V vocabulary, T length of a word. Matrices are row-major. Each row begins at a multiple of WIDTH floats; the
// padding behind its last column is zero and stays zero (weights there get no gradient), so that no loop over
// columns has a tail.
//
// One thread a call, no globals: calls run side by side. Sums have one order, so the same input gives the same bits.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <new>
#include <type_traits>
#include <vector>

// ---------------------------------------------------------------------------------------------------------------
// Vectors and memory
// ---------------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
constexpr int WIDTH = 16, TILE_VECTORS = 4;  // 6 x 4 results of 32 registers
#elif defined(__AVX__)
constexpr int WIDTH = 8, TILE_VECTORS = 2;   // 6 x 2 of 16
#else
constexpr int WIDTH = 4, TILE_VECTORS = 4;   // NEON has 32
#endif
constexpr int TILE_ROWS = 6;

typedef float Vec __attribute__((vector_size(WIDTH * sizeof(float)), may_alias));
typedef int32_t IntVec __attribute__((vector_size(WIDTH * sizeof(int32_t))));

#define INLINE inline __attribute__((always_inline))

INLINE Vec load(const float* p) { Vec x; std::memcpy(&x, p, sizeof x); return x; }
INLINE void save(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

INLINE float sum(Vec x) {
    float total = 0;
    for (int i = 0; i < WIDTH; ++i) total += x[i];
    return total;
}

INLINE float largest(Vec x) {
    float most = x[0];
    for (int i = 1; i < WIDTH; ++i) most = x[i] > most ? x[i] : most;
    return most;
}

INLINE void accumulate(const float* from, float* to, int n) {
    for (int j = 0; j < n; j += WIDTH) save(to + j, load(to + j) + load(from + j));
}

constexpr long padded(long n) { return (n + WIDTH - 1) / WIDTH * WIDTH; }

// Floats from one row to the next. Wide rows take an odd number of vectors: at a power of two, a column of tiles
// would fall into a few sets of the cache.
constexpr long stride(long columns) {
    long vectors = padded(columns) / WIDTH;
    return (vectors > TILE_VECTORS ? vectors | 1 : vectors) * WIDTH;
}

// Zeroed, aligned to a cache line, freed with its owner.
class Memory {
public:
    Memory() = default;
    Memory(const Memory&) = delete;
    Memory& operator=(const Memory&) = delete;
    ~Memory() { for (void* block : blocks_) ::operator delete(block, std::align_val_t(64)); }

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

// e^x to 1e-7, by 2^n e^r with |r| <= ln(2)/2; below -87 it stays at e^-87. A NaN stays a NaN.
INLINE Vec exponential(Vec x) {
    const Vec low = Vec{} - 87.0f, high = Vec{} + 88.0f;
    x = x < low ? low : x;
    x = x > high ? high : x;
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

// ---------------------------------------------------------------------------------------------------------------
// Matrix product
// ---------------------------------------------------------------------------------------------------------------

// c = start + a b for ROWS x (VECTORS * WIDTH) results, which stay in registers over the whole sum.
template <int ROWS, int VECTORS>
static void tile(const float* a, long a_row, long a_column, const float* b, long b_row, float* c, long c_row, int depth,
                 const float* start, long start_row) {
    Vec sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) sums[i][j] = start ? load(start + i * start_row + j * WIDTH) : Vec{};
    for (int k = 0; k < depth; ++k) {
        Vec right[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) right[j] = load(b + k * b_row + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < ROWS; ++i) {
            float left = a[i * a_row + k * a_column];
#pragma GCC unroll 8
            for (int j = 0; j < VECTORS; ++j) sums[i][j] += left * right[j];
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) save(c + i * c_row + j * WIDTH, sums[i][j]);
}

// c (rows x columns, columns rounded up to WIDTH) = start + a b. `a` is read by strides, so that it may be a
// transposed matrix; start_row 0 repeats one row (a bias).
static void multiply(const float* a, long a_row, long a_column, Matrix b, Matrix c, int rows, int depth, int columns,
                     const float* start = nullptr, long start_row = 0) {
    auto strip = [&](auto vectors, long j) {
        constexpr int V = decltype(vectors)::value;
        int i = 0;
        auto next = [&](auto n) {
            tile<decltype(n)::value, V>(a + i * a_row, a_row, a_column, b.data + j, b.ld, c.row(i) + j, c.ld, depth,
                                        start ? start + i * start_row + j : nullptr, start_row);
            i += decltype(n)::value;
        };
        while (i + TILE_ROWS <= rows) next(std::integral_constant<int, TILE_ROWS>{});
        if (i + 4 <= rows) next(std::integral_constant<int, 4>{});
        while (i < rows) next(std::integral_constant<int, 1>{});
    };
    long j = 0, end = padded(columns);
    for (; j + TILE_VECTORS * WIDTH <= end; j += TILE_VECTORS * WIDTH)
        strip(std::integral_constant<int, TILE_VECTORS>{}, j);
    if (TILE_VECTORS > 2 && j + 2 * WIDTH <= end) strip(std::integral_constant<int, 2>{}, j), j += 2 * WIDTH;
    if (j < end) strip(std::integral_constant<int, 1>{}, j);
}

// ---------------------------------------------------------------------------------------------------------------
// Shapes, parameters, batches
// ---------------------------------------------------------------------------------------------------------------

enum class Activation : int32_t { none, relu, gelu };

struct Shape {  // as _Shape in __init__.py
    int32_t vocab_size, n_layer, n_head, n_embd, head_size, hidden;
    Activation activation;
    int32_t projection, residual, norm, rope;
    int32_t dropout;  // in 1/65536, as in batches.dropout_mask
    int attention() const { return n_head * head_size; }
};

struct Optimiser {  // as _Optimiser in __init__.py
    double beta1, beta2, weight_decay, grad_clip;
};

struct Tensor {
    long at = 0;  // where it lies in each of the arrays of Parameters
    int rows = 0, columns = 0;
    long ld = 0;
    bool empty() const { return rows == 0; }
};

// All tensors of a kind in one padded array, so that the optimiser is one loop. Tensors are registered in the order
// of Transformer.named_parameters(), which is that of the pointers handed in.
struct Parameters {
    std::vector<Tensor> tensors;
    long size = 0;

    Tensor add(int rows, int columns) {
        Tensor t{size, rows, columns, stride(columns)};
        size += rows * t.ld;
        tensors.push_back(t);
        return t;
    }
    void read(float* to, const float* const* from) const {
        for (size_t n = 0; n < tensors.size(); ++n)
            for (int i = 0; i < tensors[n].rows; ++i)
                std::copy_n(from[n] + long(i) * tensors[n].columns, tensors[n].columns, to + tensors[n].at + i * tensors[n].ld);
    }
    void write(const float* from, float* const* to) const {
        for (size_t n = 0; n < tensors.size(); ++n)
            for (int i = 0; i < tensors[n].rows; ++i)
                std::copy_n(from + tensors[n].at + i * tensors[n].ld, tensors[n].columns, to[n] + long(i) * tensors[n].columns);
    }
};

struct Linear {
    Tensor weight, bias;  // (out, in), (1, out)
    Matrix transposed;    // (in, out)
};

struct Norm {
    Tensor scale, shift;
};

struct Word {
    int path;     // where its rows begin in Batch::paths
    int length;   // T
    int first;    // its rows before this one belong to an earlier word with the same beginning
    long weights; // where its attention weights begin
};

struct Batch {
    std::vector<int> token, position;       // of each row
    std::vector<uint64_t> place;            // of each row: batch index * 65536 + time, for dropout
    std::vector<int> uses;                  // of each row: words that it is part of
    std::vector<int> distinct, which;       // distinct tokens; each row's place among them
    std::vector<int> paths, targets;        // of each token of each word: its row, and what comes next
    std::vector<Word> words;
    int rows() const { return int(token.size()); }
};

// Words of `lengths`, packed one after the other in `inputs` and `targets`, as rows. In lexicographic order (shared),
// a word's prefixes that occurred before are prefixes of the word before it.
class Batcher {
public:
    Batcher(const Shape& shape) : shape_(shape), seen_(shape.vocab_size, -1) {}

    void prepare(Batch& b, const int* const* inputs, const int* const* targets, const int* lengths, int n, bool shared) {
        b.token.clear(), b.position.clear(), b.place.clear(), b.uses.clear(), b.distinct.clear(), b.which.clear();
        b.paths.clear(), b.targets.clear(), b.words.clear();
        long weights = 0;
        const int* before = nullptr;
        int before_length = 0, before_path = 0;
        for (int w = 0; w < n; ++w) {
            int length = lengths[w], first = 0, path = int(b.paths.size());
            if (shared)
                while (first < std::min(length, before_length) && inputs[w][first] == before[first]) ++first;
            for (int t = 0; t < length; ++t) {
                if (t < first) {
                    int row = b.paths[before_path + t];
                    b.paths.push_back(row);
                    ++b.uses[row];
                } else {
                    int token = inputs[w][t];
                    if (seen_[token] < 0) {
                        seen_[token] = int(b.distinct.size());
                        b.distinct.push_back(token);
                    }
                    b.paths.push_back(b.rows());
                    b.token.push_back(token);
                    b.which.push_back(seen_[token]);
                    b.position.push_back(t);
                    b.place.push_back(uint64_t(w) * 65536 + t);
                    b.uses.push_back(1);
                }
                b.targets.push_back(targets[w][t]);
            }
            b.words.push_back({path, length, first, weights});
            weights += long(shape_.n_head) * length * padded(length - first);
            before = inputs[w], before_length = length, before_path = path;
        }
        for (int token : b.distinct) seen_[token] = -1;
    }

private:
    const Shape& shape_;
    std::vector<int> seen_;
};

// Pointers to sequences, and their lengths, in lexicographic order.
static std::vector<int> sorted(const int* const* inputs, const int* lengths, int n) {
    std::vector<int> order(n);
    for (int i = 0; i < n; ++i) order[i] = i;
    std::sort(order.begin(), order.end(), [&](int a, int b) {
        const int *x = inputs[a], *y = inputs[b];
        int shorter = std::min(lengths[a], lengths[b]);
        for (int t = 0; t < shorter; ++t)
            if (x[t] != y[t]) return x[t] < y[t];
        return lengths[a] != lengths[b] ? lengths[a] < lengths[b] : a < b;
    });
    return order;
}

// SplitMix64's finaliser, as batches.mix64.
static inline uint64_t mix64(uint64_t x) {
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
    return x ^ (x >> 31);
}
constexpr uint64_t GOLDEN = 0x9E3779B97F4A7C15u;

// ---------------------------------------------------------------------------------------------------------------
// The model
// ---------------------------------------------------------------------------------------------------------------

class Model {
public:
    // `max_rows`, `max_weights`: the largest batch, and the attention weights of the largest batch.
    Model(const Shape& shape, const float* const* parameters, int max_rows, long max_weights, int max_length, bool training);

    // Mean loss of the batch's tokens; step < 0: no dropout.
    void forward(const Batch& batch, uint64_t dropout_key, long step);
    double loss(const Batch& batch, float* nats);
    void backward(const Batch& batch);
    void update(const Optimiser& optimiser, double learning_rate, long step);

    Parameters parameters;
    float *weights, *gradients = nullptr, *first = nullptr, *second = nullptr;

private:
    struct Layer {
        Norm norm1, norm2;
        Linear qkv, projection, up, down;
    };
    struct Activations {  // what the backward pass of a layer reads
        Matrix x, normed1, qkv, heads, kept1, middle, normed2, slope, hidden, kept2;
        float *stats1, *stats2, *attention;  // (N, 2) mean and 1/deviation; the weights of all words
    };

    void transpose(const Linear& linear);
    float* w(Tensor t) const { return t.empty() ? nullptr : weights + t.at; }
    float* g(Tensor t) const { return gradients + t.at; }
    void draw_mask(const Batch& b, int site, Matrix kept, int width) const;
    void normalise(const Norm& norm, Matrix x, Matrix y, float* stats, int rows) const;
    void normalise_backward(const Norm& norm, Matrix x, const float* stats, Matrix dy, Matrix dx, int rows, bool add) const;
    void apply(const Linear& linear, Matrix x, Matrix y, int rows) const;
    void apply_backward(const Linear& linear, Matrix x, Matrix dy, Matrix dx, int rows) const;
    void join(Matrix x, Matrix f, Matrix kept, Matrix y, int rows, int width) const;
    void activate(Matrix hidden, Matrix slope, int rows) const;
    void rotate(const Batch& b, Matrix qkv, float direction) const;
    void attend(const Batch& b, Matrix qkv, float* attention, Matrix heads);
    void attend_backward(const Batch& b, Matrix qkv, const float* attention, Matrix dheads, Matrix dqkv);

    Shape shape_;
    Memory memory_;
    bool training_;
    Tensor embedding_;
    std::vector<Layer> layers_;
    Linear head_;
    std::vector<Activations> acts_;
    Matrix tokens_, token_qkv_;              // the first block's input and qkv, a distinct token
    Matrix out_, logits_, dlogits_;
    Matrix dx_, df_, dhidden_, dnormed_, dqkv_, dtoken_qkv_, dheads_;
    float *inside_;                          // (D,) 1, and 0 in the padding
    float *cos_ = nullptr, *sin_ = nullptr;  // (T, K / 2)
    float *turned_, *scores_;                // scratch of attention
    uint64_t dropout_key_ = 0;
    bool dropping_ = false;
};

Model::Model(const Shape& shape, const float* const* values, int max_rows, long max_weights, int max_length, bool training)
    : shape_(shape), training_(training) {
    const int D = shape.n_embd, A = shape.attention(), M = shape.hidden, V = shape.vocab_size;
    auto norm = [&] {
        Norm n;
        if (shape.norm) n = {parameters.add(1, D), parameters.add(1, D)};
        return n;
    };
    auto linear = [&](int out, int in, bool bias) {
        Linear l;
        l.weight = parameters.add(out, in);
        if (bias) l.bias = parameters.add(1, out);
        l.transposed = {memory_.floats(in * stride(out)), stride(out)};
        return l;
    };
    embedding_ = parameters.add(V, D);
    for (int i = 0; i < shape.n_layer; ++i) {
        Layer layer;
        layer.norm1 = norm();
        layer.qkv = linear(3 * A, D, false);
        if (shape.projection) layer.projection = linear(D, A, true);
        if (M) {
            layer.norm2 = norm();
            layer.up = linear(M, D, true);
            layer.down = linear(D, M, true);
        }
        layers_.push_back(layer);
    }
    const int out_width = shape.projection ? D : A;
    head_ = linear(V, out_width, true);

    weights = memory_.floats(parameters.size);
    parameters.read(weights, values);
    if (training) {
        gradients = memory_.floats(parameters.size);
        first = memory_.floats(parameters.size);
        second = memory_.floats(parameters.size);
    }
    for (const Layer& layer : layers_)
        for (const Linear* l : {&layer.qkv, &layer.projection, &layer.up, &layer.down}) transpose(*l);
    transpose(head_);

    auto matrix = [&](int width, bool wanted = true) {
        return wanted ? Matrix{memory_.floats(max_rows * stride(width)), stride(width)} : Matrix{};
    };
    const int wide = std::max(D, A);
    Matrix x = matrix(wide);
    for (int i = 0; i < shape.n_layer; ++i) {
        if (i && !training) {  // nothing is kept for a backward pass: all layers share one set
            acts_.push_back(acts_[0]);
            continue;
        }
        Activations a;
        a.x = x;
        a.normed1 = shape.norm ? matrix(D) : a.x;
        a.qkv = matrix(3 * A);
        a.heads = matrix(A);
        a.kept1 = matrix(wide, training && shape.dropout);
        a.middle = matrix(wide);
        a.normed2 = shape.norm && M ? matrix(D) : a.middle;
        a.hidden = matrix(M, M);
        a.slope = matrix(M, M && training);
        a.kept2 = matrix(wide, training && shape.dropout && M);
        a.stats1 = memory_.floats(2 * max_rows);
        a.stats2 = memory_.floats(2 * max_rows);
        a.attention = memory_.floats(max_weights);
        x = !M ? a.middle : training ? matrix(D) : a.x;
        acts_.push_back(a);
    }
    out_ = x;
    tokens_ = matrix(D);
    token_qkv_ = matrix(3 * A);
    logits_ = matrix(V), dlogits_ = matrix(V);
    if (training) {
        dx_ = matrix(wide), df_ = matrix(wide), dnormed_ = matrix(D), dheads_ = matrix(A), dhidden_ = matrix(M, M);
        dqkv_ = matrix(3 * A), dtoken_qkv_ = matrix(3 * A);
    }
    inside_ = memory_.floats(padded(D));
    std::fill_n(inside_, D, 1.0f);
    const long block = padded(max_length) + WIDTH;
    turned_ = memory_.floats(std::max<long>(WIDTH, shape.head_size) * block);
    scores_ = memory_.floats(max_length * block);
    if (shape.rope) {
        const int half = shape.head_size / 2;
        cos_ = memory_.floats(max_length * half), sin_ = memory_.floats(max_length * half);
        for (int t = 0; t < max_length; ++t)
            for (int j = 0; j < half; ++j) {
                float frequency = float(std::pow(10000.0, double(-2.0f * j / shape.head_size)));
                cos_[t * half + j] = float(std::cos(double(t * frequency)));
                sin_[t * half + j] = float(std::sin(double(t * frequency)));
            }
    }
}

void Model::transpose(const Linear& l) {
    for (int i = 0; i < l.weight.rows; ++i)
        for (int j = 0; j < l.weight.columns; ++j) l.transposed.row(j)[i] = weights[l.weight.at + i * l.weight.ld + j];
}

// What dropout multiplies by, exactly as batches.dropout_mask: 16 bits an element, from (key, place).
void Model::draw_mask(const Batch& b, int site, Matrix kept, int width) const {
    const uint64_t key = mix64(dropout_key_ + GOLDEN * uint64_t(site + 1));
    const int numbers = (width + 3) / 4;
    const uint32_t threshold = uint32_t(shape_.dropout);
    const float scale = float(65536.0 / (65536.0 - shape_.dropout));
    for (int n = 0; n < b.rows(); ++n) {
        const uint64_t counter = b.place[n] * uint64_t(numbers) + 1;
        float* row = kept.row(n);
        for (int j = 0; j < numbers; ++j) {
            uint64_t bits = mix64(key + (counter + j) * GOLDEN);
            for (int part = 0; part < 4; ++part)
                row[4 * j + part] = ((bits >> (16 * part)) & 0xffff) >= threshold ? scale : 0.0f;
        }
    }
}

// LayerNorm (Ba et al. 2016), eps 1e-5.
void Model::normalise(const Norm& norm, Matrix x, Matrix y, float* stats, int rows) const {
    const int D = shape_.n_embd, wide = int(padded(D));
    const float *scale = w(norm.scale), *shift = w(norm.shift);
    for (int n = 0; n < rows; ++n) {
        const float* in = x.row(n);
        float* out = y.row(n);
        Vec total{}, squares{};
        for (int j = 0; j < wide; j += WIDTH) total += load(in + j);
        const float mean = sum(total) / D;
        for (int j = 0; j < wide; j += WIDTH) {
            Vec centred = (load(in + j) - mean) * load(inside_ + j);
            squares += centred * centred;
        }
        const float inverse = 1.0f / std::sqrt(sum(squares) / D + 1e-5f);
        for (int j = 0; j < wide; j += WIDTH)
            save(out + j, (load(in + j) - mean) * inverse * load(scale + j) + load(shift + j));
        stats[2 * n] = mean, stats[2 * n + 1] = inverse;
    }
}

// dx = (or +=, add) d loss / d x, from dy.
void Model::normalise_backward(const Norm& norm, Matrix x, const float* stats, Matrix dy, Matrix dx, int rows,
                               bool add) const {
    const int D = shape_.n_embd, wide = int(padded(D));
    const float* scale = w(norm.scale);
    float *dscale = g(norm.scale), *dshift = g(norm.shift);
    for (int j = 0; j < wide; j += WIDTH) save(dscale + j, Vec{}), save(dshift + j, Vec{});
    for (int n = 0; n < rows; ++n) {
        const float *in = x.row(n), *up = dy.row(n), mean = stats[2 * n], inverse = stats[2 * n + 1];
        float* out = dx.row(n);
        Vec totals{}, products{};
        for (int j = 0; j < wide; j += WIDTH) {
            Vec unit = (load(in + j) - mean) * inverse, d = load(up + j);
            save(dscale + j, load(dscale + j) + d * unit);
            save(dshift + j, load(dshift + j) + d);
            d *= load(scale + j);
            totals += d;
            products += d * unit;
        }
        const float mean_d = sum(totals) / D, mean_product = sum(products) / D;
        for (int j = 0; j < wide; j += WIDTH) {
            Vec unit = (load(in + j) - mean) * inverse;
            Vec d = (load(up + j) * load(scale + j) - mean_d - unit * mean_product) * inverse;
            d *= load(inside_ + j);
            save(out + j, add ? load(out + j) + d : d);
        }
    }
}

// y = x W^T + b
void Model::apply(const Linear& l, Matrix x, Matrix y, int rows) const {
    multiply(x.data, x.ld, 1, l.transposed, y, rows, l.weight.columns, l.weight.rows, w(l.bias));
}

// dW = dy^T x, db = the sum of dy's rows, dx = dy W (where dx is wanted)
void Model::apply_backward(const Linear& l, Matrix x, Matrix dy, Matrix dx, int rows) const {
    const int out = l.weight.rows, in = l.weight.columns;
    multiply(dy.data, 1, dy.ld, x, {g(l.weight), l.weight.ld}, out, rows, in);
    if (!l.bias.empty()) {
        float* db = g(l.bias);
        for (int j = 0; j < out; j += WIDTH) {
            Vec totals[4] = {};  // short sums: less rounding, and no addition waits for the last
            for (int n = 0; n < rows; ++n) totals[n % 4] += load(dy.row(n) + j);
            save(db + j, (totals[0] + totals[1]) + (totals[2] + totals[3]));
        }
    }
    if (dx.data) multiply(dy.data, dy.ld, 1, {w(l.weight), l.weight.ld}, dx, rows, out, in);
}

// y = x + kept * f: the residual connection (x) and dropout (kept) where there are any. The backward pass of a
// sublayer begins with the same function: df = kept * dy.
void Model::join(Matrix x, Matrix f, Matrix kept, Matrix y, int rows, int width) const {
    for (int n = 0; n < rows; ++n)
        for (int j = 0; j < width; j += WIDTH) {
            Vec value = load(f.row(n) + j);
            if (kept.data) value *= load(kept.row(n) + j);
            if (x.data) value += load(x.row(n) + j);
            save(y.row(n) + j, value);
        }
}

// The MLP's nonlinearity in place, and its derivative (slope), which is all that the backward pass needs.
// Exact GELU x Phi(x). Phi(-|x|) = e^(-x^2/2) Q(t), t = 1 / (1 + 0.28 |x|): Q fitted to an error of 1e-8.
void Model::activate(Matrix hidden, Matrix slope, int rows) const {
    const bool gelu = shape_.activation == Activation::gelu;
    for (int n = 0; n < rows; ++n) {
        float *h = hidden.row(n), *d = slope.data ? slope.row(n) : nullptr;
        for (int j = 0; j < shape_.hidden; j += WIDTH) {
            Vec x = load(h + j), zero{}, one = zero + 1.0f;
            if (!gelu) {
                save(h + j, x < zero ? zero : x);
                if (d) save(d + j, x > zero ? one : zero);
                continue;
            }
            Vec size = x < zero ? -x : x, bell = exponential(-0.5f * x * x), t = one / (one + 0.28f * size);
            Vec q = t * -0.10580847847f + 0.38987496811f;
            q = q * t - 0.23699500911f;
            q = q * t + 0.26891138595f;
            q = q * t + 0.06749626903f;
            q = q * t + 0.11652085523f;
            Vec tail = q * t * bell, phi = x < zero ? tail : one - tail;
            save(h + j, x * phi);
            if (d) save(d + j, phi + x * bell * 0.3989422804f);
        }
    }
}

// RoPE turns the queries and keys of each row by its position; direction -1 turns gradients back.
void Model::rotate(const Batch& b, Matrix qkv, float direction) const {
    const int K = shape_.head_size, half = K / 2;
    for (int n = 0; n < b.rows(); ++n) {
        const float *cosine = cos_ + b.position[n] * half, *sine = sin_ + b.position[n] * half;
        for (int head = 0; head < 2 * shape_.n_head; ++head) {
            float *x = qkv.row(n) + head * K, *y = x + half;
            for (int j = 0; j < half; ++j) {
                float c = cosine[j], s = sine[j] * direction, p = x[j], q = y[j];
                x[j] = p * c - q * s;
                y[j] = p * s + q * c;
            }
        }
    }
}

// Causal attention, word by word and head by head. Queries lie across the lanes of a vector, so that the softmax
// over keys has no horizontal sums: the weights of a head are stored as (keys, queries), queries padded.
void Model::attend(const Batch& b, Matrix qkv, float* attention, Matrix heads) {
    const int K = shape_.head_size, A = shape_.attention();
    const float scale = 1.0f / std::sqrt(float(K));
    IntVec lanes;
    for (int i = 0; i < WIDTH; ++i) lanes[i] = i;
    for (const Word& word : b.words) {
        const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
        const long ld = padded(queries);
        float* weights = attention + word.weights;
        for (int head = 0; head < shape_.n_head; ++head, weights += T * ld) {
            const int q_at = head * K, k_at = A + q_at, v_at = 2 * A + q_at;
            for (int t = 0; t < queries; ++t)
                for (int k = 0; k < K; ++k) turned_[k * ld + t] = qkv.row(rows[word.first + t])[q_at + k] * scale;
            for (int block = 0; block < queries; block += WIDTH) {
                const IntVec position = lanes + (word.first + block);
                const int keys = std::min(T, word.first + block + WIDTH);
                Vec most = Vec{} - INFINITY, total{};
                for (int s = 0; s < keys; ++s) {
                    const float* key = qkv.row(rows[s]) + k_at;
                    Vec score{};
                    for (int k = 0; k < K; ++k) score += key[k] * load(turned_ + k * ld + block);
                    save(weights + s * ld + block, score);
                    most = larger(position >= s ? score : most, most);
                }
                for (int s = 0; s < keys; ++s) {
                    Vec weight = exponential(load(weights + s * ld + block) - most);
                    weight = position >= s ? weight : Vec{};
                    save(weights + s * ld + block, weight);
                    total += weight;
                }
                total = 1.0f / total;
                for (int s = 0; s < keys; ++s) save(weights + s * ld + block, load(weights + s * ld + block) * total);
            }
            for (int t = 0; t < queries; ++t) {
                float* out = heads.row(rows[word.first + t]) + q_at;
                for (int k = 0; k < K; ++k) out[k] = 0;
                for (int s = 0; s <= word.first + t; ++s) {
                    const float weight = weights[s * ld + t], *value = qkv.row(rows[s]) + v_at;
                    for (int k = 0; k < K; ++k) out[k] += weight * value[k];
                }
            }
        }
    }
}

// dqkv, from dheads: keys and values collect from every query that saw them, in every word.
void Model::attend_backward(const Batch& b, Matrix qkv, const float* attention, Matrix dheads, Matrix dqkv) {
    const int K = shape_.head_size, A = shape_.attention();
    const float scale = 1.0f / std::sqrt(float(K));
    std::memset(dqkv.data, 0, b.rows() * dqkv.ld * sizeof(float));
    for (const Word& word : b.words) {
        const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
        const long ld = padded(queries);
        const float* weights = attention + word.weights;
        for (int head = 0; head < shape_.n_head; ++head, weights += T * ld) {
            const int q_at = head * K, k_at = A + q_at, v_at = 2 * A + q_at;
            for (int t = 0; t < queries; ++t)
                for (int k = 0; k < K; ++k) turned_[k * ld + t] = dheads.row(rows[word.first + t])[q_at + k];
            for (int block = 0; block < queries; block += WIDTH) {
                const int keys = std::min(T, word.first + block + WIDTH);
                Vec total{};
                for (int s = 0; s < keys; ++s) {
                    const float* value = qkv.row(rows[s]) + v_at;
                    Vec d{};
                    for (int k = 0; k < K; ++k) d += value[k] * load(turned_ + k * ld + block);
                    total += d * load(weights + s * ld + block);
                    save(scores_ + s * ld + block, d);
                }
                for (int s = 0; s < keys; ++s) {
                    Vec d = load(weights + s * ld + block) * (load(scores_ + s * ld + block) - total) * scale;
                    save(scores_ + s * ld + block, d);
                }
            }
            for (int t = 0; t < queries; ++t) {
                const long row = rows[word.first + t];
                const float *query = qkv.row(row) + q_at, *dout = dheads.row(row) + q_at;
                float* dquery = dqkv.row(row) + q_at;
                for (int s = 0; s <= word.first + t; ++s) {
                    const float d = scores_[s * ld + t], weight = weights[s * ld + t], *key = qkv.row(rows[s]) + k_at;
                    float *dkey = dqkv.row(rows[s]) + k_at, *dvalue = dqkv.row(rows[s]) + v_at;
                    for (int k = 0; k < K; ++k) {
                        dquery[k] += d * key[k];
                        dkey[k] += d * query[k];
                        dvalue[k] += weight * dout[k];
                    }
                }
            }
        }
    }
}

void Model::forward(const Batch& b, uint64_t dropout_key, long step) {
    const Shape& c = shape_;
    const int N = b.rows(), U = int(b.distinct.size()), D = c.n_embd, A = c.attention();
    dropping_ = training_ && c.dropout && step >= 0;
    dropout_key_ = mix64(dropout_key + GOLDEN * uint64_t(step + 1));
    for (int u = 0; u < U; ++u) std::copy_n(w(embedding_) + b.distinct[u] * embedding_.ld, padded(D), tokens_.row(u));
    for (int n = 0; n < N; ++n) std::copy_n(tokens_.row(b.which[n]), padded(D), acts_[0].x.row(n));

    for (int i = 0; i < c.n_layer; ++i) {
        const Layer& l = layers_[i];
        Activations& a = acts_[i];
        const Matrix none{};
        const Matrix x = i ? a.x : tokens_;  // the first block's queries, keys and values: by distinct token
        const int rows = i ? N : U;
        const Matrix normed = c.norm ? a.normed1 : x, qkv = i ? a.qkv : token_qkv_;
        if (c.norm) normalise(l.norm1, x, normed, a.stats1, rows);
        apply(l.qkv, normed, qkv, rows);
        if (!i)
            for (int n = 0; n < N; ++n) std::copy_n(qkv.row(b.which[n]), padded(3 * A), a.qkv.row(n));
        if (c.rope) rotate(b, a.qkv, 1);
        attend(b, a.qkv, a.attention, a.heads);
        if (dropping_) draw_mask(b, 2 * i, a.kept1, c.projection ? D : A);
        if (c.projection) apply(l.projection, a.heads, a.middle, N);
        join(c.residual ? a.x : none, c.projection ? a.middle : a.heads, dropping_ ? a.kept1 : none, a.middle, N,
             c.projection ? D : A);
        if (!c.hidden) {
            if (!training_ && i + 1 < c.n_layer) join(none, a.middle, none, a.x, N, D);
            continue;
        }
        const Matrix normed2 = c.norm ? a.normed2 : a.middle, next = i + 1 < c.n_layer ? acts_[i + 1].x : out_;
        if (c.norm) normalise(l.norm2, a.middle, normed2, a.stats2, N);
        apply(l.up, normed2, a.hidden, N);
        activate(a.hidden, a.slope, N);
        apply(l.down, a.hidden, next, N);
        if (dropping_) draw_mask(b, 2 * i + 1, a.kept2, D);
        join(c.residual ? a.middle : none, next, dropping_ ? a.kept2 : none, next, N, D);
    }
    apply(head_, out_, logits_, N);
}

// Mean of -ln p(target) over the batch's tokens, and each of them in `nats` (where wanted). A row's gradient of the
// logits is p for each word that uses it, less 1 at what follows there.
double Model::loss(const Batch& b, float* nats) {
    const int V = shape_.vocab_size;
    const float share = 1.0f / float(b.paths.size());
    std::vector<float> normaliser(b.rows());
    for (int n = 0; n < b.rows(); ++n) {
        float* logits = logits_.row(n);
        for (long j = V; j < padded(V); ++j) logits[j] = -INFINITY;
        Vec most = load(logits), total{};
        for (int j = WIDTH; j < V; j += WIDTH) most = larger(load(logits + j), most);
        const float top = largest(most);
        float* d = dlogits_.row(n);
        for (int j = 0; j < V; j += WIDTH) {
            Vec p = exponential(load(logits + j) - top);
            save(d + j, p);
            total += p;
        }
        const float z = sum(total);  // the padding has added e^-87
        normaliser[n] = top + std::log(z);
        for (int j = 0; j < V; j += WIDTH) save(d + j, load(d + j) * (share * b.uses[n] / z));
        for (long j = V; j < padded(V); ++j) d[j] = 0;
    }
    double total = 0;
    for (size_t k = 0; k < b.paths.size(); ++k) {
        const int row = b.paths[k], target = b.targets[k];
        const float value = normaliser[row] - logits_.row(row)[target];
        dlogits_.row(row)[target] -= share;
        if (nats) nats[k] = value;
        total += value;
    }
    return total / double(b.paths.size());
}

void Model::backward(const Batch& b) {
    const Shape& c = shape_;
    const int N = b.rows(), U = int(b.distinct.size()), D = c.n_embd, A = c.attention();
    const Matrix none{};
    apply_backward(head_, out_, dlogits_, dx_, N);
    for (int i = c.n_layer - 1; i >= 0; --i) {
        const Layer& l = layers_[i];
        const Activations& a = acts_[i];
        if (c.hidden) {
            const Matrix normed2 = c.norm ? a.normed2 : a.middle;
            if (dropping_) join(none, dx_, a.kept2, df_, N, D);
            apply_backward(l.down, a.hidden, dropping_ ? df_ : dx_, dhidden_, N);
            join(none, dhidden_, a.slope, dhidden_, N, c.hidden);
            apply_backward(l.up, normed2, dhidden_, dnormed_, N);
            if (c.norm) normalise_backward(l.norm2, a.middle, a.stats2, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
        }
        const int width = c.projection ? D : A;
        Matrix df = dx_;
        if (dropping_) join(none, dx_, a.kept1, df = df_, N, width);
        if (c.projection) apply_backward(l.projection, a.heads, df, dheads_, N);
        attend_backward(b, a.qkv, a.attention, c.projection ? dheads_ : df, dqkv_);
        if (c.rope) rotate(b, dqkv_, -1);
        if (i) {
            apply_backward(l.qkv, c.norm ? a.normed1 : a.x, dqkv_, dnormed_, N);
            if (c.norm) normalise_backward(l.norm1, a.x, a.stats1, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
            continue;
        }
        // The first block: gradients of queries, keys and values are summed by token first.
        std::memset(dtoken_qkv_.data, 0, U * dtoken_qkv_.ld * sizeof(float));
        for (int n = 0; n < N; ++n)
            accumulate(dqkv_.row(n), dtoken_qkv_.row(b.which[n]), 3 * A);
        apply_backward(l.qkv, c.norm ? a.normed1 : tokens_, dtoken_qkv_, dnormed_, U);
        if (c.norm) normalise_backward(l.norm1, tokens_, a.stats1, dnormed_, dnormed_, U, false);
        std::memset(g(embedding_), 0, c.vocab_size * embedding_.ld * sizeof(float));
        for (int u = 0; u < U; ++u) accumulate(dnormed_.row(u), g(embedding_) + b.distinct[u] * embedding_.ld, D);
        if (c.residual)
            for (int n = 0; n < N; ++n) accumulate(dx_.row(n), g(embedding_) + b.token[n] * embedding_.ld, D);
    }
}

// Clipping as torch.nn.utils.clip_grad_norm_, then AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW, then the
// transposed weights. `step` counts from 1.
void Model::update(const Optimiser& o, double learning_rate, long step) {
    double squares = 0;
    for (long at = 0; at < parameters.size; at += 64 * WIDTH) {
        Vec part{};
        for (long j = at; j < std::min(parameters.size, at + 64 * WIDTH); j += WIDTH)
            part += load(gradients + j) * load(gradients + j);
        squares += sum(part);
    }
    const double clip = o.grad_clip > 0 ? o.grad_clip / (std::sqrt(squares) + 1e-6) : 1;
    const float coefficient = float(clip >= 1 ? 1 : clip);
    const float keep = float(1 - learning_rate * o.weight_decay);
    const float beta1 = float(o.beta1), beta2 = float(o.beta2), new1 = float(1 - o.beta1), new2 = float(1 - o.beta2);
    const float size = float(learning_rate / (1 - std::pow(o.beta1, double(step))));
    const float correction = float(1 / std::sqrt(1 - std::pow(o.beta2, double(step))));
    float* __restrict p = weights;
    float* __restrict m = first;
    float* __restrict v = second;
    const float* __restrict gradient = gradients;
    for (long j = 0; j < parameters.size; ++j) {
        const float d = gradient[j] * coefficient;
        m[j] = beta1 * m[j] + new1 * d;
        v[j] = beta2 * v[j] + new2 * d * d;
        p[j] = keep * p[j] - size * m[j] / (std::sqrt(v[j]) * correction + 1e-8f);
    }
    for (const Layer& layer : layers_)
        for (const Linear* l : {&layer.qkv, &layer.projection, &layer.up, &layer.down}) transpose(*l);
    transpose(head_);
}

// ---------------------------------------------------------------------------------------------------------------
// What Python calls
// ---------------------------------------------------------------------------------------------------------------

namespace {

// Sequences packed one after the other, cut into batches.
struct Sequences {
    std::vector<const int*> inputs, targets;
    const int* lengths;
    int longest = 0;

    Sequences(const int* packed_inputs, const int* packed_targets, const int* lengths, long n) : lengths(lengths) {
        for (long i = 0; i < n; ++i) {
            inputs.push_back(packed_inputs), targets.push_back(packed_targets);
            packed_inputs += lengths[i], packed_targets += lengths[i];
            longest = std::max(longest, lengths[i]);
        }
    }
    // Rows and attention weights that the largest of the batches of n sequences can need.
    void room(const Shape& shape, int n, int& rows, long& weights) const {
        rows = 0, weights = 0;
        for (size_t from = 0; from < inputs.size(); from += n) {
            int r = 0;
            long a = 0;
            for (size_t i = from; i < std::min(inputs.size(), from + n); ++i)
                r += lengths[i], a += shape.n_head * lengths[i] * padded(lengths[i]);
            rows = std::max(rows, r), weights = std::max(weights, a);
        }
    }
    // One training batch; words with a common beginning are made to share its rows where `shared`.
    void batch(Batcher& batcher, Batch& b, long from, int n, bool shared) const {
        if (!shared) return batcher.prepare(b, &inputs[from], &targets[from], lengths + from, n, false);
        std::vector<const int*> in, out;
        std::vector<int> length;
        for (int i : sorted(&inputs[from], lengths + from, n)) {
            in.push_back(inputs[from + i]), out.push_back(targets[from + i]), length.push_back(lengths[from + i]);
        }
        batcher.prepare(b, in.data(), out.data(), length.data(), n, true);
    }
};

}  // namespace

extern "C" {

// `learning_rates.size()` = steps. Parameters and moments are read, trained and written back.
void rungwise_train(const Shape* shape, const Optimiser* optimiser, float* const* values, float* const* first,
                    float* const* second, const int* inputs, const int* targets, const int* lengths, int batch_size,
                    long first_step, long steps, const double* learning_rates, uint64_t dropout_key, double* losses) {
    Sequences sequences(inputs, targets, lengths, steps * batch_size);
    int rows;
    long weights;
    sequences.room(*shape, batch_size, rows, weights);
    Model model(*shape, values, rows, weights, sequences.longest, true);
    model.parameters.read(model.first, first);
    model.parameters.read(model.second, second);
    Batcher batcher(*shape);
    Batch batch;
    for (long i = 0; i < steps; ++i) {
        sequences.batch(batcher, batch, i * batch_size, batch_size, shape->dropout == 0);
        model.forward(batch, dropout_key, first_step + i);
        losses[i] = model.loss(batch, nullptr);
        model.backward(batch);
        model.update(*optimiser, learning_rates[i], first_step + i + 1);
    }
    model.parameters.write(model.weights, values);
    model.parameters.write(model.first, first);
    model.parameters.write(model.second, second);
}

// Loss and gradients of one batch; step < 0: no dropout.
double rungwise_gradients(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                          const int* lengths, int n, long step, uint64_t dropout_key, float* const* gradients) {
    Sequences sequences(inputs, targets, lengths, n);
    int rows;
    long weights;
    sequences.room(*shape, n, rows, weights);
    Model model(*shape, values, rows, weights, sequences.longest, true);
    Batcher batcher(*shape);
    Batch batch;
    sequences.batch(batcher, batch, 0, n, shape->dropout == 0 || step < 0);
    model.forward(batch, dropout_key, step);
    const double loss = model.loss(batch, nullptr);
    model.backward(batch);
    model.parameters.write(model.gradients, gradients);
    return loss;
}

// -ln p of each target, in the order of the targets. Sorted, the words share nearly all their prefixes, and a few
// dozen of them at a time keep the activations in the cache.
void rungwise_score(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                    const int* lengths, int n, float* nats) {
    Sequences sequences(inputs, targets, lengths, n);
    const std::vector<int> order = sorted(sequences.inputs.data(), lengths, n);
    std::vector<const int*> in, out;
    std::vector<int> length;
    for (int i : order) in.push_back(sequences.inputs[i]), out.push_back(sequences.targets[i]), length.push_back(lengths[i]);
    const int together = 128;
    int rows;
    long weights;
    Sequences in_order(sequences);
    in_order.inputs = in, in_order.targets = out, in_order.lengths = length.data();
    in_order.room(*shape, together, rows, weights);
    Model model(*shape, values, rows, weights, sequences.longest, false);
    Batcher batcher(*shape);
    Batch batch;
    std::vector<float> values_here;
    for (int from = 0; from < n; from += together) {
        const int count = std::min(together, n - from);
        batcher.prepare(batch, &in[from], &out[from], &length[from], count, true);
        values_here.resize(batch.paths.size());
        model.forward(batch, 0, -1);
        model.loss(batch, values_here.data());
        const float* value = values_here.data();
        for (int i = from; i < from + count; ++i) {
            std::copy_n(value, length[i], nats + (out[i] - targets));
            value += length[i];
        }
    }
}

}  // extern "C"
