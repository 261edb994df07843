// The training step of rungwise.model.Transformer as one native program: forward, backward, clipping and AdamW.
// Here: the model. In matrix.h: vectors and the matrix product; rows.h: words as rows; attention.h.
//
// The PyTorch model is the reference; tests hold every gradient to it. What is different here, and why it is fast:
//   * Rows, not rectangles. A row is a token with its history; only real tokens have one. Position-wise parts are
//     matrix products over all rows of a batch, and attention walks each word through a list of its rows.
//   * Shared prefixes. The model is causal, so two words that begin alike share the rows of their common prefix:
//     in training, too, since dropout's masks depend on the prefix alone. A gradient flows into a row from every
//     word that uses it.
//   * The first block's norm, queries, keys and values depend on the token alone (and on the place, where positions
//     are learned): computed once a distinct token.
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
#include <vector>

#include "attention.h"
#include "muon.h"
#include "teacher.h"

class Model {
public:
    Model(const Shape& shape, const float* const* values, const Room& room, bool training);

    // Mean loss of the batch's tokens; step < 0: no dropout.
    void forward(const Batch& batch, uint64_t dropout_key, long step);
    double loss(const Batch& batch, float* nats, unsigned char* correct, const Teacher* teacher = nullptr);
    int vocab_size() const { return shape_.vocab_size; }
    const float* logits(int row) const { return logits_.row(row); }
    void backward(const Batch& batch);
    void update(const Optimiser& optimiser, double learning_rate, long step, Muon* muon = nullptr);

    Parameters parameters;
    float *weights, *gradients = nullptr, *first = nullptr, *second = nullptr;

private:
    struct Linear {
        Tensor weight, bias;  // (out, in), (1, out)
    };
    struct Norm {
        Tensor scale, shift;  // (1, D); RMSNorm has no shift
    };
    struct Layer {
        Norm norm1, norm2;
        Linear qkv, projection, gate, up, down;
    };
    struct Activations {  // what the backward pass of a layer reads
        Matrix x, normed1, qkv, heads, kept1, middle, normed2, gate, slope, hidden, kept2;
        float *stats1, *stats2;  // (N, 2) mean and 1/deviation
        float *attention, *kept; // the weights of all words, and what dropout multiplies them by
    };

    void transpose(const Tensor& tensor);
    float* w(const Tensor& t) const { return t.empty() ? nullptr : weights + t.at; }
    float* g(const Tensor& t) const { return gradients + t.at; }
    uint64_t site_key(int site) const { return mix64(dropout_key_ + GOLDEN * uint64_t(site + 1)); }
    void draw_mask(const Batch& b, int site, Matrix kept, int width) const;
    void normalise(const Norm& norm, Matrix x, Matrix y, float* stats, int rows) const;
    void normalise_backward(const Norm& norm, Matrix x, const float* stats, Matrix dy, Matrix dx, int rows,
                            bool add) const;
    void apply(const Linear& linear, Matrix x, Matrix y, int rows, Matrix times = {}, Matrix plus = {}) const;
    void apply_backward(const Linear& linear, Matrix x, Matrix dy, Matrix dx, int rows, Matrix times = {},
                        Matrix plus = {}) const;
    void join(Matrix x, Matrix f, Matrix kept, Matrix y, int rows, int width) const;
    void activate(const Activations& a, int rows) const;
    void embed(const Batch& b) const;
    void embed_backward(const Batch& b) const;
    void add_to_embedding(const Batch& b, int row, const float* gradient) const;

    Shape shape_;
    Memory memory_;
    bool training_;
    Attention attention_;
    Tensor embedding_, positions_;
    std::vector<Layer> layers_;
    Norm final_;
    Linear head_;
    std::vector<Activations> acts_;
    Matrix tokens_, qkv_;                    // the distinct tokens' embeddings; what a qkv layer gives
    Matrix out_, read_, logits_, dlogits_;   // the last block's stream, and what the head reads of it
    Matrix dx_, df_, dhidden_, dgate_, dnormed_, dqkv_, dspread_, dheads_;
    float *stats_;                           // of the final norm
    float *inside_, *zeros_, *spare_;        // (D,) 1, and 0 in the padding; 0; what nobody reads
    std::vector<float> top_;                 // (N,) the largest logit
    uint64_t dropout_key_ = 0;
    bool dropping_ = false;
};

