"""Options of fairseq's commands work with our models. docs/fairseq.md lists them."""

import functools
import re
import shutil
from argparse import Namespace
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from fairseq.models import ARCH_CONFIG_REGISTRY

from fairseq_lrn import checkpoints, load_translator
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.onnx_export import has_exporter
from translation_equivalence import SubsetTranslator, conditions, difference

LINES = 40
MODEL = ["--arch", "lrn_tiny", "--encoder-layers", "2", "--decoder-layers", "2"]
RECIPE = [
    *("--optimizer", "torch_adam", "--adam-betas", "(0.9, 0.98)", "--lr", "0.005"),
    *("--lr-scheduler", "inverse_sqrt", "--warmup-updates", "30", "--clip-norm", "1.0"),
    *("--max-tokens", "1000", "--log-format", "simple", "--log-interval", "10"),
    *("--num-workers", "0", "--required-batch-size-multiple", "1"),
]
LOSS = ["--criterion", "fused_label_smoothed_cross_entropy", "--label-smoothing", "0.1"]


@pytest.fixture(scope="module")
def trained(start, toy_data, tmp_path_factory):
    """A checkpoint early in training: its hypotheses differ, and some are wrong."""
    directory = tmp_path_factory.mktemp("trained")
    arguments = [toy_data, *MODEL, *RECIPE, *LOSS, "--save-dir", directory, "--max-update", "160"]
    arguments += ["--no-epoch-checkpoints", "--save-interval-updates", "130"]
    process = start(directory / "log", "train", *arguments)
    process.join()
    assert process.exitcode == 0, (directory / "log").read_text()[-3000:]
    return directory / "checkpoint_last.pt"


@pytest.fixture
def train(fairseq, toy_data, tmp_path):
    """A function that trains a small model in a directory of the test."""

    def train(*options, loss=LOSS):
        arguments = [toy_data, *MODEL, *RECIPE, *loss, "--save-dir", tmp_path / "checkpoints"]
        return fairseq("train", *arguments, *options)

    return train


@pytest.fixture(scope="module")
def generate(fairseq, toy_data, trained):
    """Runs fairseq-generate, once for the same options, and returns its output."""

    @functools.cache
    def generate(*options, path=trained, data=toy_data):
        arguments = [data, "--path", path, "--required-batch-size-multiple", "1"]
        return fairseq("generate", *arguments, "--batch-size", "16", *options)

    return generate


def lines(kind, output):
    """The last columns of lines of a kind, e.g. H for H-3, by sentence number."""
    found = {}
    for number, text in re.findall(rf"^{kind}-(\d+)\t(.*)$", output, re.MULTILINE):
        found.setdefault(int(number), []).append(text.split("\t")[-1])
    return found


def first(output):
    """The best hypothesis of each sentence."""
    return {number: texts[0] for number, texts in lines("H", output).items()}


def validations(output):
    """The loss of each validation, in order."""
    return [float(loss) for loss in re.findall(r"on 'valid' subset \| loss ([\d.]+)", output)]


def bleu(output):
    return float(re.search(r"BLEU4? = ([\d.]+)", output).group(1))


def test_beam_and_nbest(generate):
    greedy, beam = generate("--beam", "1"), generate("--beam", "4", "--nbest", "3")
    assert len(first(greedy)) == LINES and bleu(greedy) > 20
    hypotheses = lines("H", beam)
    assert all(len(set(texts)) == 3 for texts in hypotheses.values())
    scores = re.findall(r"^H-\d+\t(\S+)\t", beam, re.MULTILINE)
    for best in range(0, 3 * LINES, 3):
        sentence_scores = [float(score) for score in scores[best : best + 3]]
        assert sentence_scores == sorted(sentence_scores, reverse=True)
    assert first(beam) != first(greedy)


def test_sampling(generate):
    options = ["--beam", "1", "--sampling", "--sampling-topk", "5"]
    sampled, other = (first(generate(*options, "--seed", seed)) for seed in (1, 2))
    again = first(generate.__wrapped__(*options, "--seed", 1))
    assert sampled == again != other


