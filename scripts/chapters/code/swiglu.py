class MLP(nn.Module):
    """The hidden layer is a product: one half decides how much of the other passes."""

    def __init__(self, n_embd):
        super().__init__()
        hidden = 2 * 4 * n_embd // 3  # two thirds as wide, because there are three matrices
        self.gate = nn.Linear(n_embd, hidden)
        self.up = nn.Linear(n_embd, hidden)
        self.down = nn.Linear(hidden, n_embd)

    def forward(self, x):
        gate = self.gate(x)
        return self.down(gate * torch.sigmoid(gate) * self.up(x))


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
