def windows(names, length=16, end=1):
    """All names in one row, END between them, cut anywhere: inputs and targets, (number of windows, length) each."""
    row = torch.cat([torch.tensor([*name, end]) for name in names])
    n = (len(row) - 1) // length
    inputs, targets = row[: n * length], row[1 : n * length + 1]
    return inputs.view(n, length), targets.view(n, length)