def test_diverse_beam(generate):
    common = ["--beam", "4", "--nbest", "4"]
    plain = lines("H", generate(*common))
    options = ["--diverse-beam-groups", "2", "--diverse-beam-strength", "2"]
    diverse = lines("H", generate(*common, *options))

    def first_words(hypotheses):
        return sum(len({text.split()[0] for text in texts}) for texts in hypotheses.values())

    assert first_words(diverse) > first_words(plain)
    # fairseq alone goes on with finished hypotheses.
    assert not any("</s>" in text for texts in diverse.values() for text in texts)


def test_prefix(generate):
    """Hypotheses begin with the first tokens of the reference."""
    output = generate("--beam", "3", "--prefix-size", "8")
    for number, texts in lines("H", output).items():
        assert texts[0].split()[:8] == lines("T", output)[number][0].split()[:8]
    assert first(output) != first(generate("--beam", "3"))


def test_constraints(fairseq, toy_data, trained, generate, tmp_path):
    """Each translation contains the required token."""
    source = lines("S", generate("--beam", "1"))
    plain, required = first(generate("--beam", "5")), {}
    sentences = []
    for number in range(5):
        required[number] = max(plain[(number + 1) % 5].split(), key=len)
        sentences.append(f"{source[number][0]}\t{required[number]}\n")
    (tmp_path / "sentences").write_text("".join(sentences))
    arguments = [toy_data, "--path", trained, "-s", "en", "-t", "de", "--beam", "5"]
    output = fairseq("interactive", *arguments, "--constraints", "--input", tmp_path / "sentences")
    found = first(output)
    assert len(found) == 5
    assert all(required[number] in found[number].split() for number in found)


@pytest.mark.parametrize("kind", ["hard", "soft"])
def test_alignment(generate, kind):
    output = generate("--beam", "2", "--print-alignment", kind)
    assert first(output) == first(generate("--beam", "2"))
    alignments = lines("A", output)
    assert len(alignments) == LINES
    for number, texts in alignments.items():
        words, target = lines("S", output)[number][0].split(), lines("H", output)[number][0].split()
        if kind == "hard":
            pairs = [pair.split("-") for pair in texts[0].split()]
            assert [int(position) for _, position in pairs] == [*range(len(target))]
            assert all(0 <= int(position) <= len(words) for position, _ in pairs)
        else:
            rows = [[float(p) for p in row.split(",")] for row in texts[0].split()]
            assert len(rows) == len(target) + 1
            assert all(abs(sum(row) - 1) < 0.01 for row in rows)


def test_remove_bpe_and_sacrebleu(generate):
    pieces = generate("--beam", "2")
    words = generate("--beam", "2", "--remove-bpe", "sentencepiece", "--scoring", "sacrebleu")
    for number, text in first(pieces).items():
        assert text.replace(" ", "").replace("\u2581", " ").strip() == first(words)[number]
    assert 0 < bleu(words) <= 100 and "BLEU" in words


def test_ensemble(generate, trained):
    (earlier,) = trained.parent.glob("checkpoint_*_130.pt")
    alone = [first(generate(path=path)) for path in (trained, earlier)]
    ensemble = first(generate(path=f"{trained}:{earlier}"))
    assert len(ensemble) == LINES and ensemble not in alone


def test_language_model(command, fairseq, generate, toy_data, tmp_path):
    """Shallow fusion with a language model of fairseq."""
    arguments = ["--only-source", "--workers", "1", "--destdir", tmp_path / "lm"]
    text = Path(toy_data) / "text"
    arguments += ["--trainpref", text / "train.bpe.de", "--validpref", text / "valid.bpe.de"]
    command("fairseq-preprocess", *arguments, "--srcdict", Path(toy_data) / "dict.de.txt")
    options = ["--task", "language_modeling", "--arch", "transformer_lm", "--decoder-layers", "1"]
    options += ["--decoder-embed-dim", "32", "--decoder-ffn-embed-dim", "32"]
    options += ["--decoder-attention-heads", "2", "--optimizer", "adam", "--lr", "0.005"]
    options += ["--max-tokens", "2000", "--tokens-per-sample", "64", "--max-update", "30"]
    options += ["--sample-break-mode", "complete", "--num-workers", "0"]
    fairseq("train", tmp_path / "lm", *options, "--save-dir", tmp_path / "lm")
    # fairseq reads the dictionary of the language model from the directory of the data.
    data = shutil.copytree(toy_data, tmp_path / "data")
    shutil.copy(data / "dict.de.txt", data / "dict.txt")
    language_model = ["--lm-path", tmp_path / "lm" / "checkpoint_last.pt"]
    alone, *fused = (
        first(generate("--beam", "3", *chosen, data=data))
        for chosen in (
            [],
            [*language_model, "--lm-weight", "0"],
            [*language_model, "--lm-weight", "0.5"],
        )
    )
    assert fused[0] == alone != fused[1]


