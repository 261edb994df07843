class MLP(nn.Module):
    """Two linear layers with a smooth bend between them."""

    def __init__(self, n_embd):
        super().__init__()
        self.up = nn.Linear(n_embd, 4 * n_embd)
        self.down = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        hidden = self.up(x)
        return self.down(hidden * (1 + torch.erf(hidden / math.sqrt(2))) / 2)  # x times Φ(x)


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
