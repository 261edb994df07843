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
#include <utility>
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
typedef uint64_t Bits __attribute__((vector_size(WIDTH * sizeof(uint16_t))));  // 16 random bits a lane
typedef uint16_t Halves __attribute__((vector_size(WIDTH * sizeof(uint16_t))));
static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first lane takes a number's lowest bits");

#define INLINE inline __attribute__((always_inline))

INLINE Vec load(const float* p) { Vec x; std::memcpy(&x, p, sizeof x); return x; }
INLINE void save(float* p, Vec x) { std::memcpy(p, &x, sizeof x); }
INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }

INLINE IntVec lane_numbers() {
    IntVec x;
    for (int i = 0; i < WIDTH; ++i) x[i] = i;
    return x;
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
    x += shuffle(x, x, [](int l) constexpr { return l ^ DISTANCE; }, std::make_integer_sequence<int, WIDTH>{});
    if constexpr (DISTANCE > 1) return sum<DISTANCE / 2>(x);
    else return x[0];
}
template <int DISTANCE = WIDTH / 2>
INLINE float largest(Vec x) {
    x = larger(x, shuffle(x, x, [](int l) constexpr { return l ^ DISTANCE; }, std::make_integer_sequence<int, WIDTH>{}));
    if constexpr (DISTANCE > 1) return largest<DISTANCE / 2>(x);
    else return x[0];
}

// Swap off-diagonal DISTANCE x DISTANCE blocks, then half the distance: a transposed square of WIDTH x WIDTH.
template <int DISTANCE = WIDTH / 2>
INLINE void transpose(Vec (&square)[WIDTH]) {
    constexpr auto lanes = std::make_integer_sequence<int, WIDTH>{};
#pragma GCC unroll 16
    for (int i = 0; i < WIDTH; ++i) {
        if (i & DISTANCE) continue;
        Vec a = square[i], b = square[i + DISTANCE];
        square[i] = shuffle(a, b, [](int l) constexpr { return l & DISTANCE ? l + WIDTH - DISTANCE : l; }, lanes);
        square[i + DISTANCE] = shuffle(a, b, [](int l) constexpr { return l & DISTANCE ? l + WIDTH : l + DISTANCE; }, lanes);
    }
    if constexpr (DISTANCE > 1) transpose<DISTANCE / 2>(square);
}

// ---------------------------------------------------------------------------------------------------------------
// Matrix product
// ---------------------------------------------------------------------------------------------------------------

// What is done to a result on its way out, each where there is one: (result + bias) * times + plus.
struct Finish {
    const float* bias = nullptr;  // (columns,)
    Matrix times, plus;           // (rows, columns)
};

// A tile of ROWS x (VECTORS * WIDTH) results at (row, column), which stay in registers over the whole sum.
template <int ROWS, int VECTORS>
static void tile(const float* a, long a_row, long a_column, Matrix b, Matrix c, int row, int column, int depth,
                 const Finish& finish) {
    a += row * a_row;
    Vec sums[ROWS][VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < ROWS; ++i)
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) sums[i][j] = finish.bias ? load(finish.bias + column + j * WIDTH) : Vec{};
    for (int k = 0; k < depth; ++k) {
        Vec right[VECTORS];
#pragma GCC unroll 8
        for (int j = 0; j < VECTORS; ++j) right[j] = load(b.row(k) + column + j * WIDTH);
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
        for (int j = 0; j < VECTORS; ++j) {
            const int at = column + j * WIDTH;
            if (finish.times.data) sums[i][j] *= load(finish.times.row(row + i) + at);
            if (finish.plus.data) sums[i][j] += load(finish.plus.row(row + i) + at);
            save(c.row(row + i) + at, sums[i][j]);
        }
}

