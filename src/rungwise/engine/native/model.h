// The transformer: what lies where, the forward pass, the loss, the backward pass.
//
// Every member of the team runs these functions. Position-wise parts are the member's own rows, from one attention to
// the next without a wait; attention and the gradients of weights are tasks. A wait stands where what others have
// written is read: two in a layer, each way.
#pragma once

#include "adamw.h"
#include "attention.h"
#include "cells.h"
#include "layers.h"
#include "linear.h"
#include "teacher.h"

class Model {
public:
    Model(const Shape& shape, const float* const* values, const Room& room, bool training, int threads = 1,
          bool bf16 = false);
    APART ~Model() {}

    void forward(Member& me, const Batch& batch, const Dropout& dropout);
    // -ln p of each token of the batch (where there is a teacher: the loss), and (where wanted) whether it was the
    // likeliest.
    void loss(Member& me, const Batch& batch, float* nats, unsigned char* correct, const Teacher& teacher = {});
    // `meanwhile` is a task that has nothing to do with it; all nats are there.
    void backward(Member& me, const Batch& batch, const Dropout& dropout, const Task& meanwhile);

    int vocab_size() const { return shape_.vocab_size; }
    const float* logits(int row) const { return logits_.row(row); }
    Parameters parameters;

private:
    using Norm = Norms::Norm;
    struct Layer {
        Norm norm1, norm2;
        Linear qkv, hidden, projection, gate, up, down; // of a cell: qkv is what reads the stream, hidden the state
    };
    struct Activations {  // what the backward pass of a layer reads
        Matrix x, normed1, qkv, heads, kept1, middle, normed2, gate, slope, hidden, kept2;
        float *stats1, *stats2;   // (N, 2) mean and 1/deviation
        float *attention, *kept;  // the weights of all words, and what dropout multiplies them by
        Cells::Kept cell;
    };

    void add_parameters();
    Matrix matrix(int width, bool wanted = true, long rows = 0);
    void add_activations();
    void add_gradients();
    void share_pairs();
    Matrix input(int i) const { return i ? acts_[i].x : tokens_; }  // the first block's is by distinct token
    bool norms_input() const { return shape_.normed() && shape_.mixes(); }
    Matrix normed_input(int i) const { return norms_input() ? acts_[i].normed1 : input(i); }
    Matrix normed_middle(int i) const { return shape_.normed() ? acts_[i].normed2 : acts_[i].middle; }
    Matrix dmiddle() const { return shape_.hidden ? dmiddle_ : dx_; }
    void embed(const Batch& b, Part distinct) const;
    void queries(int i, Part part) const;
    void after_attention(const Batch& b, const Dropout& dropout, int i, Part rows) const;
    void before_attention(bool dropping, int i, Part rows, int n) const;
    void layer_gradients(Member& me, bool dropping, int i, int n) const;
    void queries_gradients(Member& me, int i, int n) const;
    void embedding_gradients(Member& me, const Batch& b) const;

    Shape shape_;
    Mixing mixing_;
    Room room_;
    bool training_;
    Memory memory_;
    Products products_;
    Norms norms_;
    Attention attention_;
    Cells cells_;
    Tensor embedding_, positions_;
    std::vector<Layer> layers_;
    Norm final_;
    Linear head_;
    std::vector<Activations> acts_;
    Matrix tokens_, qkv_;                   // the distinct tokens' embeddings; what a qkv layer gives
    Matrix out_, read_, logits_, dlogits_;  // the last block's stream, and what the head reads of it
    Matrix dx_, dmiddle_, dtokens_; // of the stream: behind a layer, between its sublayers, before all of them
    Matrix df1_, df2_, dhidden_, dgate_, dnormed1_, dnormed2_, dheads_, dspread_;
    Matrix dqkv_[2]; // of even and odd layers: a weight's gradient is taken while the next layer's is made
    float* stats_; // of the final norm
    float *top_, *normaliser_; // (N,) the largest logit, and ln of the sum of all e^logit
};

