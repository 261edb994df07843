class MLP(nn.Module):
    """Two linear layers with a bend between them, for each character by itself."""

    def __init__(self, n_embd):
        super().__init__()
        self.up = nn.Linear(n_embd, 4 * n_embd)
        self.down = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        return self.down(F.relu(self.up(x)))


class Block(nn.Module):
    """One layer: attention, then an MLP."""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.attention = MultiHead(n_embd, n_head)
        self.mlp = MLP(n_embd)

    def forward(self, x):
        x = x + self.attention(x)
        return x + self.mlp(x)


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
