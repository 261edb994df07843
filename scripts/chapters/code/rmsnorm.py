class Norm(nn.Module):
    """RMSNorm: each character's numbers are divided by their size, then multiplied by a gain."""

    def __init__(self, n_embd):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(n_embd))

    def forward(self, x):
        size = torch.sqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5)  # root of the mean square
        return x / size * self.gain


model = LanguageModel(32, [Block(32, 2) for _ in range(4)])