def test_layers_to_keep(generate):
    overrides = "{'encoder_layers_to_keep': '0', 'decoder_layers_to_keep': '0,1'}"
    output = generate("--model-overrides", overrides)
    assert len(first(output)) == LINES and first(output) != first(generate())


def test_retain_dropout(generate):
    """With dropout in generation, the translations depend on the seed."""
    options = ["--retain-dropout", "--beam", "1"]
    translations, others = (first(generate(*options, "--seed", seed)) for seed in (1, 2))
    assert translations != others
    without_effect = [*options, "--retain-dropout-modules", '["TransformerEncoder"]']
    assert first(generate(*without_effect)) == first(generate("--beam", "1"))


def test_validate(fairseq, toy_data, trained):
    output = fairseq(
        *("validate", toy_data, "--path", trained, "--task", "translation"),
        *("--max-tokens", "1000", "--required-batch-size-multiple", "1"),
    )
    last = validations((trained.parent / "log").read_text())[-1]
    assert f"| loss {last} |" in output


def test_finetuning(train, trained):
    """Training starts from the parameters of another model, at update 0."""
    output = train("--finetune-from-model", trained, "--max-update", "3", "--lr", "0.00001")
    assert "loading pretrained model from" in output
    assert "num_updates 3" in output
    before = validations((trained.parent / "log").read_text())[-1]
    assert abs(validations(output)[-1] - before) < 0.1


def test_patience(train):
    short = "--train-subset", "valid", "--num-workers", "0"  # two updates in an epoch
    output = train(
        *short, "--patience", "2", "--max-epoch", "20", "--lr", "1e-12", "--warmup-updates", "1"
    )
    assert "early stop since valid performance hasn't improved for last 2 runs" in output


def test_rdrop_from_update(train):
    """R-Drop begins after the given update, also in a training run that is resumed."""
    options = ["--rdrop-alpha", "3", "--rdrop-from-update", "5", "--log-interval", "1"]
    for last in (3, 7, 9):
        output = train(*options, "--no-epoch-checkpoints", "--max-update", last)
        for line in re.findall(r"train_inner \| .*", output):
            update = int(re.search(r"num_updates=(\d+)", line).group(1))
            assert ("rdrop_kl_loss" in line) == (update > 5), line
        assert f"num_updates={last}," in output


def test_check_translations(command, trained, toy_data):
    """The script finds no difference between conditions, but a difference between models."""
    check = ["python", "scripts/check_translations.py", toy_data, "--path", trained]
    output = command(*check, "--beam", "2", "--gen-subset", "test1")
    rows = re.findall(r"^\| (.+?) \| 12 \| (\d+) \| (\S+) \|$", output, re.MULTILINE)
    names = [name for name, _, _ in rows]
    assert "our search, batches of 1" in names
    assert "backend reference" in names
    assert all(different == "0" and float(score) < 1e-5 for _, different, score in rows)
    refused = command(*check, "--only", "abacus", ok=False)
    assert "error: --only abacus: no row has a name with this text" in refused
    path = trained.with_name("other.pt")
    state = checkpoints.load(str(trained))
    state["model"]["decoder.output_projection.weight"][4:].mul_(-1)
    checkpoints.save(state, str(path))
    translator = SubsetTranslator(str(path), toy_data, "test1", 2)
    (first, *_) = conditions([])
    found = SubsetTranslator(str(trained), toy_data, "test1", 2).translate(first)
    result = difference("another model", translator.translate(first), found)
    assert result.sentences == 12 and result.different > 9


