class Head(nn.Module):
    """One attention head: every character looks back, and takes what is useful to it."""

    def __init__(self, n_embd, head_size):
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)  # what am I looking for?
        self.key = nn.Linear(n_embd, head_size, bias=False)  # what do I have?
        self.value = nn.Linear(n_embd, head_size, bias=False)  # what do I hand over?

    def forward(self, x):  # (B, T, n_embd): B names of T characters
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, head_size) each
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, T, T)
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -math.inf).softmax(dim=-1)  # each row sums to 1
        return weights @ v  # (B, T, head_size)


class LanguageModel(nn.Module):
    """Characters in; for each of them, a score for every character that may come next."""

    def __init__(self, n_embd, parts, width=None):
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, n_embd)
        self.parts = nn.Sequential(*parts)
        self.head = nn.Linear(width or n_embd, VOCABULARY)

    def forward(self, tokens):  # (B, T)
        return self.head(self.parts(self.embedding(tokens)))  # (B, T, VOCABULARY)


model = LanguageModel(32, [Head(32, 16)], width=16)
