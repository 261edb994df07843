def learning_rate(step, steps=20_000, warm_up=200, peak=1e-3, lowest=1e-4):
    """A rise over the first steps, then half a cosine down."""
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / (steps - warm_up)  # from 0 to 1
    return lowest + (peak - lowest) * (1 + math.cos(math.pi * progress)) / 2


def clip(gradients, most=1.0):
    """Gradients whose length is above `most` are shortened to it."""
    length = torch.sqrt(sum(g.square().sum() for g in gradients))
    return [g * min(1.0, most / float(length)) for g in gradients]
