"""A checkpoint is there at every moment, whatever happens while the next one is written."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from multitudes.errors import ArtefactError
from multitudes.nn.user_tower_config import UserTowerConfig
from multitudes.training import checkpoint
from multitudes.training.checkpoint import TrainingState
from multitudes.training.config import RunConfig, TrainConfig
from multitudes.training.distributed import ITEM_TABLE
from multitudes.training.step import initial_state
from multitudes.training.trained_run import named_weights
from tests.flushing import Flushing
from tests.worlds import planted


def state() -> TrainingState:
    model = UserTowerConfig.model_validate({"width": 8, "history": 5, "crossing": {"hidden": 8}})
    return initial_state(planted()[1], RunConfig(method="single", seed=0, model=model, train=TrainConfig()))


def no_space(*_: object) -> None:
    raise OSError("no space left")


def test_a_crash_between_the_renames_and_one_in_the_next_save_lose_nothing(tmp_path, monkeypatch):
    folder, first = tmp_path / "checkpoint", state()
    first.position.step = 7
    checkpoint.save(first, folder)
    folder.rename(tmp_path / "checkpoint.old")  # killed when the new one was about to take its place
    checkpoint.load(first, folder)
    monkeypatch.setattr(checkpoint, "save_file", no_space)
    with pytest.raises(OSError, match="no space"):
        checkpoint.save(first, folder)
    again = state()
    checkpoint.load(again, folder)
    assert again.position.step == 7


@pytest.mark.parametrize("best", [True, False])
def test_a_power_loss_leaves_the_old_checkpoint_or_the_new_one(tmp_path, monkeypatch, best):
    """All files are on the disk before they are the checkpoint, and that they are it before the earlier one goes."""
    flushing, folder, here, held = Flushing(monkeypatch), tmp_path / "checkpoint", state(), []
    checkpoint.save(here, folder, best=True)
    monkeypatch.setattr("shutil.rmtree", lambda path, **_: held.append((path, flushing.missing(folder))))
    checkpoint.save(here, folder, best=best)
    assert held[-2] == (tmp_path / "checkpoint.old", []), "before what was left of the new one"
    assert len(list(folder.iterdir())) == 3


def test_the_best_state_is_kept_also_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", no_space)
    folder, here, again = tmp_path / "checkpoint", state(), state()
    table = named_weights(here.model)[ITEM_TABLE]
    best = table.normal_().clone()
    checkpoint.save(here, folder, best=True)
    table.normal_()
    checkpoint.save(here, folder)
    checkpoint.load(again, folder)
    assert torch.equal(named_weights(again.model)[ITEM_TABLE], table)
    assert torch.equal(checkpoint.load_best(folder)[f"weight/{ITEM_TABLE}"], best)
    assert not torch.equal(best, table), "the control"


def test_a_full_disk_keeps_the_old_checkpoint_and_deletes_the_new_one(tmp_path, monkeypatch):
    folder, here = tmp_path / "checkpoint", state()
    checkpoint.save(here, folder)
    before = {file.name: file.read_bytes() for file in folder.iterdir()}

    def until_full(tensors: dict[str, torch.Tensor], file: Path) -> None:
        file.write_bytes(b"half")
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(checkpoint, "save_file", until_full)
    with pytest.raises(SafetensorError, match="No space"):
        checkpoint.save(here, folder, best=True)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint"]


@pytest.mark.parametrize("name", ["state.safetensors", "position.json", "best.safetensors"])
def test_a_truncated_or_missing_file_is_rejected_by_name(tmp_path: Path, name: str) -> None:
    folder, here = tmp_path / "checkpoint", state()
    checkpoint.save(here, folder, best=True)

    def read() -> None:
        checkpoint.load(here, folder)
        checkpoint.load_best(folder)

    read()  # the control
    file = folder / name
    content = file.read_bytes()
    file.unlink()  # the best epoch's files are those of this one under a second name
    file.write_bytes(content[:-9])
    with pytest.raises(ArtefactError, match=rf"{name}: damaged.*; train again with --overwrite"):
        read()
    file.unlink()
    with pytest.raises(ArtefactError, match=f"{name}: missing"):
        read()
