// The functions of Model that compute: forward, loss and backward, layer by layer.
#pragma once

// The distinct tokens before the first block.
inline void Model::embed(const Batch& b, Part distinct) const {
    const int D = shape_.n_embd;
    for (int u = distinct.begin; u < distinct.end; ++u) {
        const int row = b.distinct[u];
        copy(parameters.w(embedding_) + b.token[row] * embedding_.ld, tokens_.row(u), D);
        if (shape_.places) accumulate(parameters.w(positions_) + b.position[row] * positions_.ld, tokens_.row(u), D);
    }
}

// The first half of layer i before attention: its norm, queries, keys and values.
inline void Model::queries(int i, Part part) const {
    const Layer& l = layers_[i];
    if (norms_input()) norms_.forward(l.norm1, input(i), acts_[i].normed1, acts_[i].stats1, part);
    if (l.qkv.weight.empty()) join({}, normed_input(i), {}, qkv_, part, shape_.n_embd);
    else products_.apply(l.qkv, normed_input(i), qkv_, part);
}

inline void Model::forward(Member& me, const Batch& b, const Dropout& dropout) {
    const int N = b.rows(), D = shape_.n_embd;
    const Part rows = me.rows(N), distinct = me.rows(int(b.distinct.size()));
    embed(b, distinct);
    queries(0, distinct);
    me.wait();
    for (int n = rows.begin; n < rows.end; ++n) copy(tokens_.row(b.which[n]), acts_[0].x.row(n), D);
    for (int i = 0; i < shape_.n_layer; ++i) {
        Activations& a = acts_[i];
        if (i) queries(i, rows);
        if (shape_.attends()) {
            attention_.spread(b, qkv_, i == 0, a.qkv, rows);
            if (dropout.of_weights) attention_.draw_mask(me, b, dropout.site(3 * i + 2), a.kept);
            me.wait();
            attention_.forward(me, b, a.qkv, dropout.of_weights ? a.kept : nullptr, a.attention, a.heads);
        } else {
            me.wait();
            cells_.forward(me, b, layers_[i].hidden, i, qkv_, room_.nodes, a.cell, a.qkv, a.heads);
        }
        me.wait();
        after_attention(b, dropout, i, rows);
    }
    if (shape_.final_norm) norms_.forward(final_, out_, read_, stats_, rows);
    products_.apply(head_, read_, logits_, rows);
}

inline void Model::after_attention(const Batch& b, const Dropout& dropout, int i, Part rows) const {
    const Shape& c = shape_;
    const int D = c.n_embd, A = c.attention();
    const Layer& l = layers_[i];
    const Activations& a = acts_[i];
    const bool drops = dropout.on && c.mixes();
    const Matrix none{}, kept1 = drops ? a.kept1 : none, kept2 = dropout.on ? a.kept2 : none;
    const Matrix x = c.residual && c.mixes() ? a.x : none, next = i + 1 < c.n_layer ? acts_[i + 1].x : out_;
    if (drops) draw_mask(b, c.dropout, dropout.site(3 * i), kept1, rows, c.projects() ? D : A);
    if (c.projects()) products_.apply(l.projection, a.heads, a.middle, rows, kept1, x);
    else join(x, a.heads, kept1, a.middle, rows, A);
    if (!c.hidden) {
        if (!training_ && i + 1 < c.n_layer) join(none, a.middle, none, a.x, rows, D);
        return;
    }
    if (c.normed()) norms_.forward(l.norm2, a.middle, a.normed2, a.stats2, rows);
    if (a.gate.data) products_.apply(l.gate, normed_middle(i), a.gate, rows);
    products_.apply(l.up, normed_middle(i), a.hidden, rows);
    activate(c, a.hidden, a.gate, a.slope, rows);
    if (dropout.on) draw_mask(b, c.dropout, dropout.site(3 * i + 1), kept2, rows, D);
    products_.apply(l.down, a.hidden, next, rows, kept2, c.residual ? a.middle : none);
}

