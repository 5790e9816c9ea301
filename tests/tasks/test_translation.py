"""The task translation_lrn: its generators, the data type of matrix products, validation BLEU."""

from argparse import Namespace

import pytest
import torch
from fairseq import options as training_options
from fairseq import tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.logging import metrics
from fairseq.sequence_generator import SequenceGenerator, SequenceGeneratorWithAlignment
from fairseq.sequence_scorer import SequenceScorer
from fairseq.tasks import TASK_REGISTRY
from sacrebleu import corpus_bleu

from fairseq_lrn.data.raw_text import RawText
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.beam_search import RecurrentSequenceGenerator
from fairseq_lrn.generation.length_penalty import (
    GNMTSequenceGenerator,
    GNMTSequenceGeneratorWithAlignment,
)
from fairseq_lrn.modules import precision
from fairseq_lrn.modules.linear import can_pack
from fairseq_lrn.tasks import LRNTranslationTask
from fairseq_lrn.tasks.translation import EXAMPLES, LRNTranslationConfig
from kernels import needs_int8
from searching import LENGTHS, livelier, sample_of
from toy_checkpoints import SMALL, save_checkpoint


def test_registered_with_fairseq():
    assert TASK_REGISTRY["translation_lrn"] is LRNTranslationTask


@pytest.mark.parametrize(
    "penalty, alignment, expected",
    [
        ("gnmt", None, GNMTSequenceGenerator),
        ("gnmt", "hard", GNMTSequenceGeneratorWithAlignment),
        ("power", None, RecurrentSequenceGenerator),
        ("power", "hard", SequenceGeneratorWithAlignment),
    ],
)
def test_generator(build, task, penalty, alignment, expected):
    config = LRNTranslationConfig(length_penalty=penalty)
    translation = LRNTranslationTask(config, task.source_dictionary, task.target_dictionary)
    args = Namespace(beam=3, lenpen=0.6, print_alignment=alignment)
    generator = translation.build_generator([build()], args)
    assert type(generator) is expected
    assert generator.len_penalty == 0.6


def test_scoring_a_reference(build, task):
    """--score-reference has a scorer of its own."""
    translation = LRNTranslationTask(LRNTranslationConfig(), *2 * [task.target_dictionary])
    generator = translation.build_generator([build()], Namespace(score_reference=True))
    assert isinstance(generator, SequenceScorer)


needs_bfloat16 = pytest.mark.skipif(
    not can_pack(torch.bfloat16), reason="this processor has no bfloat16 products"
)
ROUNDING_TYPES = [
    pytest.param(torch.bfloat16, id="bfloat16", marks=needs_bfloat16),
    pytest.param(torch.int8, id="int8", marks=needs_int8),
]


# Widths that fill whole tiles, as in real models, and other widths.
@pytest.mark.parametrize("options", [{"decoder_embed_dim": 64, "decoder_hidden_size": 64}, {}])
@pytest.mark.parametrize("dtype", ROUNDING_TYPES)
def test_generation_dtype(build, batch, task, dtype, options):
    model = livelier(build(**options))
    model.decoder.need_attn = False
    dictionary, sample = task.target_dictionary, sample_of(batch(LENGTHS))

    def generate(name):
        config = LRNTranslationConfig(generation_dtype=name)
        translation = LRNTranslationTask(config, dictionary, dictionary)
        generator = translation.build_generator([model], Namespace(beam=4, max_len_b=9))
        found = translation.inference_step(generator, [model], sample)
        return torch.stack([hypotheses[0]["score"] for hypotheses in found])

    name = str(dtype).split(".")[1]
    exact, rounded = generate("float32"), generate(name)
    assert 0 < (rounded - exact).abs().max() < 0.05
    # A second generator uses the packed weights of the first one.
    packed = model.decoder.output_projection._packed
    assert packed.weight.dtype == dtype
    torch.testing.assert_close(generate(name), rounded)
    assert model.decoder.output_projection._packed is packed
    torch.testing.assert_close(generate("float32"), exact, rtol=0, atol=1e-5)
    generate(name)
    # fairseq's search, layer by layer, multiplies by the same packed weights.
    reference = SequenceGenerator([model], dictionary, beam_size=4, max_len_b=9)
    scores = [hypotheses[0]["score"] for hypotheses in reference.generate([model], sample)]
    torch.testing.assert_close(torch.stack(scores), rounded, rtol=0, atol=0.02)