// In the order of Transformer.named_parameters().
inline void Model::add_parameters() {
    const Shape& c = shape_;
    const int D = c.n_embd, A = c.attention(), M = c.hidden, V = c.vocab_size;
    const bool bf16 = products_.bf16();
    auto norm = [&] {
        Norm n;
        if (c.normed()) n.scale = parameters.add(1, D);
        if (c.norm == Normalisation::layernorm) n.shift = parameters.add(1, D);
        return n;
    };
    auto linear = [&](int out, int in, bool bias, int matrices = 1, bool exact = false) {
        Linear l;
        l.weight = parameters.add(out, in, memory_, bf16 && !exact);
        parameters.tensors.back().matrices = matrices;
        if (bias) l.bias = parameters.add(1, out);
        return l;
    };
    // Of a cell: each gate's rows are padded to whole vectors, of the weight and of the bias.
    auto cell = [&](int in, int taps, bool exact) {
        Linear l = linear(taps * mixing_.gates * int(padded(A)), in, false, mixing_.gates, exact);
        parameters.tensors.back().group = A, parameters.tensors.back().side = taps;
        l.bias = parameters.add(mixing_.gates, A, padded(A));
        parameters.size += l.out() - l.bias.rows * l.bias.ld;
        return l;
    };
    embedding_ = c.tied ? parameters.add(V, D, memory_, bf16) : parameters.add(V, D);
    if (c.places) positions_ = parameters.add(c.places, D);
    for (int i = 0; i < c.n_layer; ++i) {
        Layer layer;
        if (c.mixes()) layer.norm1 = norm();
        if (c.attends()) layer.qkv = linear(3 * A, D, false, 3);
        else {
            if (mixing_.input) layer.qkv = cell(D, mixing_.taps, false);
            if (mixing_.hidden) layer.hidden = cell(A, 1, true);
        }
        if (c.projects()) layer.projection = linear(D, A, true);
        if (M) {
            layer.norm2 = norm();
            if (c.activation == Activation::swiglu) layer.gate = linear(M, D, true);
            layer.up = linear(M, D, true);
            layer.down = linear(D, M, true);
        }
        layers_.push_back(layer);
    }
    if (c.final_norm) final_ = norm();
    if (c.tied) head_.weight = embedding_;
    else head_.weight = parameters.add(V, c.projection ? D : A, memory_, bf16);
    if (c.head_bias) head_.bias = parameters.add(1, V);
}

APART inline Matrix Model::matrix(int width, bool wanted, long rows) {
    return wanted ? Matrix{memory_.floats((rows ? rows : room_.rows) * stride(width)), stride(width)} : Matrix{};
}