// A row's gradient of the logits is p for each word that uses it, less 1 at what follows there. Each member has the
// tokens of its rows.
inline void Model::loss(Member& me, const Batch& b, float* nats, unsigned char* correct, const Teacher& teacher) {
    const int V = shape_.vocab_size;
    const Part rows = me.rows(b.rows());
    const float share = 1.0f / float(b.paths.size());
    for (int n = rows.begin; n < rows.end; ++n) {
        float *logits = logits_.row(n), *d = dlogits_.row(n);
        for (long j = V; j < padded(V); ++j) logits[j] = -INFINITY;
        Vec most = load(logits), total{};
        for (int j = WIDTH; j < V; j += WIDTH) most = larger(load(logits + j), most);
        const float top = top_[n] = largest(most);
        for (int j = 0; j < V; j += WIDTH) {
            Vec p = exponential(load(logits + j) - top);
            save(d + j, p);
            total += p;
        }
        const float z = sum(total);  // the padding has added e^-87
        normaliser_[n] = top + std::log(z);
        for (int j = 0; j < V; j += WIDTH) save(d + j, load(d + j) * (share * b.uses[n] / z));
        for (long j = V; j < padded(V); ++j) d[j] = 0;
    }
    for (size_t k = 0; k < b.paths.size(); ++k) {
        const int row = b.paths[k], target = b.targets[k];
        if (row < rows.begin || row >= rows.end) continue;
        nats[k] = normaliser_[row] - logits_.row(row)[target];
        if (correct) correct[k] = logits_.row(row)[target] == top_[row];
        dlogits_.row(row)[target] -= share;
    }
    if (teacher.rows) teacher.mix(b, rows, V, logits_, dlogits_, normaliser_, nats);
}

inline void Model::backward(Member& me, const Batch& b, const Dropout& dropout, const Task& meanwhile) {
    const Shape& c = shape_;
    const int N = b.rows(), U = int(b.distinct.size()), last = c.n_layer - 1;
    const Part rows = me.rows(N), distinct = me.rows(U);
    const Matrix none{}, dread = c.final_norm ? dnormed1_ : dx_;
    products_.input_gradient(head_, read_, dlogits_, dread, rows, N);
    if (c.final_norm) norms_.backward(final_, out_, stats_, dread, dx_, rows, none);
    for (int i = last; i >= 0; --i) {
        const Activations& a = acts_[i];
        before_attention(dropout.on, i, rows, N);
        me.wait();
        const Matrix dheads = c.projects() ? dheads_ : dropout.on && c.mixes() ? df1_ : dmiddle();
        const Matrix dqkv = dqkv_[i % 2];
        if (c.attends())
            attention_.backward(me, b, a.qkv, dropout.of_weights ? a.kept : nullptr, a.attention, dheads, dspread_,
                                i == 0, dqkv);
        else cells_.backward(me, b, layers_[i].hidden, i, a.cell, a.heads, dheads, dqkv);
        if (i == last) {
            me.one(meanwhile);
            products_.weight_gradient(me, head_, read_, dlogits_, N);
            if (c.final_norm) norms_.gradient(me, final_, out_, stats_, dread, N);
        } else {
            queries_gradients(me, i + 1, N);
        }
        layer_gradients(me, dropout.on, i, N);
        me.wait();
        const Part part = i ? rows : distinct;
        if (layers_[i].qkv.weight.empty()) join(none, dqkv, none, dnormed1_, part, c.n_embd);
        else products_.input_gradient(layers_[i].qkv, normed_input(i), dqkv, dnormed1_, part, i ? N : U);
        if (!i) break;
        const Matrix around = c.residual && c.mixes() ? dmiddle() : none;
        if (norms_input()) norms_.backward(layers_[i].norm1, a.x, a.stats1, dnormed1_, dx_, rows, around);
        else join(around, dnormed1_, none, dx_, rows, c.n_embd);
    }
    if (norms_input()) norms_.backward(layers_[0].norm1, tokens_, acts_[0].stats1, dnormed1_, dtokens_, distinct, none);
    me.wait();
    embedding_gradients(me, b);
    queries_gradients(me, 0, U);
    me.wait();
}