@pytest.mark.parametrize("name", ["bfloat16", "int8"])
def test_unavailable_generation_dtype(build, task, monkeypatch, caplog, name):
    config = LRNTranslationConfig(generation_dtype=name)

    def warnings(model):
        translation = LRNTranslationTask(config, task.target_dictionary, task.target_dictionary)
        caplog.clear()
        for _ in range(2):
            translation.build_generator([model], Namespace(beam=4))
        return caplog.text

    monkeypatch.setattr(precision, "can_pack", lambda dtype: False)
    warning = f"--generation-dtype {name} has no effect: "
    model = build().eval()
    assert warnings(model).count(warning + precision.REQUIREMENTS[name]) == 1
    assert warnings(model.to("meta")).count(warning + "only CPUs support it") == 1
    other_model = torch.nn.Linear(2, 2).eval()
    assert warning + "only models of fairseq_lrn support it" in warnings(other_model)


@needs_int8
def test_weights_that_cannot_be_quantised(build, task, caplog):
    model, dictionary = build().eval(), task.target_dictionary
    translation = LRNTranslationTask(
        LRNTranslationConfig(generation_dtype="int8"), *2 * [dictionary]
    )
    translation.build_generator([model.double()], Namespace(beam=4))
    assert "has no effect: it needs float32 weights" in caplog.text
    with torch.no_grad():
        model.float().decoder.output_projection.weight[5, 3] = torch.nan
    with pytest.raises(InputError, match="the weights are not finite"):
        translation.build_generator([model], Namespace(beam=4))


@pytest.fixture
def validate(prepared_data, caplog):
    """A function that validates an untrained model.

    It returns the task, the hypotheses of the batches and the logged BLEU.
    """

    def validate(*options):
        parser = training_options.get_training_parser()
        arguments = [str(prepared_data), *SMALL, "--task", "translation_lrn", "--eval-bleu"]
        args = training_options.parse_args_and_arch(parser, [*arguments, *options])
        cfg = convert_namespace_to_omegaconf(args)
        translation = tasks.setup_task(cfg.task)
        model = translation.build_model(cfg.model).eval()
        criterion = translation.build_criterion(cfg.criterion)
        translation.load_dataset("valid")
        dataset = translation.dataset("valid")
        batches = translation.get_batch_iterator(dataset, max_sentences=100)
        samples = list(batches.next_epoch_itr(shuffle=False))
        generator = translation.sequence_generator
        found = [translation.inference_step(generator, [model], sample) for sample in samples]
        with metrics.aggregate(new_root=True) as logged, caplog.at_level("INFO"):
            for sample in samples:
                output = translation.valid_step(sample, model, criterion)[2]
                translation.reduce_metrics([output], criterion)
        return translation, samples, found, logged.get_smoothed_values()["bleu"]

    return validate


def test_validation_bleu(validate, prepared_data, caplog):
    """It is BLEU of the raw text; the first sentences of the validation set are logged."""
    translation, samples, found, bleu = validate()
    assert translation.sequence_generator.beam_size == 1
    assert translation.sequence_generator.unavailable_reason() == ""  # the faster search
    lines = {
        lang: (prepared_data.parent / f"train.{lang}").read_text().splitlines()
        for lang in ("en", "de")
    }
    raw, dictionary = RawText(str(prepared_data)), translation.target_dictionary
    numbers = [number for sample in samples for number in sample["id"].tolist()]
    tokens = [best[0]["tokens"] for batch in found for best in batch]
    unknown = "UNKNOWNTOKENINHYP"  # which is no word of a reference
    texts = [raw.text(dictionary.string(each, unk_string=unknown)) for each in tokens]
    references = [lines["de"][number] for number in numbers]
    assert bleu == round(corpus_bleu(texts, [references]).score, 2)
    examples = [
        record.message for record in caplog.records if record.message.startswith("example ")
    ]
    assert len(examples) == 3 * EXAMPLES
    for number, text in zip(numbers, texts):
        if number < EXAMPLES:
            assert f"example {number + 1}, translation: {text}" in examples
            assert f"example {number + 1}, reference:   {lines['de'][number]}" in examples


@pytest.mark.parametrize(
    "options", [["--eval-bleu-remove-bpe", "sentencepiece"], ["--eval-tokenized-bleu"]]
)
def test_validation_bleu_by_fairseq(validate, caplog, options):
    *_, bleu = validate(
        *options, "--eval-bleu-print-samples", "--eval-bleu-args", '{"beam": 2, "max_len_b": 9}'
    )
    assert bleu >= 0
    assert "example hypothesis: " in caplog.text and "example 1, " not in caplog.text


def test_bleu_of_data_without_a_record(task):
    """Only fairseq-lrn prepare says how to restore raw text."""
    config = LRNTranslationConfig(data="data-bin", eval_bleu=True)
    assert LRNTranslationTask(config, *2 * [task.target_dictionary])._raw_text() is None


