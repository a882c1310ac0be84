"""The ends of a training that are compared: those of numbers of epochs, and those of patience."""

from benchmarks.budget import budgets


def test_an_end_has_the_time_until_then_and_the_hits_of_the_best_epoch_so_far():
    rates = (0.1, 0.3, 0.2, 0.2, 0.4)
    curve = [
        {"epoch_hit_rate": rate, "cpu_s": 10.0 * n, "wall_s": 5.0 * n, "hit_rate": rate, "served": 0.5}
        for n, rate in enumerate(rates, start=1)
    ]
    rows = {row.split(" | ")[0].strip("| "): row.split(" | ")[1:] for row in budgets([curve])[2:-1]}
    assert rows["2 epochs"][:5] == ["2.0", "20", "10", "0.3000", "0.750"]
    assert rows["patience 2"][:5] == ["4.0", "40", "20", "0.3000", "0.750"]
    assert rows["patience 3"][:5] == rows["as set"][:5] == ["5.0", "50", "25", "0.4000", "1.000"]