// From a layer's output (dx_) back to what attention gave, row by row.
inline void Model::before_attention(bool dropping, int i, Part rows, int n) const {
    const Shape& c = shape_;
    const Layer& l = layers_[i];
    const Activations& a = acts_[i];
    const Matrix none{}, normed = normed_middle(i), around = c.residual ? dx_ : none;
    if (c.hidden) {
        if (dropping) join(none, dx_, a.kept2, df2_, rows, c.n_embd);
        const Matrix dy = dropping ? df2_ : dx_;
        if (a.gate.data) {
            products_.input_gradient(l.down, a.hidden, dy, dhidden_, rows, n);
            join(none, dhidden_, a.slope, dgate_, rows, c.hidden);
            join(none, dhidden_, a.gate, dhidden_, rows, c.hidden);
            products_.input_gradient(l.gate, normed, dgate_, dnormed2_, rows, n);
            products_.input_gradient(l.up, normed, dhidden_, dnormed2_, rows, n, none, dnormed2_);
        } else {
            products_.input_gradient(l.down, a.hidden, dy, dhidden_, rows, n, a.slope);
            products_.input_gradient(l.up, normed, dhidden_, dnormed2_, rows, n);
        }
        if (c.normed()) norms_.backward(l.norm2, a.middle, a.stats2, dnormed2_, dmiddle_, rows, around);
        else join(around, dnormed2_, none, dmiddle_, rows, c.n_embd);
    }
    if (dropping && c.mixes()) join(none, dmiddle(), a.kept1, df1_, rows, c.projects() ? c.n_embd : c.attention());
    if (c.projects()) products_.input_gradient(l.projection, a.heads, dropping ? df1_ : dmiddle(), dheads_, rows, n);
}

// Tasks: the gradients of a layer's weights but those before attention.
inline void Model::layer_gradients(Member& me, bool dropping, int i, int n) const {
    const Layer& l = layers_[i];
    const Activations& a = acts_[i];
    if (shape_.hidden) {
        if (a.gate.data) products_.weight_gradient(me, l.gate, normed_middle(i), dgate_, n);
        products_.weight_gradient(me, l.up, normed_middle(i), dhidden_, n);
        products_.weight_gradient(me, l.down, a.hidden, dropping ? df2_ : dx_, n);
        if (shape_.normed()) norms_.gradient(me, l.norm2, a.middle, a.stats2, dnormed2_, n);
    }
    if (!shape_.attends()) cells_.weight_gradient(me, l.hidden, a.cell, n);
    if (shape_.projects()) products_.weight_gradient(me, l.projection, a.heads, dropping ? df1_ : dmiddle(), n);
}

// Tasks: those before attention.
inline void Model::queries_gradients(Member& me, int i, int n) const {
    const Layer& l = layers_[i];
    if (!l.qkv.weight.empty()) products_.weight_gradient(me, l.qkv, normed_input(i), dqkv_[i % 2], n);
    if (norms_input()) norms_.gradient(me, l.norm1, input(i), acts_[i].stats1, dnormed1_, n);
}

// A task: from the gradients of the distinct tokens, and past the first block, of each row (dmiddle).
inline void Model::embedding_gradients(Member& me, const Batch& b) const {
    const Matrix dtokens = norms_input() ? dtokens_ : dnormed1_;
    auto clear = [&](const Tensor& t) { std::fill_n(parameters.g(t), t.rows * t.ld, 0.0f); };
    auto add = [&](int row, const float* gradient) {
        accumulate(gradient, parameters.g(embedding_) + b.token[row] * embedding_.ld, shape_.n_embd);
        if (!shape_.places) return;
        accumulate(gradient, parameters.g(positions_) + b.position[row] * positions_.ld, shape_.n_embd);
    };
    me.one([&] {
        if (!shape_.tied) clear(embedding_);
        if (shape_.places) clear(positions_);
        for (size_t u = 0; u < b.distinct.size(); ++u) add(b.distinct[u], dtokens.row(u));
        if (shape_.residual && shape_.mixes())
            for (int row = 0; row < b.rows(); ++row) add(row, dmiddle().row(row));
    });
}