@pytest.mark.parametrize(
    "text, message",
    [
        ("beam=5", "--eval-bleu-args beam=5 is not JSON .*give a JSON object such as"),
        ("[5]", r"--eval-bleu-args \[5\] is not an object"),
        ('{"beam": "5"}', '--eval-bleu-args has beam = "5", but this option is of type int'),
        ('{"lenpen": true}', "--eval-bleu-args has lenpen = true, but .* of type float"),
        ('{"sampling": 1}', "--eval-bleu-args has sampling = 1, but .* of type bool"),
        ('{"beam": 2, "bean": 5}', "--eval-bleu-args has bean, which is no option"),
    ],
)
def test_options_of_the_search_in_validation(task, text, message):
    config = LRNTranslationConfig(data="data-bin", eval_bleu=True, eval_bleu_args=text)
    with pytest.raises(InputError, match=message):
        LRNTranslationTask(config, *2 * [task.target_dictionary]).build_model(None)


@pytest.fixture
def language_model(task, tmp_path):
    """A checkpoint of a language model of the target dictionary."""
    task.target_dictionary.save(str(tmp_path / "dict.txt"))
    path = tmp_path / "lm.pt"
    options = "--task", "stateful_language_modeling", "--batch-size", "2"
    sizes = ["--decoder-embed-dim", "8", "--decoder-hidden-size", "8"]
    save_checkpoint(path, tmp_path, *options, model=["--arch", "lrn_lm", *sizes])
    return str(path)


@pytest.mark.parametrize("saved, is_warned", [("en-de", False), ("de-en", True), (None, False)])
def test_languages_of_a_checkpoint(task, caplog, saved, is_warned):
    """With a joint dictionary, nothing else tells the directions apart."""

    def build(source, target):
        cfg = LRNTranslationConfig(source_lang=source, target_lang=target)
        return LRNTranslationTask(cfg, *2 * [task.target_dictionary])

    state = build(*saved.split("-")).state_dict() if saved else {}
    translation = build("en", "de")
    translation.load_state_dict(state)
    message = "trained to translate from de to en, and the data are for en to de: give other data"
    assert (message in caplog.text) == is_warned == bool(caplog.records)
    assert translation.state_dict() == {"languages": ["en", "de"]}
    caplog.clear()
    build(None, None).load_state_dict(state)
    assert not caplog.records


def test_language_model(build, task, language_model):
    """fairseq-interactive and the translator do not load it, so the task does, once."""
    translation = LRNTranslationTask(LRNTranslationConfig(), *2 * [task.target_dictionary])
    args = Namespace(beam=3, lm_path=language_model, lm_weight=0.4)
    generators = [translation.build_generator([build()], args) for _ in range(2)]
    assert generators[0].lm_model is generators[1].lm_model is not None
    assert generators[0].lm_weight == 0.4 and not generators[0].lm_model.training
    assert type(generators[0].lm_model).__name__ == "LRNLanguageModel"
    given = translation.build_generator([build()], args, extra_gen_cls_kwargs={"lm_model": None})
    assert given.lm_model is None  # fairseq-generate loads it


def test_language_model_without_a_weight(build, task, caplog):
    """It would slow the search for nothing."""
    translation = LRNTranslationTask(LRNTranslationConfig(), *2 * [task.target_dictionary])
    args = Namespace(beam=3, lm_path="no.pt", lm_weight=0.0)
    for given in ({}, {"lm_model": build(), "lm_weight": 0.0}):  # the latter: fairseq-generate
        caplog.clear()
        generator = translation.build_generator([build()], args, extra_gen_cls_kwargs=given)
        assert generator.lm_model is None
        assert "--lm-path has no effect with --lm-weight 0, the default" in caplog.text


def test_language_model_that_does_not_fit(build, task, language_model, untrained, tmp_path):
    translation = LRNTranslationTask(LRNTranslationConfig(), *2 * [task.target_dictionary])
    args = Namespace(beam=3, lm_path=str(tmp_path / "no.pt"), lm_weight=0.4)
    with pytest.raises(InputError, match="cannot read checkpoint .*no.pt"):
        translation.build_generator([build()], args)
    args.lm_path = str(untrained / "checkpoint_best.pt")
    with pytest.raises(InputError, match="was trained with --task translation: give a language m"):
        translation.build_generator([build()], args)
    task.target_dictionary.add_symbol("another")
    args.lm_path = language_model
    with pytest.raises(InputError, match="the dictionary of the language model .*lm.pt is not"):
        translation.build_generator([build()], args)
    with pytest.raises(InputError, match="the dictionary of the language model .*lm.pt is not"):
        # fairseq-generate has loaded it.
        translation.build_generator([build()], args, extra_gen_cls_kwargs={"lm_model": None})
    (tmp_path / "dict.txt").unlink()
    with pytest.raises(InputError, match="a dictionary of 34 entries, but the data have one of 35"):
        translation.build_generator([build()], args)
