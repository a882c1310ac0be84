"""The lowest versions that `make test-lowest` installs are those that pyproject.toml allows."""

import pytest

from tests.lowest import lower_bounds as module
from tests.lowest.lower_bounds import ROOT, lower_bounds


def test_the_constraints_are_in_step_with_the_bounds():
    written = (ROOT / "tests" / "lowest" / "constraints.txt").read_text().splitlines()
    assert written == lower_bounds(), "python -m tests.lowest.lower_bounds > tests/lowest/constraints.txt"
    assert "numpy==2.1" in written
    assert not any(line.startswith(("pytest", "sphinx", "multitudes")) for line in written)


@pytest.mark.parametrize(
    ("extra", "message"),
    [('["pandas<3"]', "pandas<3: expected one lower bound"), ('["numpy>=2.2"]', "another extra asks for numpy==2.1")],
)
def test_a_package_without_a_lower_bound_and_one_with_two_are_named(extra, message, tmp_path, monkeypatch):
    text = (ROOT / "pyproject.toml").read_text()
    (tmp_path / "pyproject.toml").write_text(
        text.replace("[project.optional-dependencies]\n", f"[project.optional-dependencies]\nodd = {extra}\n")
    )
    monkeypatch.setattr(module, "ROOT", tmp_path)
    with pytest.raises(ValueError, match=message):
        lower_bounds()
