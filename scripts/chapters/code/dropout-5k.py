def dropout(x, p, training):
    """In training each number becomes 0 with probability p, and the others grow, so that their sum stays the same."""
    if not training:
        return x
    keep = torch.rand_like(x) >= p
    return x * keep / (1 - p)


class Block(nn.Module):
    """One layer; training drops a fifth of what attention and MLP add. (The attention weights are dropped, too.)"""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.attention_norm, self.attention = Norm(n_embd), MultiHead(n_embd, n_head)
        self.mlp_norm, self.mlp = Norm(n_embd), MLP(n_embd)

    def forward(self, x):
        x = x + dropout(self.attention(self.attention_norm(x)), 0.2, self.training)
        return x + dropout(self.mlp(self.mlp_norm(x)), 0.2, self.training)


model = LanguageModel(64, [Block(64, 4) for _ in range(4)])