inline void Model::add_activations() {
    const Shape& c = shape_;
    const int D = c.n_embd, A = c.attention(), M = c.hidden, V = c.vocab_size, wide = std::max(D, A);
    const int spread = c.attends() ? int(3 * c.n_head * padded(c.head_size)) : cells_.stays();
    Matrix x = matrix(wide);
    for (int i = 0; i < c.n_layer; ++i) {
        if (i && !training_) { // nothing is kept for a backward pass: all layers share one set
            acts_.push_back(acts_[0]);
            if (room_.nodes) acts_[i].qkv = matrix(spread, true, room_.nodes);
            continue;
        }
        Activations a;
        a.x = x;
        a.normed1 = norms_input() ? matrix(D) : a.x;
        a.qkv = matrix(spread, c.attends() || mixing_.carried || room_.nodes, room_.nodes);
        a.heads = matrix(A);
        a.kept1 = matrix(wide, training_ && c.dropout);
        a.middle = matrix(wide);
        a.normed2 = c.normed() && M ? matrix(D) : a.middle;
        a.hidden = matrix(M, M);
        a.gate = matrix(M, c.activation == Activation::swiglu);
        a.slope = matrix(M, M && training_);
        a.kept2 = matrix(wide, training_ && c.dropout && M);
        a.stats1 = memory_.floats(2 * room_.rows);
        a.stats2 = memory_.floats(2 * room_.rows);
        a.attention = memory_.floats(c.attends() ? room_.weights : 0);
        a.kept = c.attends() && training_ && c.dropout_of_weights ? memory_.floats(room_.weights) : nullptr;
        if (!c.attends()) {
            a.cell.before = matrix(mixing_.carried * int(padded(A)));
            a.cell.gates = matrix((mixing_.gates + 1) * int(padded(A)));
        }
        x = !M ? a.middle : training_ ? matrix(D) : a.x;
        acts_.push_back(a);
    }
    out_ = x;
    read_ = c.final_norm ? matrix(D) : out_;
    stats_ = memory_.floats(2 * room_.rows), top_ = memory_.floats(room_.rows),
    normaliser_ = memory_.floats(room_.rows);
    tokens_ = matrix(D), qkv_ = matrix(c.attends() ? 3 * A : cells_.read()), logits_ = matrix(V), dlogits_ = matrix(V);
}

inline void Model::add_gradients() {
    const Shape& c = shape_;
    const int D = c.n_embd, A = c.attention(), M = c.hidden, wide = std::max(D, A);
    dx_ = matrix(wide), dmiddle_ = matrix(wide, M), dtokens_ = matrix(D);
    df1_ = matrix(wide, c.dropout), df2_ = matrix(wide, c.dropout && M);
    dhidden_ = matrix(M, M), dgate_ = matrix(M, c.activation == Activation::swiglu);
    dnormed1_ = matrix(D), dnormed2_ = matrix(D), dheads_ = matrix(A);
    for (Matrix& dqkv : dqkv_) dqkv = matrix(c.attends() ? 3 * A : cells_.read());
    if (!c.attends())
        cells_.make_room(matrix(mixing_.carried * int(padded(A))), matrix(mixing_.gates * int(padded(A))),
                         matrix(mixing_.gates * int(padded(A))));
    dspread_ = matrix(int(3 * c.n_head * padded(c.head_size)));
    if (products_.bf16()) share_pairs();
}

// Room for the pairs of rows from which the gradients of weights are made, once for the layers together.
inline void Model::share_pairs() {
    auto make = [&](Linear& l) {
        if (l.weight.empty()) return;
        l.in_pairs = matrix(l.in(), true, words(room_.rows));
        l.out_pairs = matrix(l.out(), true, words(room_.rows));
    };
    make(head_);
    for (Linear Layer::* of : {&Layer::qkv, &Layer::projection, &Layer::gate, &Layer::up, &Layer::down}) {
        make(layers_[0].*of);
        for (Layer& layer : layers_)
            (layer.*of).in_pairs = (layers_[0].*of).in_pairs, (layer.*of).out_pairs = (layers_[0].*of).out_pairs;
    }
}

inline Model::Model(const Shape& shape, const float* const* values, const Room& room, bool training, int threads,
                    bool bf16)
    : shape_(shape), mixing_(shape.family, shape.reach), room_(room), training_(training), products_(parameters, bf16),
      norms_(shape, parameters, memory_), attention_(shape, shape.attends() ? room.length : 0, threads, memory_),
      cells_(shape, parameters) {
    add_parameters();
    for (float** array : {&parameters.weights, &parameters.gradients, &parameters.first, &parameters.second})
        if (training || array == &parameters.weights) *array = memory_.floats(parameters.size);
    parameters.read(values, parameters.weights);
    parameters.renew();
    const int widest = std::max({shape.n_embd, 3 * shape.attention(), cells_.read(), shape.hidden, shape.vocab_size});
    products_.make_room(memory_, room.rows, widest);
    add_activations();
    if (training) add_gradients();
}

#include "passes.h"
