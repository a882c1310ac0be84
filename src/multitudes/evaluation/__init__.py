"""The offline protocol: full corpus, equal budgets, segments, intervals."""