@pytest.mark.skipif(not torch.cuda.is_available(), reason="fairseq has these options for GPUs only")
@pytest.mark.parametrize("option", ["--fp16", "--amp"])
def test_half_precision(train, option):
    """For half precision on a CPU, see test_half_precision.py."""
    exact, loss = (
        float(re.findall(r"valid on 'valid' subset \| loss ([\d.]+)", output)[-1])
        for output in (
            train(*options, "--max-epoch", "20", "--no-save") for options in ([], [option])
        )
    )
    assert exact < 6.0 and abs(loss - exact) < 0.05


def test_task_without_a_dataclass(fairseq, toy_data, tmp_path):
    """Such a task has a namespace as its options. Here a model of this package."""
    task = ["--task", "translation_multi_simple_epoch", "--langs", "en,de", "--lang-pairs", "en-de"]
    task += ["--sampling-method", "temperature", "--encoder-langtok", "src", "--decoder-langtok"]
    options = ["--arch", "lrn_tiny", *RECIPE, "--no-epoch-checkpoints", "--save-dir", tmp_path]
    for updates in (2, 30):  # the second training run resumes, and goes on to later epochs
        output = fairseq("train", toy_data, *task, *options, "--max-update", updates)
        assert "cannot put files beside the checkpoint" not in output
    assert "Loaded checkpoint" in output and (tmp_path / "prepare.json").is_file()
    checkpoint = tmp_path / "checkpoint_last.pt"
    arguments = [*task, "-s", "en", "-t", "de", "--path", checkpoint, "--max-tokens", "1000"]
    arguments += ["--required-batch-size-multiple", "1", "--max-len-b", "20"]
    assert len(first(fairseq("generate", toy_data, *arguments))) == LINES
    message = "was trained with --task translation_multi_simple_epoch, but only models of --task"
    with pytest.raises(InputError, match=message):
        load_translator(str(checkpoint))


def test_other_models_are_not_changed(cold_command):
    """One case of the script. Its two sides run without and with the plugin."""
    output = cold_command("python", "scripts/check_fairseq_tasks.py", "epoch, transformer_tiny")
    assert output.count("exit statuses 0 0 0 0") >= 2 and "DIFFERENT" not in output


def test_workers_of_data_loading(train):
    """Training with worker processes resumes, and runs for several epochs without errors."""
    train("--num-workers", "1", "--max-epoch", "1")
    output = train("--num-workers", "1", "--max-epoch", "5", "--no-save")
    assert "Loaded checkpoint" in output and "end of epoch 5" in output
    assert "can only test a child process" not in output and "Traceback" not in output
    seconds = [float(wall) for wall in re.findall(r"train \| epoch .* \| wall (\d+)", output)]
    assert seconds[-1] - seconds[0] < 60


def test_exponential_moving_average(train, tmp_path):
    options = ["--store-ema", "--ema-decay", "0.9", "--no-epoch-checkpoints"]
    train(*options, "--max-update", "5")
    output = train(*options, "--max-update", "10")
    assert "Loaded checkpoint" in output
    state = checkpoints.load(str(tmp_path / "checkpoints" / "checkpoint_last.pt"))
    average = state["extra_state"]["ema"]
    assert average.keys() == state["model"].keys()
    assert all(average[name].isfinite().all() for name in average)
    assert any(not torch.equal(average[name], value) for name, value in state["model"].items())
    # A finished training run makes no further update if it is started again.
    assert "--max-update is 10: it is finished" in train(*options, "--max-update", "10")
    again = checkpoints.load(str(tmp_path / "checkpoints" / "checkpoint_last.pt"))
    assert again["optimizer_history"][-1]["num_updates"] == 10
    assert all(torch.equal(again["model"][name], value) for name, value in state["model"].items())