Model::Model(const Shape& shape, const float* const* values, const Room& room, bool training)
    : shape_(shape), training_(training), attention_(shape, room.length, memory_) {
    const int D = shape.n_embd, A = shape.attention(), M = shape.hidden, V = shape.vocab_size;
    auto norm = [&] {
        Norm n;
        if (shape.normed()) n.scale = parameters.add(1, D);
        if (shape.norm == Normalisation::layernorm) n.shift = parameters.add(1, D);
        return n;
    };
    auto weight = [&](int out, int in) {
        return parameters.add(out, in, {memory_.floats(in * stride(out)), stride(out)});
    };
    auto linear = [&](int out, int in, bool bias, int matrices = 1) {
        Linear l;
        l.weight = weight(out, in);
        parameters.tensors.back().matrices = matrices;
        if (bias) l.bias = parameters.add(1, out);
        return l;
    };
    embedding_ = shape.tied ? weight(V, D) : parameters.add(V, D);
    if (shape.places) positions_ = parameters.add(shape.places, D);
    for (int i = 0; i < shape.n_layer; ++i) {
        Layer layer;
        layer.norm1 = norm();
        layer.qkv = linear(3 * A, D, false, 3);
        if (shape.projection) layer.projection = linear(D, A, true);
        if (M) {
            layer.norm2 = norm();
            if (shape.activation == Activation::swiglu) layer.gate = linear(M, D, true);
            layer.up = linear(M, D, true);
            layer.down = linear(D, M, true);
        }
        layers_.push_back(layer);
    }
    if (shape.final_norm) final_ = norm();
    head_.weight = shape.tied ? embedding_ : weight(V, shape.projection ? D : A);
    if (shape.head_bias) head_.bias = parameters.add(1, V);

    weights = memory_.floats(parameters.size);
    parameters.read(values, weights);
    if (training) {
        gradients = memory_.floats(parameters.size);
        first = memory_.floats(parameters.size);
        second = memory_.floats(parameters.size);
    }
    for (const Tensor& tensor : parameters.tensors) transpose(tensor);

    auto matrix = [&](int width, bool wanted = true, long rows = 0) {
        return wanted ? Matrix{memory_.floats((rows ? rows : room.rows) * stride(width)), stride(width)} : Matrix{};
    };
    const int wide = std::max(D, A), spread_width = int(3 * shape.n_head * padded(shape.head_size));
    Matrix x = matrix(wide);
    for (int i = 0; i < shape.n_layer; ++i) {
        if (i && !training) {  // nothing is kept for a backward pass: all layers share one set
            acts_.push_back(acts_[0]);
            if (room.nodes) acts_[i].qkv = matrix(spread_width, true, room.nodes);
            continue;
        }
        Activations a;
        a.x = x;
        a.normed1 = shape.normed() ? matrix(D) : a.x;
        a.qkv = matrix(spread_width, true, room.nodes);
        a.heads = matrix(A);
        a.kept1 = matrix(wide, training && shape.dropout);
        a.middle = matrix(wide);
        a.normed2 = shape.normed() && M ? matrix(D) : a.middle;
        a.hidden = matrix(M, M);
        a.gate = matrix(M, shape.activation == Activation::swiglu);
        a.slope = matrix(M, M && training);
        a.kept2 = matrix(wide, training && shape.dropout && M);
        a.stats1 = memory_.floats(2 * room.rows);
        a.stats2 = memory_.floats(2 * room.rows);
        a.attention = memory_.floats(room.weights);
        a.kept = training && shape.dropout ? memory_.floats(room.weights) : nullptr;
        x = !M ? a.middle : training ? matrix(D) : a.x;
        acts_.push_back(a);
    }
    out_ = x;
    read_ = shape.final_norm ? matrix(D) : out_;
    stats_ = memory_.floats(2 * room.rows);
    tokens_ = matrix(D);
    qkv_ = matrix(3 * A);
    logits_ = matrix(V), dlogits_ = matrix(V);
    if (training) {
        dx_ = matrix(wide), df_ = matrix(wide), dnormed_ = matrix(D), dheads_ = matrix(A), dhidden_ = matrix(M, M);
        dgate_ = matrix(M, shape.activation == Activation::swiglu);
        dqkv_ = matrix(3 * A), dspread_ = matrix(spread_width);
    }
    for (float** row : {&inside_, &zeros_, &spare_}) *row = memory_.floats(padded(D));
    std::fill_n(inside_, D, 1.0f);
}

