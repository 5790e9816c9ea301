"""Training in half precision reaches the loss of float32.

fairseq's --fp16 is for GPUs and --bf16 for TPUs only (fairseq_lrn/compat/unusable_options.py). The
tests therefore repeat the method of these options: parameters and activations in half precision,
float32 copies for the optimiser, and a scaled loss for float16.
"""

import contextlib

import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

UPDATES = 40


def set_up(data):
    arguments = [data, "--arch", "lrn_tiny", "--max-tokens", "1000", "--label-smoothing", "0.1"]
    arguments += ["--criterion", "label_smoothed_cross_entropy"]
    args = options.parse_args_and_arch(options.get_training_parser(), arguments)
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    for split in ("train", "valid"):
        task.load_dataset(split)
    torch.manual_seed(1)
    return task, task.build_model(cfg.model), task.build_criterion(cfg.criterion)


def batches(task, split):
    epochs = task.get_batch_iterator(task.dataset(split), max_tokens=1000, seed=1)
    while True:
        yield from epochs.next_epoch_itr(shuffle=split == "train")
        if split == "valid":
            return


def train(data, dtype, scale=1.0, autocast=False):
    """The validation loss after a few updates, in bits per token."""
    task, model, criterion = set_up(data)
    master = [parameter.detach().clone() for parameter in model.parameters()]
    optimizer = torch.optim.Adam(master, lr=0.003, betas=(0.9, 0.98))
    context = contextlib.nullcontext()
    if autocast:
        context = torch.autocast("cpu", dtype)
    else:
        model.to(dtype)
    for update, sample in zip(range(UPDATES), batches(task, "train")):
        optimizer.param_groups[0]["lr"] = 0.003 * min((update + 1) / 20, (20 / (update + 1)) ** 0.5)
        model.train()
        model.zero_grad()
        with context:
            loss, sample_size, _ = criterion(model, sample)
        (loss * (scale / sample_size)).backward()
        for copy, parameter in zip(master, model.parameters()):
            copy.grad = parameter.grad.float() / scale
            assert copy.grad.isfinite().all()
        torch.nn.utils.clip_grad_norm_(master, 1.0)
        optimizer.step()
        with torch.no_grad():
            for copy, parameter in zip(master, model.parameters()):
                parameter.copy_(copy)
    model.eval()
    total = tokens = 0.0
    with torch.no_grad():
        for sample in batches(task, "valid"):
            with context:
                assert model(**sample["net_input"])[0].dtype == dtype
                loss, sample_size, _ = criterion(model, sample)
            total, tokens = total + float(loss), tokens + sample_size
    return total / tokens / torch.log(torch.tensor(2.0)).item()


@pytest.fixture(scope="module")
def exact(toy_data):
    loss = train(toy_data, torch.float32)
    assert loss < 6.0  # the loss of the initial model is above 8
    return loss


@pytest.mark.parametrize(
    "dtype, scale, autocast", [(torch.bfloat16, 1.0, True), (torch.float16, 128.0, False)]
)
def test_reaches_the_loss_of_float32(toy_data, exact, dtype, scale, autocast):
    loss = train(toy_data, dtype, scale, autocast)
    print(f"{dtype}, autocast {autocast}: {loss:.5f}; float32: {exact:.5f}")
    assert abs(loss - exact) < 0.05
