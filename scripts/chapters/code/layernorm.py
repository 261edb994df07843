class Norm(nn.Module):
    """LayerNorm: each character's numbers get mean 0 and variance 1, then a gain and a shift of their own."""

    def __init__(self, n_embd):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_embd))
        self.shift = nn.Parameter(torch.zeros(n_embd))

    def forward(self, x):
        centred = x - x.mean(dim=-1, keepdim=True)
        variance = centred.square().mean(dim=-1, keepdim=True)
        return centred / torch.sqrt(variance + 1e-5) * self.gain + self.shift


class Block(nn.Module):
    """One layer: attention, then an MLP; both read a normalised copy."""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.attention_norm, self.attention = Norm(n_embd), MultiHead(n_embd, n_head)
        self.mlp_norm, self.mlp = Norm(n_embd), MLP(n_embd)

    def forward(self, x):
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