void Model::transpose(const Tensor& t) {
    if (!t.transposed.data) return;
    for (int i = 0; i < t.rows; i += WIDTH)
        for (int j = 0; j < t.columns; j += WIDTH) {
            Vec square[WIDTH];
            UNROLL for (int k = 0; k < WIDTH; ++k)
                square[k] = i + k < t.rows ? load(w(t) + (i + k) * t.ld + j) : Vec{};
            ::transpose(square);
            for (int k = 0; k < WIDTH && j + k < t.columns; ++k) save(t.transposed.row(j + k) + i, square[k]);
        }
}

// What dropout multiplies by, exactly as dropout.dropout_mask: 16 bits an element, from (key, prefix).
void Model::draw_mask(const Batch& b, int site, Matrix kept, int width) const {
    const uint64_t key = site_key(site);
    const IntVec threshold = IntVec{} + shape_.dropout;
    const Vec scale = Vec{} + float(65536.0 / (65536.0 - shape_.dropout));
    Bits ramp;
    for (int i = 0; i < WIDTH / 4; ++i) ramp[i] = GOLDEN * uint64_t(i + 1);
    for (int n = 0; n < b.rows(); ++n) {
        Bits counter = ramp + (key + b.prefix[n]);
        for (int j = 0; j < width; j += WIDTH, counter += GOLDEN * (WIDTH / 4)) {
            const Bits bits = mix64(counter);
            Halves halves;
            std::memcpy(&halves, &bits, sizeof halves);
            save(kept.row(n) + j, __builtin_convertvector(halves, IntVec) >= threshold ? scale : Vec{});
        }
    }
}

