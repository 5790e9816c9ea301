"""Wrong options and wrong calls: each message names the culprit and the remedy.

Errors in text and its preparation: tests/data. Errors in checkpoints: tests/test_checkpoints.py.
"""

import re

import pytest
import torch
from fairseq import optim, options, tasks
from fairseq.data import Dictionary
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.optim import lr_scheduler
from torch.nn.utils.rnn import pack_padded_sequence

from fairseq_lrn import LRN
from fairseq_lrn.modules.attention import DotProductAttention
from fairseq_lrn.modules.cells import build_cell
from fairseq_lrn.ops import linear_cross_entropy, lrn_scan, top_log_probs


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A directory with dictionaries for fairseq."""
    directory = tmp_path_factory.mktemp("data")
    dictionary = Dictionary()
    for number in range(20):
        dictionary.add_symbol(f"word{number}")
    for lang in ("en", "de"):
        dictionary.save(str(directory / f"dict.{lang}.txt"))
    return str(directory)


def configure(data, *given):
    """Do everything that fairseq-train does with its options before it trains."""
    arguments = [data, "-s", "en", "-t", "de", "--arch", "lrn_tiny", "--optimizer", "torch_adam"]
    parser = options.get_training_parser()
    args = options.parse_args_and_arch(parser, [*arguments, "--lr", "0.001", *given])
    cfg = convert_namespace_to_omegaconf(args)
    task = tasks.setup_task(cfg.task)
    model = task.build_model(cfg.model)
    task.build_criterion(cfg.criterion)
    optimizer = optim.build_optimizer(cfg.optimizer, list(model.parameters()))
    lr_scheduler.build_lr_scheduler(cfg.lr_scheduler, optimizer)


def test_right_options(data):
    """They pass, so the rows of the table below do not fail for another reason."""
    configure(data)
    configure(data, "--arch", "lrn_rnmt", "--criterion", "sentence_label_smoothed_cross_entropy")
    configure(data, "--arch", "transformer_lrn", "--task", "translation_lrn")
    # The architecture's shared embeddings give way.
    configure(data, "--arch", "lrn_multi30k", "--adaptive-softmax-cutoff", "9")


FUSED = "--criterion fused_label_smoothed_cross_entropy "
SENTENCE = "--criterion sentence_label_smoothed_cross_entropy "
GNMT = "--lr-scheduler gnmt_plus "
COOLDOWN = "--lr-scheduler inverse_sqrt_cooldown --cooldown-updates "


@pytest.mark.parametrize(
    "given, culprit, remedy",
    [
        ("--arch lrn_huge", "--arch", "lrn_tiny"),
        ("--arch lrn --hidden-size 5", "--hidden-size 5", "usage:"),
        ("--cell rnn", "--cell: invalid choice: 'rnn'", "lrn.*olrn.*atr"),
        ("--cell gru --activation-fn identity", "--activation-fn identity", "leave .* out"),
        ("--activation-fn relu", "--activation-fn: invalid choice", "tanh.*identity"),
        ("--decoder-attention-heads 3", r"--decoder-attention-heads \(3\)", "change one of them"),
        ("--encoder-layers 0", "--encoder-layers", "at least 1, not 0"),
        ("--decoder-hidden-size -1", "--decoder-hidden-size", "at least 1, not -1"),
        ("--encoder-embed-dim x", "--encoder-embed-dim: invalid int value: 'x'", "usage:"),
        ("--encoder-ffn-embed-dim -1", "--encoder-ffn-embed-dim", "at least 0, not -1"),
        ("--decoder-ffn-embed-dim -1", "--decoder-ffn-embed-dim", "at least 0, not -1"),
        ("--max-source-positions 0", "--max-source-positions", "at least 1, not 0"),
        ("--dropout 1.0", "--dropout", "at least 0 and below 1, not 1.0"),
        ("--word-dropout 1.5", "--word-dropout", "at least 0 and below 1, not 1.5"),
        ("--attention-dropout -1", "--attention-dropout", "at least 0 and below 1, not -1"),
        ("--encoder-dropout-out 1", "--encoder-dropout-out", "at least 0 and below 1"),
        ("--adaptive-softmax-dropout 1", "--adaptive-softmax-dropout", "at least 0 and below 1"),
        ("--ablation abacus", "--ablation abacus is not registered", "e.g. --user-dir"),
        ("--decoder-dropout-in -0.1", "--decoder-dropout-in", "at least 0 and below 1"),
        (
            "--share-all-embeddings --encoder-embed-dim 8",
            r"--share-all-embeddings requires --encoder-embed-dim \(8\)",
            r"to match --decoder-embed-dim \(128\)",
        ),
        (
            "--share-all-embeddings --decoder-embed-path x",
            "one embedding matrix",
            "--encoder-embed-path only",
        ),
        (
            "--share-all-embeddings --encoder-freeze-embed",
            "one embedding matrix",
            "give both .* or neither",
        ),
        ("--adaptive-softmax-cutoff 9,5", "--adaptive-softmax-cutoff", "ascending .*, not 9,5"),
        ("--adaptive-softmax-cutoff x", "--adaptive-softmax-cutoff", "e.g. 2000,8000, not x"),
        ("--adaptive-softmax-cutoff 5,99", "5,99 exceeds the 24 tokens", "lower it"),
        ("--adaptive-softmax-cutoff 2,4,6,8", "2,4,6,8 makes too many tails", "give fewer"),
        (
            "--adaptive-softmax-cutoff 9 --share-decoder-input-output-embed",
            "--adaptive-softmax-cutoff",
            "add --adaptive-softmax-factor 1, or leave out .*--share-decoder-input-output-embed",
        ),
        (
            "--adaptive-softmax-cutoff 9 --adaptive-softmax-factor 0",
            "--adaptive-softmax-factor",
            "at least 1, not 0",
        ),
        ("--encoder-embed-path absent.txt", "cannot read absent.txt", "No such file"),
        ("--encoder-layers-to-keep 0,5", "--encoder-layers-to-keep 0,5", "from 0 to 0"),
        ("--decoder-layers-to-keep a", "--decoder-layers-to-keep a", "must be numbers of layers"),
        ("--arch transformer_lrn --activation-dropout 1", "--activation-dropout", "below 1, not 1"),
        ("--arch transformer_lrn --encoder-ffn-embed-dim 0", "--encoder-ffn-embed-dim", "least 1"),
        ("--arch transformer_lrn --encoder-attention-heads 3", r"heads \(3\)", "change one"),
        ("--arch lrn_rnmt --attention-heads 3", r"--attention-heads \(3\)", "change one of them"),
        ("--arch lrn_rnmt --embed-dim 0", "--embed-dim", "at least 1, not 0"),
        ("--arch lrn_rnmt --dropout 1.0", "--dropout", "at least 0 and below 1"),
        ("--arch lrn_rnmt --layout mine", "--layout: invalid choice", "zero.*paper"),
        ("--arch lrn_rnmt --cell sru --activation-fn tanh", "--activation-fn tanh", "leave .* out"),
        ("--arch lrn_rnmt --init-scale 0", "--init-scale", "above 0 and finite"),
        ("--arch lrn_rnmt --init-scale nan", "--init-scale", "above 0 and finite, not nan"),
        (
            "--arch lrn_rnmt --layout paper --no-feature-layer --embed-dim 8",
            "--no-feature-layer with --layout paper",
            "requires equal --embed-dim",
        ),
        ("--arch lrn_rnmt --decoder-layers-to-keep 1", "--decoder-layers-to-keep", "keep layer 0"),
        ("--arch lrn_rnmt --encoder-layers-to-keep 1", "--encoder-layers-to-keep", "keep layer 0"),
        (FUSED + "--autocast float16", "--autocast: invalid choice", "none.*bfloat16"),
        (FUSED + "--label-smoothing 1", "--label-smoothing", "at least 0 and below 1"),
        (FUSED + "--rdrop-alpha -1", "--rdrop-alpha", "at least 0, not -1"),
        (FUSED + "--rdrop-alpha 3 --rdrop-from-update -1", "--rdrop-from-update", "0, not -1"),
        (FUSED + "--rdrop-from-update 9", "--rdrop-from-update 9", "without --rdrop-alpha: give"),
        (SENTENCE + "--label-smoothing 1", "--label-smoothing", "at least 0 and below 1"),
        ("--adam-betas 0.9", "--adam-betas", r"two numbers.* e.g. \(0.9, 0.98\), not 0.9"),
        ("--adam-betas (0.9,1.5)", "--adam-betas", r"at least 0 and below 1.* not \(0.9,1.5\)"),
        ("--adam-eps -1", "--adam-eps", "at least 0, not -1"),
        ("--weight-decay -1", "--weight-decay", "at least 0, not -1"),
        (GNMT + "--warmup-updates 0", "--warmup-updates", "at least 1"),
        (COOLDOWN + "0 --max-update 9", "--cooldown-updates", "use --lr-scheduler inverse_sqrt"),
        (COOLDOWN + "9", r"--max-update \(0\)", "change one of them"),
        (COOLDOWN + "9 --max-update 8", "--cooldown-updates 9", "change one of them"),
        (COOLDOWN + "2 --max-update 8 --warmup-updates 0", "--warmup-updates", "at least 1"),
        (GNMT + "--lr 0.1,0.2", "gnmt_plus takes one --lr", "not one for each epoch"),
        (GNMT + "--lr-decay-start -1", "--lr-decay-start", "at least 0, not -1"),
        (GNMT + "--nstable 0", "--nstable", "at least 1"),
        (GNMT + "--lr-decay-start 5 --lr-decay-end 5", r"--lr-decay-end \(5\)", "must be above"),
        ("--task translation_lrn --length-penalty none", "--length-penalty", "power.*gnmt"),
        ("--task translation_lrn --generation-dtype int4", "--generation-dtype", "bfloat16"),
    ],
)
def test_options(data, capsys, given, culprit, remedy):
    # The parser ends the command, as for all options of fairseq.
    with pytest.raises((ValueError, SystemExit)) as caught:
        configure(data, *given.split())
    message = capsys.readouterr().err if caught.type is SystemExit else str(caught.value)
    assert re.search(culprit, message) and re.search(remedy, message, re.DOTALL), message


def test_sharing_needs_a_joined_dictionary(data, tmp_path):
    for lang, words in (("en", 20), ("de", 7)):
        dictionary = Dictionary()
        for number in range(words):
            dictionary.add_symbol(f"word{number}")
        dictionary.save(str(tmp_path / f"dict.{lang}.txt"))
    for arch in ("lrn_tiny", "lrn_rnmt", "transformer_lrn"):
        with pytest.raises(ValueError, match="--share-all-embeddings .* --joined-dictionary"):
            configure(str(tmp_path), "--arch", arch, "--share-all-embeddings")


T, B, H, C = 2, 3, 3, 5
KQV, H0 = torch.zeros(T, B, 3 * H), torch.zeros(B, H)
X, WEIGHT, TARGET = torch.zeros(4, 8), torch.zeros(9, 8), torch.zeros(4, dtype=torch.int64)
MASK = torch.zeros(B, T, dtype=torch.bool)


def scan(**change):
    return lambda: lrn_scan(**{"kqv": KQV, "h0": H0, **change})


def loss(**change):
    return lambda: linear_cross_entropy(**{"x": X, "weight": WEIGHT, "target": TARGET, **change})


def cell(**change):
    return lambda: build_cell(**{"name": "lrn", "input_size": C, "hidden_size": H, **change})


def lrn(*arguments, **options):
    """Build a layer and call it."""
    return lambda: LRN(C, 7, batch_first="padding_mask" in options)(*arguments, **options)


@pytest.mark.parametrize(
    "call, error, message",
    [
        (scan(kqv=torch.zeros(2, 9)), ValueError, "kqv .* 3 dimensions"),
        (scan(kqv=torch.zeros(2, 3, 10)), ValueError, "kqv .* 3H or 4H with H=3"),
        (scan(kqv=KQV.long()), TypeError, "kqv must .* floating point"),
        (scan(kqv=(KQV,)), ValueError, "a pair of tensors, not 1"),
        (scan(h0=torch.zeros(4, 3)), ValueError, "h0 must be B x H with B=3"),
        (scan(h0=H0.to("meta")), ValueError, "h0 is on meta, but kqv is on cpu"),
        (scan(padding_mask=torch.zeros(2, 3)), TypeError, "padding_mask must be boolean"),
        (scan(padding_mask=MASK), ValueError, "padding_mask must be T x B"),
        (scan(bias=torch.zeros(8)), ValueError, "bias must be 9 values"),
        (scan(bias=(torch.zeros(9),)), TypeError, "bias must be a pair of tensors where kqv"),
        (scan(bias=torch.zeros(9, device="meta")), ValueError, "bias is on meta, but kqv on cpu"),
        (scan(activation="relu"), ValueError, "activation must be one of .*tanh"),
        (scan(backend="abacus"), ValueError, "backend='abacus' is unknown; choose from"),
        (loss(x=torch.zeros(4, 7)), ValueError, "weight must be V x 7"),
        (loss(x=torch.zeros(2, 4, 8)), ValueError, "x must be N x C with rdrop_alpha=0.0"),
        (loss(rdrop_alpha=1.0), ValueError, "x must be 2 x N x C with rdrop_alpha=1.0"),
        (loss(rdrop_alpha=-1.0), ValueError, "rdrop_alpha must be at least 0"),
        (loss(target=TARGET[:3]), ValueError, "target must have the shape"),
        (loss(target=TARGET.int()), TypeError, "target must be torch.int64, not torch.int32"),
        (loss(label_smoothing=1.0), ValueError, "label_smoothing must be at least 0 and below 1"),
        (lambda: top_log_probs(X, 9), ValueError, "k must be from 1 to V = 8"),
        (lambda: top_log_probs(X[0], 1), ValueError, "logits must be N x V"),
        (lambda: LRN(5, 0), ValueError, "hidden_size must be at least 1"),
        (lambda: LRN(5, 7, dropout=1.5), ValueError, "dropout must lie between 0 and 1"),
        (lambda: LRN(5, 7, activation="relu"), ValueError, "activation must be one of"),
        (lrn(torch.zeros(T, B, 4)), ValueError, "C=5"),
        (lrn(torch.zeros(T, B, C), torch.zeros(2, B, 7)), ValueError, r"hx must be .*1, 3, 7"),
        (
            lrn(torch.zeros(B, T, C), padding_mask=MASK.t()),
            ValueError,
            "padding_mask must have the shape of the input",
        ),
        (
            lrn(pack_padded_sequence(torch.zeros(2, 1, C), [2]), padding_mask=MASK),
            ValueError,
            "PackedSequence has no padding",
        ),
        (cell(name="rnn"), ValueError, "cell must be one of"),
        (cell(name="gru", norm="batch"), ValueError, "norm must be one of"),
        (cell(activation="relu"), ValueError, "activation must be one of"),
        (cell(hidden_size=0), ValueError, "hidden_size must be at least 1"),
        (lambda: DotProductAttention(12, 8, 5), ValueError, r"\(12\) must be divisible by .*\(5\)"),
    ],
)
def test_calls(call, error, message):
    with pytest.raises(error, match=message):
        call()
