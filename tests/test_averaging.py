"""Finding checkpoints, and averaging them."""

import os

import pytest
import torch

from fairseq_lrn import averaging
from fairseq_lrn.errors import InputError


def test_average(save_state):
    models = [
        {"w": torch.tensor([1.0, 2.0]), "n": torch.tensor(3)},
        {"w": torch.tensor([2.0, 6.0]), "n": torch.tensor(4)},
    ]
    paths = [
        save_state(f"checkpoint{n}.pt", m, last_optimizer_state={"a": 1})
        for n, m in enumerate(models)
    ]
    state = averaging.average(paths)
    assert torch.equal(state["model"]["w"], torch.tensor([1.5, 4.0]))
    assert torch.equal(state["model"]["n"], torch.tensor(3))
    assert state["cfg"] == {"x": 1}
    assert "last_optimizer_state" not in state


def test_average_of_different_models(save_state):
    paths = [save_state("a.pt", {"w": torch.zeros(2)}), save_state("b.pt", {"w": torch.zeros(3)})]
    with pytest.raises(InputError, match="not checkpoints of the same model"):
        averaging.average(paths)


def test_checksums_of_dictionaries(save_state):
    """They are kept, not averaged; a run that older code began has some without them."""
    models = [{"w": torch.full((2,), float(number))} for number in range(3)]
    models[1]["dictionary_checksums"] = torch.tensor([7, 2**32 - 1])
    models[2]["dictionary_checksums"] = torch.tensor([8, 2**32 - 1])
    paths = [save_state(f"checkpoint{n}.pt", model) for n, model in enumerate(models)]
    for order in (paths[:2], paths[1::-1]):
        model = averaging.average(order)["model"]
        assert model["w"].tolist() == [0.5, 0.5]
        assert model["dictionary_checksums"].tolist() == [7, 2**32 - 1]
    assert "dictionary_checksums" not in averaging.average(paths[:1])["model"]
    with pytest.raises(InputError, match="checkpoint2.pt .* trained with other dictionaries"):
        averaging.average(paths)


def test_find(tmp_path):
    names = ["checkpoint1.pt", "checkpoint2.pt", "checkpoint10.pt", "checkpoint_1_500.pt"]
    names += ["checkpoint_last.pt", "checkpoint.best_bleu_-2.50.pt", "checkpoint.best_bleu_30.1.pt"]
    for name in names:
        (tmp_path / name).touch()

    def find(*arguments):
        return [os.path.basename(path) for path in averaging.find(str(tmp_path), *arguments)]

    assert find(averaging.EPOCH, 2) == ["checkpoint10.pt", "checkpoint2.pt"]
    assert find(averaging.EPOCH, 2, 9) == ["checkpoint2.pt", "checkpoint1.pt"]
    assert find(averaging.UPDATE, 1) == ["checkpoint_1_500.pt"]
    with pytest.raises(InputError, match="has 3 checkpoints .* not 4"):
        find(averaging.EPOCH, 4)


@pytest.mark.parametrize("maximize, expected", [(True, "3.5"), (False, "-2.50")])
def test_find_best(tmp_path, save_state, maximize, expected):
    config = {"checkpoint": {"maximize_best_checkpoint_metric": maximize}}
    for value in ("3.5", "-2.50", "1.0"):
        path = save_state(f"checkpoint.best_metric_{value}.pt", {})
        torch.save({"model": {}, "cfg": config}, path)
    assert averaging.find(str(tmp_path), averaging.BEST, 1) == [
        str(tmp_path / f"checkpoint.best_metric_{expected}.pt")
    ]


def test_the_end_of_a_run(tmp_path):
    """The last sixth of the updates, at most ten checkpoints, and the end within an epoch."""

    def save_state(name, updates):
        history = [{"num_updates": updates}]
        torch.save({"model": {}, "optimizer_history": history}, tmp_path / name)

    def found(*arguments):
        paths = averaging.last_of_run(str(tmp_path), *arguments)
        return [os.path.basename(path) for path in paths]

    with pytest.raises(InputError, match="has no checkpoints: give the --save-dir"):
        found()
    for epoch in range(1, 13):
        save_state(f"checkpoint{epoch}.pt", 100 * epoch)
    save_state("checkpoint_last.pt", 1200)  # the end of the last epoch is the end of training
    assert found() == ["checkpoint10.pt", "checkpoint11.pt", "checkpoint12.pt"]
    save_state("checkpoint_last.pt", 1250)
    assert found() == ["checkpoint11.pt", "checkpoint12.pt", "checkpoint_last.pt"]
    assert found(2) == ["checkpoint12.pt", "checkpoint_last.pt"]
    assert len(found(99)) == 13
    save_state("checkpoint_1_50.pt", 50)  # left over, and long before the end
    assert found() == ["checkpoint11.pt", "checkpoint12.pt", "checkpoint_last.pt"]
    for number in range(1150, 1201, 5):
        save_state(f"checkpoint_3_{number}.pt", number)
    save_state("checkpoint_last.pt", 1200)
    assert found() == [f"checkpoint_3_{number}.pt" for number in range(1155, 1201, 5)]
