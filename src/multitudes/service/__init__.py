"""HTTP: one router a file, doors before them, the engine behind them. Knows no torch."""