// LayerNorm (Ba et al. 2016), or RMSNorm, which takes no mean (Zhang & Sennrich 2019); eps 1e-5.
void Model::normalise(const Norm& norm, Matrix x, Matrix y, float* stats, int rows) const {
    const int D = shape_.n_embd, wide = int(padded(D));
    const bool centred = shape_.norm == Normalisation::layernorm;
    const float *scale = w(norm.scale), *shift = centred ? w(norm.shift) : zeros_;
    for (int n = 0; n < rows; ++n) {
        const float* in = x.row(n);
        float* out = y.row(n);
        Vec total{}, squares{};
        for (int j = 0; j < wide; j += WIDTH) total += load(in + j);
        const float mean = centred ? sum(total) / D : 0;
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
    const bool centred = shape_.norm == Normalisation::layernorm;
    float *dscale = g(norm.scale), *dshift = centred ? g(norm.shift) : spare_;
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
        const float mean_d = centred ? sum(totals) / D : 0, mean_product = sum(products) / D;
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
    const int out = l.weight.rows, in = l.weight.columns;
    multiply(x.data, x.ld, 1, l.weight.transposed, y, rows, in, out, {w(l.bias), times, plus});
}

// dW = dy^T x, db = the sum of dy's rows, dx = (dy W) * times + plus
void Model::apply_backward(const Linear& l, Matrix x, Matrix dy, Matrix dx, int rows, Matrix times,
                           Matrix plus) const {
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
    multiply(dy.data, dy.ld, 1, {w(l.weight), l.weight.ld}, dx, rows, out, in, {nullptr, times, plus});
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

// Exact GELU x Phi(x), and its derivative. Phi(-|x|) = e^(-x^2/2) Q(t), t = 1 / (1 + 0.28 |x|): Q fitted to an error
// of 1e-8.
INLINE Vec gelu(Vec x, Vec& slope) {
    const Vec zero{}, one = zero + 1.0f;
    Vec size = x < zero ? -x : x, bell = exponential(-0.5f * x * x), t = one / (one + 0.28f * size);
    Vec q = t * -0.10580847847f + 0.38987496811f;
    q = q * t - 0.23699500911f;
    q = q * t + 0.26891138595f;
    q = q * t + 0.06749626903f;
    q = q * t + 0.11652085523f;
    Vec tail = q * t * bell, phi = x < zero ? tail : one - tail;
    slope = phi + x * bell * 0.3989422804f;
    return x * phi;
}

// x / (1 + e^-x), and its derivative.
INLINE Vec silu(Vec x, Vec& slope) {
    const Vec zero{}, one = zero + 1.0f;
    Vec power = exponential(x < zero ? x : -x), sigmoid = (x < zero ? power : one) / (one + power);
    slope = sigmoid * (one + x * (one - sigmoid));
    return x * sigmoid;
}

// The MLP's nonlinearity in place, and its derivative (slope), which is all that the backward pass needs. SwiGLU
// multiplies by the gate's: its slope is that of the gate, and the gate keeps what it multiplied by.
void Model::activate(const Activations& a, int rows) const {
    const Activation kind = shape_.activation;
    const Vec zero{}, one = zero + 1.0f;
    for (int n = 0; n < rows; ++n) {
        float *h = a.hidden.row(n), *d = a.slope.data ? a.slope.row(n) : nullptr;
        for (int j = 0; j < shape_.hidden; j += WIDTH) {
            Vec x = load(h + j), y, slope;
            if (kind == Activation::gelu) y = gelu(x, slope);
            else if (kind == Activation::relu) y = x < zero ? zero : x, slope = x > zero ? one : zero;
            else {
                const Vec open = silu(load(a.gate.row(n) + j), slope);
                save(a.gate.row(n) + j, open);
                y = open * x, slope *= x;
            }
            save(h + j, y);
            if (d) save(d + j, slope);
        }
    }
}

// The stream before the first block, once a distinct token and again for each row.
void Model::embed(const Batch& b) const {
    const int D = shape_.n_embd;
    for (size_t u = 0; u < b.distinct.size(); ++u) {
        const int row = b.distinct[u];
        std::copy_n(w(embedding_) + b.token[row] * embedding_.ld, padded(D), tokens_.row(u));
        if (shape_.places) accumulate(w(positions_) + b.position[row] * positions_.ld, tokens_.row(u), D);
    }
    for (int n = 0; n < b.rows(); ++n) std::copy_n(tokens_.row(b.which[n]), padded(D), acts_[0].x.row(n));
}

// From the gradients of the distinct tokens (dnormed_), and past the first block, of each row (dx_).
void Model::embed_backward(const Batch& b) const {
    if (!shape_.tied) std::memset(g(embedding_), 0, embedding_.rows * embedding_.ld * sizeof(float));
    if (shape_.places) std::memset(g(positions_), 0, positions_.rows * positions_.ld * sizeof(float));
    for (size_t u = 0; u < b.distinct.size(); ++u) add_to_embedding(b, b.distinct[u], dnormed_.row(u));
    if (shape_.residual)
        for (int n = 0; n < b.rows(); ++n) add_to_embedding(b, n, dx_.row(n));
}

void Model::add_to_embedding(const Batch& b, int row, const float* gradient) const {
    accumulate(gradient, g(embedding_) + b.token[row] * embedding_.ld, shape_.n_embd);
    if (shape_.places) accumulate(gradient, g(positions_) + b.position[row] * positions_.ld, shape_.n_embd);
}

void Model::forward(const Batch& b, uint64_t dropout_key, long step) {
    const Shape& c = shape_;
    const int N = b.rows(), U = int(b.distinct.size()), D = c.n_embd, A = c.attention();
    dropping_ = training_ && c.dropout && step >= 0;
    dropout_key_ = mix64(dropout_key + GOLDEN * uint64_t(step + 1));
    embed(b);

    for (int i = 0; i < c.n_layer; ++i) {
        const Layer& l = layers_[i];
        Activations& a = acts_[i];
        const Matrix none{};
        const Matrix x = i ? a.x : tokens_;  // the first block's queries, keys and values: by distinct token
        const int rows = i ? N : U;
        const Matrix normed = c.normed() ? a.normed1 : x;
        if (c.normed()) normalise(l.norm1, x, normed, a.stats1, rows);
        apply(l.qkv, normed, qkv_, rows);
        attention_.spread(b, qkv_, i == 0, a.qkv);
        const float* kept = dropping_ ? a.kept : nullptr;
        if (kept) attention_.draw_mask(b, site_key(3 * i + 2), a.kept);
        attention_.forward(b, a.qkv, kept, a.attention, a.heads);
        if (dropping_) draw_mask(b, 3 * i, a.kept1, c.projection ? D : A);
        const Matrix kept1 = dropping_ ? a.kept1 : none, x1 = c.residual ? a.x : none;
        if (c.projection) apply(l.projection, a.heads, a.middle, N, kept1, x1);
        else join(x1, a.heads, kept1, a.middle, N, A);
        if (!c.hidden) {
            if (!training_ && i + 1 < c.n_layer) join(none, a.middle, none, a.x, N, D);
            continue;
        }
        const Matrix normed2 = c.normed() ? a.normed2 : a.middle, next = i + 1 < c.n_layer ? acts_[i + 1].x : out_;
        if (c.normed()) normalise(l.norm2, a.middle, normed2, a.stats2, N);
        if (a.gate.data) apply(l.gate, normed2, a.gate, N);
        apply(l.up, normed2, a.hidden, N);
        activate(a, N);
        if (dropping_) draw_mask(b, 3 * i + 1, a.kept2, D);
        apply(l.down, a.hidden, next, N, dropping_ ? a.kept2 : none, c.residual ? a.middle : none);
    }
    if (c.final_norm) normalise(final_, out_, read_, stats_, N);
    apply(head_, read_, logits_, N);
}

// Mean of -ln p(target) over the batch's tokens, and (where wanted) each of them, and whether it was the likeliest. A row's gradient of the
// logits is p for each word that uses it, less 1 at what follows there.
double Model::loss(const Batch& b, float* nats, unsigned char* correct, const Teacher* teacher) {
    const int V = shape_.vocab_size;
    const float share = 1.0f / float(b.paths.size());
    std::vector<float> normaliser(b.rows());
    top_.resize(b.rows());
    for (int n = 0; n < b.rows(); ++n) {
        float* logits = logits_.row(n);
        for (long j = V; j < padded(V); ++j) logits[j] = -INFINITY;
        Vec most = load(logits), total{};
        for (int j = WIDTH; j < V; j += WIDTH) most = larger(load(logits + j), most);
        const float top = top_[n] = largest(most);
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
        if (nats) nats[k] = value, correct[k] = logits_.row(row)[target] == top_[row];
        total += value;
    }
    if (teacher) total += teacher->mix(b, V, logits_, dlogits_, normaliser.data());
    return total / double(b.paths.size());
}

void Model::backward(const Batch& b) {
    const Shape& c = shape_;
    const int N = b.rows(), U = int(b.distinct.size()), D = c.n_embd, A = c.attention();
    const Matrix none{};
    apply_backward(head_, read_, dlogits_, c.final_norm ? dnormed_ : dx_, N);
    if (c.final_norm) normalise_backward(final_, out_, stats_, dnormed_, dx_, N, false);
    for (int i = c.n_layer - 1; i >= 0; --i) {
        const Layer& l = layers_[i];
        const Activations& a = acts_[i];
        if (c.hidden) {
            const Matrix normed2 = c.normed() ? a.normed2 : a.middle, dy = dropping_ ? df_ : dx_;
            if (dropping_) join(none, dx_, a.kept2, df_, N, D);
            if (a.gate.data) {
                apply_backward(l.down, a.hidden, dy, dhidden_, N);
                join(none, dhidden_, a.slope, dgate_, N, c.hidden);
                join(none, dhidden_, a.gate, dhidden_, N, c.hidden);
                apply_backward(l.gate, normed2, dgate_, dnormed_, N);
                apply_backward(l.up, normed2, dhidden_, dnormed_, N, none, dnormed_);
            } else {
                apply_backward(l.down, a.hidden, dy, dhidden_, N, a.slope);
                apply_backward(l.up, normed2, dhidden_, dnormed_, N);
            }
            if (c.normed()) normalise_backward(l.norm2, a.middle, a.stats2, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
        }
        const int width = c.projection ? D : A;
        Matrix df = dx_;
        if (dropping_) join(none, dx_, a.kept1, df = df_, N, width);
        if (c.projection) apply_backward(l.projection, a.heads, df, dheads_, N);
        attention_.backward(b, a.qkv, dropping_ ? a.kept : nullptr, a.attention, c.projection ? dheads_ : df, dspread_);
        attention_.collect(b, dspread_, dqkv_, i == 0);
        if (i) {
            apply_backward(l.qkv, c.normed() ? a.normed1 : a.x, dqkv_, dnormed_, N);
            if (c.normed()) normalise_backward(l.norm1, a.x, a.stats1, dnormed_, dx_, N, c.residual);
            else join(c.residual ? dx_ : none, dnormed_, none, dx_, N, D);
            continue;
        }
        apply_backward(l.qkv, c.normed() ? a.normed1 : tokens_, dqkv_, dnormed_, U);
        if (c.normed()) normalise_backward(l.norm1, tokens_, a.stats1, dnormed_, dnormed_, U, false);
        embed_backward(b);
    }
}

// Clipping as torch.nn.utils.clip_grad_norm_, then AdamW (Loshchilov & Hutter 2019) as torch.optim.AdamW, then the
// transposed weights. `step` counts from 1. Where there is a Muon, it steps the hidden matrices.
void Model::update(const Optimiser& o, double learning_rate, long step, Muon* muon) {
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
        if (muon && tensor.matrices) {
            muon->update(tensor, p, m, gradient, coefficient, learning_rate, o.weight_decay);
            transpose(tensor);
            continue;
        }
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

extern "C" {

struct Recipe {  // as in library.py
    int32_t muon;
    float teacher_weight;
    const float* teacher_rows;  // nullptr: there is no teacher
    const int* teacher_at;
};

// Parameters and moments are read, trained for `steps` batches and written back; losses, (steps,). No recipe: AdamW,
// and words as targets.
void rungwise_train(const Shape* shape, const Optimiser* optimiser, float* const* values, float* const* first,
                    float* const* second, const int* inputs, const int* targets, const int* lengths, int batch_size,
                    long first_step, long steps, const double* learning_rates, uint64_t dropout_key, double* losses,
                    const Recipe* recipe) {
    std::vector<Sequence> words = unpack(inputs, targets, lengths, steps * batch_size);
    Model model(*shape, values, Room(*shape, words, batch_size), true);
    model.parameters.read(first, model.first);
    model.parameters.read(second, model.second);
    Batch batch(*shape);
    Muon muon(model.parameters);
    Teacher teacher;
    if (recipe) teacher = {recipe->teacher_rows, recipe->teacher_at, targets, recipe->teacher_weight};
    for (long i = 0; i < steps; ++i) {
        Sequence* some = &words[i * batch_size];
        std::sort(some, some + batch_size);
        batch.fill(some, batch_size);
        model.forward(batch, dropout_key, first_step + i);
        losses[i] = model.loss(batch, nullptr, nullptr, teacher.rows ? &teacher : nullptr);
        model.backward(batch);
        model.update(*optimiser, learning_rates[i], first_step + i + 1, recipe && recipe->muon ? &muon : nullptr);
    }
    model.parameters.write(model.weights, values);
    model.parameters.write(model.first, first);
    model.parameters.write(model.second, second);
}

// Loss and gradients of one batch; step < 0: no dropout.
double rungwise_gradients(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                          const int* lengths, int n, long step, uint64_t dropout_key, float* const* gradients) {
    std::vector<Sequence> words = unpack(inputs, targets, lengths, n);
    Model model(*shape, values, Room(*shape, words, n), true);
    std::sort(words.begin(), words.end());
    Batch batch(*shape);
    batch.fill(words.data(), n);
    model.forward(batch, dropout_key, step);
    const double loss = model.loss(batch, nullptr, nullptr);
    model.backward(batch);
    model.parameters.write(model.gradients, gradients);
    return loss;
}

// Prefixes that grow by a token a step, for generation: what attention needs of their nodes stays.
struct Tree {
    Model model;
    Batch batch;
};

Tree* rungwise_tree(const Shape* shape, const float* const* values, int rows, int length, int nodes) {
    return new Tree{{*shape, values, Room::of_tree(*shape, rows, length, nodes), false}, Batch(*shape)};
}

// Logits (n, V) of n new nodes, numbered from `first` on, each the last of its path of T nodes.
void rungwise_grow(Tree* tree, const int* tokens, const int* nodes, int n, int T, int first, float* logits) {
    tree->batch.grow(tokens, nodes, n, T, first);
    tree->model.forward(tree->batch, 0, -1);
    const int V = tree->model.vocab_size();
    for (int i = 0; i < n; ++i) std::copy_n(tree->model.logits(i), V, logits + long(i) * V);
}

void rungwise_fell(Tree* tree) { delete tree; }

// -ln p of each target. Sorted, the words share nearly all their beginnings even if only a few dozen of them, whose
// activations stay in the cache, are together in a batch.
void rungwise_score(const Shape* shape, const float* const* values, const int* inputs, const int* targets,
                    const int* lengths, int n, float* nats, unsigned char* correct) {
    const int together = 128;
    std::vector<Sequence> words = unpack(inputs, targets, lengths, n);
    std::sort(words.begin(), words.end());
    Model model(*shape, values, Room(*shape, words, together), false);
    Batch batch(*shape);
    std::vector<float> found;
    std::vector<unsigned char> hit;
    for (int from = 0; from < n; from += together) {
        const int count = std::min(together, n - from);
        batch.fill(&words[from], count);
        found.resize(batch.paths.size()), hit.resize(batch.paths.size());
        model.forward(batch, 0, -1);
        model.loss(batch, found.data(), hit.data());
        long at = 0;
        for (int i = from; i < from + count; at += words[i].length, ++i) {
            std::copy_n(&found[at], words[i].length, nats + (words[i].targets - targets));
            std::copy_n(&hit[at], words[i].length, correct + (words[i].targets - targets));
        }
    }
}

}  // extern "C"
