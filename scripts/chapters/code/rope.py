def rotate(x):  # (B, T, head_size): queries or keys
    """RoPE: pair j of the numbers turns by an angle that grows with the position; each pair at a speed of its own."""
    T, size = x.shape[-2:]
    speed = 10_000 ** (-torch.arange(0, size, 2) / size)  # from fast to slow, (size / 2,)
    angle = torch.arange(T)[:, None] * speed  # (T, size / 2)
    a, b = x.chunk(2, dim=-1)  # the pairs are (a[j], b[j])
    return torch.cat([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], dim=-1)


class Head(nn.Module):
    """One attention head that knows how far back it looks."""

    def __init__(self, n_embd, head_size):
        super().__init__()
        self.query = nn.Linear(n_embd, head_size, bias=False)
        self.key = nn.Linear(n_embd, head_size, bias=False)
        self.value = nn.Linear(n_embd, head_size, bias=False)

    def forward(self, x):
        q, k, v = rotate(self.query(x)), rotate(self.key(x)), self.value(x)  # the only line that changed
        scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
        later = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        weights = scores.masked_fill(later, -math.inf).softmax(dim=-1)
        return weights @ v


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
