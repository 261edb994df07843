def rotate(x):
    """Queries and keys are not rotated any more."""
    return x


class LanguageModel(nn.Module):
    """Each place has a vector of its own, which is learned and added to the character's."""

    def __init__(self, n_embd, parts, longest=16):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, n_embd)
        self.positions = nn.Parameter(torch.randn(longest, n_embd))
        self.parts = nn.Sequential(*parts)
        self.norm = Norm(n_embd)
        self.head = nn.Linear(n_embd, VOCABULARY, bias=False)

    def forward(self, tokens):
        x = self.embedding(tokens) + self.positions[: tokens.shape[-1]]
        return self.head(self.norm(self.parts(x)))


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
