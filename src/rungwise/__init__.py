"""rungwise: from one attention head to a full transformer, one measured rung at a time."""
