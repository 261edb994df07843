class LanguageModel(nn.Module):
    """The embedding reads characters and writes them, too."""

    def __init__(self, n_embd, parts):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, n_embd)
        self.parts = nn.Sequential(*parts)
        self.norm = Norm(n_embd)

    def forward(self, tokens):
        x = self.parts(self.embedding(tokens))
        return self.norm(x) @ self.embedding.weight.T  # how similar is x to each character's vector?


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
