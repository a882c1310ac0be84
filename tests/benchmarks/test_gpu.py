import json

import pytest
from benchmarks.gpu import PAGE, RESULTS, main, page


def test_the_page_says_that_nothing_was_run_until_there_is_a_record():
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else None
    assert PAGE.read_text(encoding="utf-8") == page(kept)
    assert ("**Not run**" in page(kept)) == (kept is None)


@pytest.mark.slow
def test_the_command_runs_on_a_cpu_with_one_and_two_ranks(tmp_path):
    out = tmp_path / "gpu.json"
    main(["--device", "cpu", "--tiny", "--out", str(out), "--page", str(tmp_path / "gpu.md")])
    cells = json.loads(out.read_text())["figures"]
    assert [cell["devices"] for cell in cells] == [1, 2]
    assert all(cell["targets_per_s"] > 0 and 0 <= cell["hit_rate"] <= 1 for cell in cells)
    assert "targets/s" in (tmp_path / "gpu.md").read_text()