// c (rows x columns, columns rounded up to WIDTH) = a b, finished. `a` is read by strides, so that it may be a
// transposed matrix.
static void multiply(const float* a, long a_row, long a_column, Matrix b, Matrix c, int rows, int depth, int columns,
                     const Finish& finish = {}) {
    auto strip = [&](auto vectors, int column) {
        int row = 0;
        auto next = [&](auto n) {
            tile<decltype(n)::value, decltype(vectors)::value>(a, a_row, a_column, b, c, row, column, depth, finish);
            row += decltype(n)::value;
        };
        while (row + TILE_ROWS <= rows) next(std::integral_constant<int, TILE_ROWS>{});
        if (row + 4 <= rows) next(std::integral_constant<int, 4>{});
        while (row < rows) next(std::integral_constant<int, 1>{});
    };
    int column = 0;
    const int end = int(padded(columns));
    for (; column + TILE_VECTORS * WIDTH <= end; column += TILE_VECTORS * WIDTH)
        strip(std::integral_constant<int, TILE_VECTORS>{}, column);
    if (TILE_VECTORS > 2 && column + 2 * WIDTH <= end) {
        strip(std::integral_constant<int, 2>{}, column);
        column += 2 * WIDTH;
    }
    for (; column < end; column += WIDTH) strip(std::integral_constant<int, 1>{}, column);
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
    Matrix transposed = {};  // of a linear layer's weight: (columns, rows)
    bool empty() const { return rows == 0; }
};

// All tensors of a kind in one padded array, so that the optimiser is one loop. Tensors are registered in the order
// of Transformer.named_parameters(), which is that of the pointers handed in.
struct Parameters {
    std::vector<Tensor> tensors;
    long size = 0;

