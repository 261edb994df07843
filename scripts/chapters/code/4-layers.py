class Block(nn.Module):
    """One layer: what attention finds is added to what is there."""

    def __init__(self, n_embd, n_head):
        super().__init__()
        self.attention = MultiHead(n_embd, n_head)

    def forward(self, x):
        return x + self.attention(x)


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
