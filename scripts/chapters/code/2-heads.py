class MultiHead(nn.Module):
    """Several heads side by side, and a linear layer that mixes what they found."""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.heads = nn.ModuleList(Head(n_embd, n_embd // n_head) for _ in range(n_head))
        self.projection = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        return self.projection(torch.cat([head(x) for head in self.heads], dim=-1))


model = LanguageModel(32, [MultiHead(32, 2)])