    Tensor add(int rows, int columns, Matrix transposed = {}) {
        Tensor t{size, rows, columns, stride(columns), transposed};
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
template <class T>
INLINE T mix64(T x) {
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

    void transpose(const Tensor& tensor);
    float* w(const Tensor& t) const { return t.empty() ? nullptr : weights + t.at; }
    float* g(const Tensor& t) const { return gradients + t.at; }
    void draw_mask(const Batch& b, int site, Matrix kept, int width) const;
    void normalise(const Norm& norm, Matrix x, Matrix y, float* stats, int rows) const;
    void normalise_backward(const Norm& norm, Matrix x, const float* stats, Matrix dy, Matrix dx, int rows, bool add) const;
    void apply(const Linear& linear, Matrix x, Matrix y, int rows, Matrix times = {}, Matrix plus = {}) const;
    void apply_backward(const Linear& linear, Matrix x, Matrix dy, Matrix dx, int rows, Matrix times = {}) const;
    void join(Matrix x, Matrix f, Matrix kept, Matrix y, int rows, int width) const;
    void activate(Matrix hidden, Matrix slope, int rows) const;
    void spread(const Batch& b, Matrix from, bool by_token, Matrix to) const;
    void collect(const Batch& b, Matrix from, Matrix to, bool by_token) const;
    template <int VECTORS>
    void attend(const Batch& b, Matrix qkv, float* attention, Matrix heads);
    template <int VECTORS>
    void attend_backward(const Batch& b, Matrix qkv, const float* attention, Matrix dheads, Matrix dqkv);

    Shape shape_;
    Memory memory_;
    bool training_;
    Tensor embedding_;
    std::vector<Layer> layers_;
    Linear head_;
    std::vector<Activations> acts_;
    Matrix tokens_, qkv_;                    // the distinct tokens' embeddings; what a qkv layer gives
    Matrix out_, logits_, dlogits_;
    Matrix dx_, df_, dhidden_, dnormed_, dqkv_, dspread_, dheads_;
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
        l.weight = parameters.add(out, in, {memory_.floats(in * stride(out)), stride(out)});
        if (bias) l.bias = parameters.add(1, out);
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
    for (const Tensor& tensor : parameters.tensors) transpose(tensor);

    auto matrix = [&](int width, bool wanted = true) {
        return wanted ? Matrix{memory_.floats(max_rows * stride(width)), stride(width)} : Matrix{};
    };
    const int wide = std::max(D, A), spread_width = int(3 * shape.n_head * padded(shape.head_size));
    Matrix x = matrix(wide);
    for (int i = 0; i < shape.n_layer; ++i) {
        if (i && !training) {  // nothing is kept for a backward pass: all layers share one set
            acts_.push_back(acts_[0]);
            continue;
        }
        Activations a;
        a.x = x;
        a.normed1 = shape.norm ? matrix(D) : a.x;
        a.qkv = matrix(spread_width);
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
    qkv_ = matrix(3 * A);
    logits_ = matrix(V), dlogits_ = matrix(V);
    if (training) {
        dx_ = matrix(wide), df_ = matrix(wide), dnormed_ = matrix(D), dheads_ = matrix(A), dhidden_ = matrix(M, M);
        dqkv_ = matrix(3 * A), dspread_ = matrix(spread_width);
    }
    inside_ = memory_.floats(padded(D));
    std::fill_n(inside_, D, 1.0f);
    const long block = padded(max_length) + WIDTH;
    turned_ = memory_.floats(padded(shape.head_size) * WIDTH);
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

void Model::transpose(const Tensor& t) {
    if (!t.transposed.data) return;
    for (int i = 0; i < t.rows; i += WIDTH)
        for (int j = 0; j < t.columns; j += WIDTH) {
            Vec square[WIDTH];
#pragma GCC unroll 16
            for (int k = 0; k < WIDTH; ++k) square[k] = i + k < t.rows ? load(w(t) + (i + k) * t.ld + j) : Vec{};
            ::transpose(square);
            for (int k = 0; k < WIDTH && j + k < t.columns; ++k) save(t.transposed.row(j + k) + i, square[k]);
        }
}

// What dropout multiplies by, exactly as batches.dropout_mask: 16 bits an element, from (key, place).
void Model::draw_mask(const Batch& b, int site, Matrix kept, int width) const {
    const uint64_t key = mix64(dropout_key_ + GOLDEN * uint64_t(site + 1));
    const int numbers = (width + 3) / 4;
    const IntVec threshold = IntVec{} + shape_.dropout;
    const Vec scale = Vec{} + float(65536.0 / (65536.0 - shape_.dropout));
    Bits ramp;
    for (int i = 0; i < WIDTH / 4; ++i) ramp[i] = GOLDEN * uint64_t(i + 1);
    for (int n = 0; n < b.rows(); ++n) {
        Bits counter = ramp + (key + b.place[n] * uint64_t(numbers) * GOLDEN);
        for (int j = 0; j < width; j += WIDTH, counter += GOLDEN * (WIDTH / 4)) {
            const Bits bits = mix64(counter);
            Halves halves;
            std::memcpy(&halves, &bits, sizeof halves);
            save(kept.row(n) + j, __builtin_convertvector(halves, IntVec) >= threshold ? scale : Vec{});
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

// y = (x W^T + b) * times + plus: dropout and residual connection, where there are any
void Model::apply(const Linear& l, Matrix x, Matrix y, int rows, Matrix times, Matrix plus) const {
    multiply(x.data, x.ld, 1, l.weight.transposed, y, rows, l.weight.columns, l.weight.rows, {w(l.bias), times, plus});
}

// dW = dy^T x, db = the sum of dy's rows, dx = (dy W) * times
void Model::apply_backward(const Linear& l, Matrix x, Matrix dy, Matrix dx, int rows, Matrix times) const {
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
    multiply(dy.data, dy.ld, 1, {w(l.weight), l.weight.ld}, dx, rows, out, in, {nullptr, times, {}});
}

// y = x + kept * f, where there is no linear layer to do it. The backward pass of dropout is df = kept * dy.
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

// Two halves of a head turned by one position; direction -1 turns back. HALF: their width, where it is known.
template <int HALF>
static INLINE void turn(const float* from, float* to, const float* cosine, const float* sine, float direction, int half) {
    typedef float Part __attribute__((vector_size((HALF ? HALF : 1) * sizeof(float))));
    for (int j = 0; j < half; j += HALF ? HALF : 1) {
        Part p, q, c, s;
        std::memcpy(&p, from + j, sizeof p), std::memcpy(&q, from + half + j, sizeof q);
        std::memcpy(&c, cosine + j, sizeof c), std::memcpy(&s, sine + j, sizeof s);
        s *= direction;
        Part x = p * c - q * s, y = p * s + q * c;
        std::memcpy(to + j, &x, sizeof x), std::memcpy(to + half + j, &y, sizeof y);
    }
}

// From the linear layer's queries, keys and values, (3, H, K), of each row, or of each token, to those that meet in
// attention: turned by RoPE, each head beginning at a whole vector.
void Model::spread(const Batch& b, Matrix from, bool by_token, Matrix to) const {
    const int K = shape_.head_size, H = shape_.n_head, half = K / 2;
    for (int n = 0; n < b.rows(); ++n) {
        const float* x = from.row(by_token ? b.which[n] : n);
        float* y = to.row(n);
        for (int part = 0; part < 3 * H; ++part, x += K, y += padded(K)) {
            const float *cosine = cos_ + b.position[n] * half, *sine = sin_ + b.position[n] * half;
            if (!shape_.rope || part >= 2 * H) std::copy_n(x, K, y);
            else if (half == 8) turn<8>(x, y, cosine, sine, 1, 8);
            else turn<0>(x, y, cosine, sine, 1, half);
        }
    }
}

// The way back, of gradients: turned back, and those of a token summed.
void Model::collect(const Batch& b, Matrix from, Matrix to, bool by_token) const {
    const int K = shape_.head_size, H = shape_.n_head, half = K / 2;
    if (by_token) std::memset(to.data, 0, b.distinct.size() * to.ld * sizeof(float));
    for (int n = 0; n < b.rows(); ++n) {
        float *x = from.row(n), *y = to.row(by_token ? b.which[n] : n);
        for (int part = 0; part < 3 * H; ++part, x += padded(K), y += K) {
            const float *cosine = cos_ + b.position[n] * half, *sine = sin_ + b.position[n] * half;
            if (!shape_.rope || part >= 2 * H) {}
            else if (half == 8) turn<8>(x, x, cosine, sine, -1, 8);
            else turn<0>(x, x, cosine, sine, -1, half);
            if (by_token) for (int k = 0; k < K; ++k) y[k] += x[k];
            else std::copy_n(x, K, y);
        }
    }
}

// (K, queries) of up to WIDTH rows: a head of `from`, at `column`, transposed, so that each lane is a query.
template <int VECTORS>
static INLINE void gather(Matrix from, const int* rows, int n, int column, int vectors, Vec* turned) {
    for (int part = 0; part < (VECTORS ? VECTORS : vectors); ++part) {
        Vec square[WIDTH];
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; ++i) square[i] = i < n ? load(from.row(rows[i]) + column + part * WIDTH) : Vec{};
        transpose(square);
#pragma GCC unroll 16
        for (int i = 0; i < WIDTH; ++i) turned[part * WIDTH + i] = square[i];
    }
}

template <int VECTORS>
static INLINE Vec dot(const float* x, const Vec* turned, int vectors) {
    Vec even{}, odd{};
#pragma GCC unroll 16
    for (int k = 0; k < (VECTORS ? VECTORS : vectors) * WIDTH; k += 2) {
        even += x[k] * turned[k];
        odd += x[k + 1] * turned[k + 1];
    }
    return even + odd;
}

// Causal attention, word by word and head by head. Queries lie across the lanes of a vector, so that the softmax
// over keys has no horizontal sums: the weights of a head are stored as (keys, queries), queries padded.
// VECTORS: how many a head takes, where that is known (0: shape_ says).
template <int VECTORS>
void Model::attend(const Batch& b, Matrix qkv, float* attention, Matrix heads) {
    const int K = shape_.head_size, H = shape_.n_head, vectors = VECTORS ? VECTORS : int(padded(K) / WIDTH);
    const int wide = vectors * WIDTH;
    const float scale = 1.0f / std::sqrt(float(K));
    const IntVec lanes = lane_numbers();
    Vec own[VECTORS ? VECTORS * WIDTH : 1], *turned = VECTORS ? own : reinterpret_cast<Vec*>(turned_);
    for (const Word& word : b.words) {
        const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
        const long ld = padded(queries);
        float* weights = attention + word.weights;
        for (int head = 0; head < H; ++head, weights += T * ld) {
            const int q_at = head * wide, k_at = q_at + H * wide, v_at = k_at + H * wide;
            for (int block = 0; block < queries; block += WIDTH) {
                const int begin = word.first + block, keys = std::min(T, begin + WIDTH);
                const IntVec position = lanes + begin;
                gather<VECTORS>(qkv, rows + begin, keys - begin, q_at, vectors, turned);
                Vec most = Vec{} - INFINITY, total{};
                for (int s = 0; s < keys; ++s) {
                    Vec score = scale * dot<VECTORS>(qkv.row(rows[s]) + k_at, turned, vectors);
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
                float* out = heads.row(rows[word.first + t]) + head * K;
                for (int at = 0; at < K; at += WIDTH) {
                    Vec mean{};
                    for (int s = 0; s <= word.first + t; ++s)
                        mean += weights[s * ld + t] * load(qkv.row(rows[s]) + v_at + at);
                    if (at + WIDTH <= K) save(out + at, mean);
                    else for (int k = at; k < K; ++k) out[k] = mean[k - at];
                }
            }
        }
    }
}

// dqkv, from dheads: keys and values collect from every query that saw them, in every word.
template <int VECTORS>
void Model::attend_backward(const Batch& b, Matrix qkv, const float* attention, Matrix dheads, Matrix dqkv) {
    const int K = shape_.head_size, H = shape_.n_head, vectors = VECTORS ? VECTORS : int(padded(K) / WIDTH);
    const int wide = vectors * WIDTH;
    const float scale = 1.0f / std::sqrt(float(K));
    Vec own[VECTORS ? VECTORS * WIDTH : 1], *turned = VECTORS ? own : reinterpret_cast<Vec*>(turned_);
    std::memset(dqkv.data, 0, b.rows() * dqkv.ld * sizeof(float));
    for (const Word& word : b.words) {
        const int *rows = b.paths.data() + word.path, T = word.length, queries = T - word.first;
        const long ld = padded(queries);
        const float* weights = attention + word.weights;
        for (int head = 0; head < H; ++head, weights += T * ld) {
            const int q_at = head * wide, k_at = q_at + H * wide, v_at = k_at + H * wide;
            for (int block = 0; block < queries; block += WIDTH) {
                const int begin = word.first + block, keys = std::min(T, begin + WIDTH);
                gather<VECTORS>(dheads, rows + begin, keys - begin, head * K, vectors, turned);
                Vec total{};
                for (int s = 0; s < keys; ++s) {
                    Vec d = dot<VECTORS>(qkv.row(rows[s]) + v_at, turned, vectors);
                    total += d * load(weights + s * ld + block);
                    save(scores_ + s * ld + block, d);
                }
                for (int s = 0; s < keys; ++s) {
                    Vec d = load(weights + s * ld + block) * (load(scores_ + s * ld + block) - total) * scale;
                    save(scores_ + s * ld + block, d);
                }
            }
            for (int at = 0; at < wide; at += WIDTH) {
                for (int t = 0; t < queries; ++t) {
                    Vec dquery{};
                    for (int s = 0; s <= word.first + t; ++s)
                        dquery += scores_[s * ld + t] * load(qkv.row(rows[s]) + k_at + at);
                    save(dqkv.row(rows[word.first + t]) + q_at + at, dquery);
                }
                for (int s = 0; s < T; ++s) {
                    float *dkey = dqkv.row(rows[s]) + k_at + at, *dvalue = dqkv.row(rows[s]) + v_at + at;
                    Vec key = load(dkey), value = load(dvalue);
                    for (int t = std::max(0, s - word.first); t < queries; ++t) {
                        const long row = rows[word.first + t];
                        key += scores_[s * ld + t] * load(qkv.row(row) + q_at + at);
                        value += weights[s * ld + t] * load(dheads.row(row) + head * K + at);
                    }
                    save(dkey, key), save(dvalue, value);
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
        const Matrix normed = c.norm ? a.normed1 : x;
        if (c.norm) normalise(l.norm1, x, normed, a.stats1, rows);
        apply(l.qkv, normed, qkv_, rows);
        spread(b, qkv_, i == 0, a.qkv);
        if (c.head_size <= WIDTH) attend<1>(b, a.qkv, a.attention, a.heads);
        else attend<0>(b, a.qkv, a.attention, a.heads);
        if (dropping_) draw_mask(b, 2 * i, a.kept1, c.projection ? D : A);
        const Matrix kept1 = dropping_ ? a.kept1 : none, x1 = c.residual ? a.x : none;
        if (c.projection) apply(l.projection, a.heads, a.middle, N, kept1, x1);
        else join(x1, a.heads, kept1, a.middle, N, A);
        if (!c.hidden) {
            if (!training_ && i + 1 < c.n_layer) join(none, a.middle, none, a.x, N, D);
            continue;
        }
        const Matrix normed2 = c.norm ? a.normed2 : a.middle, next = i + 1 < c.n_layer ? acts_[i + 1].x : out_;
        if (c.norm) normalise(l.norm2, a.middle, normed2, a.stats2, N);
        apply(l.up, normed2, a.hidden, N);
        activate(a.hidden, a.slope, N);
        if (dropping_) draw_mask(b, 2 * i + 1, a.kept2, D);
        apply(l.down, a.hidden, next, N, dropping_ ? a.kept2 : none, c.residual ? a.middle : none);
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
            apply_backward(l.down, a.hidden, dropping_ ? df_ : dx_, dhidden_, N, a.slope);
            apply_backward(l.up, normed2, dhidden_, dnormed_, N);
            if (c.norm) normalise_backward(l.norm2, a.middle, a.stats2, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
        }
        const int width = c.projection ? D : A;
        Matrix df = dx_;
        if (dropping_) join(none, dx_, a.kept1, df = df_, N, width);
        if (c.projection) apply_backward(l.projection, a.heads, df, dheads_, N);
        const Matrix dheads = c.projection ? dheads_ : df;
        if (c.head_size <= WIDTH) attend_backward<1>(b, a.qkv, a.attention, dheads, dspread_);
        else attend_backward<0>(b, a.qkv, a.attention, dheads, dspread_);
        collect(b, dspread_, dqkv_, i == 0);
        if (i) {
            apply_backward(l.qkv, c.norm ? a.normed1 : a.x, dqkv_, dnormed_, N);
            if (c.norm) normalise_backward(l.norm1, a.x, a.stats1, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
            continue;
        }
        apply_backward(l.qkv, c.norm ? a.normed1 : tokens_, dqkv_, dnormed_, U);
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
    for (const Tensor& tensor : parameters.tensors) {
        float* __restrict p = weights + tensor.at;
        float* __restrict m = first + tensor.at;
        float* __restrict v = second + tensor.at;
        const float* __restrict gradient = gradients + tensor.at;
        for (long j = 0; j < tensor.rows * tensor.ld; ++j) {
            const float d = gradient[j] * coefficient;
            m[j] = beta1 * m[j] + new1 * d;
            v[j] = beta2 * v[j] + new2 * d * d;
            p[j] = keep * p[j] - size * m[j] / (std::sqrt(v[j]) * correction + 1e-8f);
        }
        transpose(tensor);  // while it is in the cache
    }
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
