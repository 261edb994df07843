model = LanguageModel(64, [Head(64, 32)], width=32)