def test_tensorboard(train, tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX is not installed")
    train("--tensorboard-logdir", tmp_path / "board", "--max-update", "10")
    assert list((tmp_path / "board").rglob("*tfevents*"))


def test_adaptive_softmax(train, generate, tmp_path):
    options = ["--adaptive-softmax-cutoff", "50,150", "--max-update", "100"]
    loss = ["--criterion", "adaptive_loss", "--ddp-backend", "legacy_ddp"]
    output = train(*options, "--no-epoch-checkpoints", loss=loss)
    losses = validations(output)
    assert losses[-1] < losses[0] - 1
    checkpoint = tmp_path / "checkpoints" / "checkpoint_last.pt"
    assert len(first(generate("--beam", "3", path=checkpoint))) == LINES


def test_hydra_train(command, toy_data, tmp_path):
    """The shipped configuration has the options of the architecture of its name."""
    values = {
        "common.user_dir": command.root / "fairseq_lrn",
        "task.data": toy_data,
        "checkpoint.save_dir": tmp_path / "checkpoints",
    }
    page = (command.root / "docs" / "fairseq.md").read_text()
    (shown,) = re.findall(r"^fairseq-hydra-train (.*\n.*\n.*)$", page, re.MULTILINE)
    assert re.findall(r"([\w.]+)=", shown) == list(values)
    assert shown.startswith('--config-dir "$PWD/fairseq_lrn/config" --config-name lrn_multi30k ')
    directory = command.root / "fairseq_lrn" / "config"
    command(
        *("fairseq-hydra-train", "--config-dir", directory, "--config-name", "lrn_multi30k"),
        *(f"{name}={value}" for name, value in values.items()),
        *(f"hydra.run.dir={tmp_path}", "optimization.max_update=3", "dataset.max_tokens=500"),
        "lr_scheduler.cooldown_updates=1",
    )
    state = torch.load(tmp_path / "checkpoints" / "checkpoint_last.pt", weights_only=True)
    args = Namespace(_name="lrn_multi30k")
    ARCH_CONFIG_REGISTRY["lrn_multi30k"](args)
    config = state["cfg"]["model"]
    assert {name: config[name] for name in vars(args)} == vars(args)
    assert state["optimizer_history"][-1]["num_updates"] == 3


def test_onnx(command, prepared_data, untrained, tmp_path):
    """Greedy translation of single sentences with onnxruntime, after `fairseq-lrn export`."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    if not has_exporter():
        pytest.skip("this torch is too old")
    export = ["fairseq-lrn", "export"]
    checkpoint, data = untrained / "checkpoint_best.pt", str(prepared_data)
    output = command(*export, checkpoint, data, "--destdir", tmp_path / "onnx")
    paths = [tmp_path / "onnx" / f"{part}.onnx" for part in ("encoder", "decoder")]
    assert all(f"wrote {path}" in output for path in paths)
    encoder, decoder = (onnxruntime.InferenceSession(str(path)) for path in paths)
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task(
        [str(checkpoint)], arg_overrides={"data": data}
    )
    task.load_dataset("valid")
    generator = task.build_generator([model], Namespace(beam=1, max_len_a=0, max_len_b=15))
    for item in [task.dataset("valid")[index] for index in range(3)]:
        source = item["source"].unsqueeze(0)
        sample = {"net_input": {"src_tokens": source, "src_lengths": source.new_tensor([1])}}
        expected = task.inference_step(generator, [model], sample)[0][0]["tokens"].tolist()
        states, memory, mask = encoder.run(None, {"src_tokens": source.numpy()})
        found = [task.target_dictionary.eos()]
        while len(found) < len(expected):
            inputs = {"states": states, "memory": memory, "padding_mask": mask}
            inputs["tokens"] = source.new_tensor(found[-1:]).numpy()
            log_probs, states = decoder.run(None, inputs)
            log_probs[:, task.target_dictionary.pad()] = -float("inf")
            found.append(int(log_probs.argmax()))
        assert found[1:] == expected[:-1] and len(expected) > 1  # the last one may be enforced
    output = command(*export, data, data, "--destdir", tmp_path / "x", ok=False)
    assert f"error: {data} has no averaged.pt, checkpoint_best.pt or" in output
