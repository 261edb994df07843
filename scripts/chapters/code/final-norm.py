class LanguageModel(nn.Module):
    """With a norm between the last block and the head."""

    def __init__(self, n_embd, parts):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, n_embd)
        self.parts = nn.Sequential(*parts)
        self.norm = Norm(n_embd)
        self.head = nn.Linear(n_embd, VOCABULARY)

    def forward(self, tokens):
        x = self.parts(self.embedding(tokens))
        return self.head(self.norm(x))


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
