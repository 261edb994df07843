model = LanguageModel(64, [Block(64, 4) for _ in range(4)])
