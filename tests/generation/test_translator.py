"""Translating raw text, with an untrained model. end_to_end/test_translate.py has a trained one."""

import copy
import math
import os
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from fairseq_lrn import checkpoints, load_translator
from fairseq_lrn.data import text_files
from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.errors import InputError
from fairseq_lrn.modules.linear import Packable
from toy_checkpoints import SMALL, save_checkpoint

SHORT = {"max_len_a": 0, "max_len_b": 8}  # an untrained model seldom ends a sentence


# Tiny models of fairseq, and one that uses fairseq's encoder.
SIZES = {
    "lstm": "encoder-embed-dim encoder-hidden-size decoder-embed-dim decoder-hidden-size "
    "decoder-out-embed-dim",
    "transformer_tiny": "",
    "transformer_lrn": "encoder-embed-dim encoder-ffn-embed-dim decoder-embed-dim "
    "decoder-hidden-size",
}
MODELS = {
    arch: ["--arch", arch, *(part for name in sizes.split() for part in (f"--{name}", "16"))]
    for arch, sizes in SIZES.items()
}


@pytest.fixture(scope="module")
def translator(untrained):
    return load_translator(str(untrained))


@pytest.fixture(scope="module")
def source(prepared_data):
    return read_lines(str(prepared_data.parent / "train.en"))[:5]


def test_one_or_several_sentences(translator, source):
    texts = translator(source, **SHORT)
    assert len(texts) == 5 and all(isinstance(text, str) for text in texts)
    assert translator(source[3], **SHORT) == texts[3]
    assert translator(source, batch_size=1, **SHORT) == texts
    assert translator([], **SHORT) == []


def test_lines_of_a_text(translator, source):
    """Each is translated, and the translation has the same lines."""
    one, two = translator(source[:2], **SHORT)
    text = f"{source[0]}\n\n {source[1]}\r\n"
    assert translator(text, **SHORT) == f"{one}\n\n{two}\n"
    assert translator([source[1], text], **SHORT) == [two, f"{one}\n\n{two}\n"]
    assert translator("") == "" and translator("\n\n") == "\n\n"
    # A line that was read from a file has one at its end.
    assert translator([f"{source[0]}\r\n", "\n"], **SHORT) == [one, ""]
    # As in files, nothing else ends a line.
    for space in ("\u2028", "\x0b", "\x85", "\r"):
        assert translator(f"{source[0]}{space}{source[1]}", **SHORT) == translator(
            f"{source[0]} {source[1]}", **SHORT
        )


@pytest.mark.parametrize("wrap", [iter, tuple, lambda lines: (line for line in lines)])
def test_any_iterable(translator, source, wrap):
    assert translator(wrap(source[:2]), **SHORT) == translator(source[:2], **SHORT)
    found = translator.hypotheses(wrap(source[:2]), **SHORT)
    assert [translations[0].text for translations in found] == translator(source[:2], **SHORT)


def test_open_file(translator, source, tmp_path):
    (tmp_path / "text").write_text("\n".join(source[:3]) + "\n")
    with open(tmp_path / "text") as file:
        found = translator.hypotheses(file, **SHORT)
    assert [translations[0].text for translations in found] == translator(source[:3], **SHORT)


@pytest.mark.parametrize("arch", ["lrn_tiny", *MODELS])
def test_threads(arch, prepared_data, tmp_path, source):
    """Nothing that one call sets reaches another: attention, beam, length."""
    path = tmp_path / "checkpoint_last.pt"
    save_checkpoint(path, prepared_data, model=MODELS.get(arch, SMALL))
    translator = load_translator(path)
    calls = [
        {"beam": beam, "attention": attention, **SHORT}
        for beam in (1, 3)
        for attention in (True, False)
    ]

    def translate(options):
        (found,) = translator.hypotheses(source[:1], **options)
        return found[0].text, found[0].attention is not None

    expected = list(map(translate, calls))
    assert [has_attention for _, has_attention in expected] == [True, False, True, False]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(translate, calls * 10)) == expected * 10
    assert not getattr(translator.models[0].decoder, "need_attn", False)


def test_attention_leaves_the_model_as_it_was(translator, source):
    """Also while it is computed, because other threads may translate then."""
    model, seen = translator.models[0], []
    handle = model.encoder.register_forward_hook(lambda *_: seen.append(model.decoder.need_attn))
    translator.hypotheses(source[:2], attention=True, **SHORT)
    handle.remove()
    assert seen and not any(seen)
    before = [dict(vars(module)) for module in translator.models[0].modules()]
    translator.hypotheses(source[:2], attention=True, **SHORT)
    for module, attributes in zip(translator.models[0].modules(), before):
        now = vars(module)
        assert now.keys() == attributes.keys()
        assert [n for n, value in attributes.items() if now[n] is not value] == []


@pytest.mark.parametrize("arch", ["lrn_tiny", *MODELS])
def test_copies(arch, prepared_data, tmp_path, source):
    """Copied or sent to another process, a translator is the same, packed weights included."""
    path = tmp_path / "checkpoint_last.pt"
    save_checkpoint(path, prepared_data, model=MODELS.get(arch, SMALL))
    translator = load_translator(path)
    expected = translator.hypotheses(source[:2], attention=True, **SHORT)
    for copied in (copy.deepcopy(translator), pickle.loads(pickle.dumps(translator))):
        found = copied.hypotheses(source[:2], attention=True, **SHORT)
        for (translation,), (reference,) in zip(found, expected):
            assert translation.text == reference.text
            assert translation.positional_scores == reference.positional_scores
            assert torch.equal(translation.attention, reference.attention)
        packed = [
            [isinstance(part, Packable) and part.has_packed_copy() for part in model.modules()]
            for model in (copied.models[0], translator.models[0])
        ]
        assert packed[0] == packed[1]
        with pytest.raises(RuntimeError, match="cannot train"):
            translator.models[0].train()


def test_dictionaries_are_loaded_once(untrained, caplog):
    with caplog.at_level("INFO"):
        load_translator(str(untrained))
    messages = [record.message for record in caplog.records if "dictionary" in record.message]
    assert [message.split()[0] for message in messages] == ["[en]", "[de]"]


def test_stream(translator, source):
    translations = translator.translate_lines(iter(source), buffer_size=2, **SHORT)
    assert [found[0].text for found in translations] == translator(source, **SHORT)


def test_hypotheses(translator, source):
    (translations,) = translator.hypotheses(source[:1], nbest=3, attention=True, **SHORT)
    assert len(translations) == 3
    scores = [translation.score for translation in translations]
    assert scores == sorted(scores, reverse=True) and scores[0] < 0
    for translation in translations:
        rows, columns = len(translation.words), len(translation.source_words)
        assert translation.source_words == source[0].split()
        assert translation.words == translation.text.split()
        assert translation.attention.shape == (rows + 1, columns + 1)
        torch.testing.assert_close(translation.attention.sum(1), torch.ones(rows + 1))
        assert len(translation.positional_scores) == rows + 1
        assert [target for _, target in translation.alignment] == list(range(rows))
        assert all(0 <= position < columns for position, _ in translation.alignment)


def test_attention_is_optional(translator, source):
    translation = translator.hypotheses(source[:1], **SHORT)[0][0]
    assert translation.attention is None
    with pytest.raises(InputError, match="ask for attention"):
        _ = translation.alignment


def test_empty_sentence(translator):
    (found,) = translator.hypotheses([" \t\r\n"], attention=True)
    assert [translation.text for translation in found] == [""]
    assert found[0].score == 0.0 and found[0].alignment == []
    assert found[0].positional_scores == [0.0]


def test_alignment_counts_the_words_of_the_raw_text(translator):
    """Moses makes more tokens of them than a reader sees."""
    sentence = "It's the man's dog, isn't it?"
    (found,) = translator.hypotheses([sentence], attention=True, **SHORT)
    assert found[0].source_words == sentence.split()
    assert found[0].words == found[0].text.split()
    assert found[0].attention.shape == (len(found[0].words) + 1, 7)
    assert max(position for position, _ in found[0].alignment) < 6


def test_long_sentences(translator, source, caplog):
    """The others get their translations, and a warning names the one that is too long."""
    long = "dog " * 2000
    subwords = translator.raw.subwords(long)
    options = {"max_source_length": 50, **SHORT}
    assert translator([source[0], long], **options) == [translator(source[0], **SHORT), ""]
    message = f"sentence 2 has {len(subwords)} subwords, more than the limit of 50, so its "
    assert f"{message}translation is empty: split it, or raise max_source_length" in caplog.text
    start = "".join(subwords[:50]).replace("\u2581", " ")
    assert translator(long, truncate=True, **options) == translator(start, **options)
    assert "its end is not translated" in caplog.text
    # By default, a recurrent model reads more than it was trained on.
    caplog.clear()
    ((translation,),) = translator.hypotheses([long], attention=True, **SHORT)
    assert translation.attention.shape[1] == 2001 and not caplog.text


def test_long_translations(translator, monkeypatch):
    """A translation may be twice as long as the longest sentence of its batch, and at least 200."""
    decoder = translator.models[0].decoder
    original, eos = decoder.output_layer, torch.tensor([decoder.dictionary.eos()])
    never_ends = lambda features: original(features).index_fill(-1, eos, -1e4)  # noqa: E731
    monkeypatch.setattr(decoder, "output_layer", never_ends)
    monkeypatch.setattr(translator.raw, "text", str)  # keeps the subwords
    cases = [("dog", {}), ("dog " * 70, {}), ("dog", {"max_len_b": 20}), ("dog", {"max_len_a": 3})]
    found = [len(translator(sentence, beam=1, **options).split()) for sentence, options in cases]
    short, long = (len(translator.raw.subwords(sentence)) + 1 for sentence, _ in cases[:2])
    assert found == [200, 2 * long, 20, 200 + 3 * short]


def test_scores_of_given_pairs(translator, prepared_data, source):
    """As in fairseq, and in base 2; a pair may have an empty side."""
    targets = [*read_lines(str(prepared_data.parent / "train.de"))[:4], ""]
    scored = translator.score(source, targets, attention=True, batch_size=2)
    for translation, sentence, target in zip(scored, source, targets):
        tokens = translator.encode(translator.raw.subwords(sentence))
        reference = translator.task.target_dictionary.encode_line(
            " ".join(translator.raw.target_subwords(target)), line_tokenizer=str.split
        ).long()
        with torch.no_grad():
            logits, _ = translator.models[0](
                tokens[None], torch.tensor([len(tokens)]), reference.roll(1)[None]
            )
        log_p = logits[0].log_softmax(-1).gather(1, reference[:, None])[:, 0] / math.log(2)
        assert translation.score == pytest.approx(log_p.mean().item(), rel=1e-5)
        assert sum(translation.positional_scores) == pytest.approx(log_p.sum().item(), rel=1e-5)
        assert (translation.text, translation.words) == (target, target.split())
        assert translation.attention.shape == (len(target.split()) + 1, len(sentence.split()) + 1)


def test_pairs_that_are_too_long(translator, source, caplog):
    """The others get their scores, and warnings name those that are too long."""
    long = "dog " * 100
    sources, targets = [source[0], long, source[0]], ["ein Hund", "ein Hund", long]
    found = translator.score(sources, targets, attention=True, max_length=50, first_number=5)
    assert found[0].score == translator.score(sources[:1], targets[:1])[0].score
    for side, pair, subwords in (
        ("source 6", found[1], translator.raw.subwords(long)),
        ("target 7", found[2], translator.raw.target_subwords(long)),
    ):
        assert math.isnan(pair.score) and not pair.words and not pair.alignment
        message = f"{side} has {len(subwords)} subwords, more than the limit of 50, so the pair "
        assert f"{message}has no score: split it, or raise max_length" in caplog.text
    assert not any(math.isnan(pair.score) for pair in translator.score(sources, targets))
    with pytest.raises(InputError, match="max_length must be a whole number above 0, not 0"):
        translator.score(sources, targets, max_length=0)


def test_ensemble(untrained, translator, source):
    path = str(untrained / "checkpoint_best.pt")
    assert load_translator(f"{path}:{path}")(source, **SHORT) == translator(source, **SHORT)


def test_language_model(translator, source, prepared_data, tmp_path):
    """Shallow fusion: with a large weight, the language model decides."""
    (tmp_path / "dict.txt").symlink_to(prepared_data / "dict.de.txt")
    path = tmp_path / "lm.pt"
    sizes = ["--decoder-embed-dim", "8", "--decoder-hidden-size", "8"]
    save_checkpoint(
        path,
        tmp_path,
        *("--task", "stateful_language_modeling", "--batch-size", "2"),
        model=["--arch", "lrn_lm", *sizes],
    )
    alone = translator(source, **SHORT)
    assert translator(source, lm_path=str(path), lm_weight=0.0, **SHORT) == alone
    fused = translator(source, lm_path=str(path), lm_weight=1000.0, **SHORT)
    assert fused != alone and len(set(fused)) == 1
    # fairseq's own search would take tokens that never occur.
    options = {"lm_path": str(path), "no_repeat_ngram_size": 3}
    with pytest.raises(InputError, match="a negative --lm-weight cannot be combined with --no-rep"):
        translator(source, lm_weight=-0.1, **options, **SHORT)
    assert translator(source, lm_weight=0.1, **options, **SHORT)


def test_opposite_direction(prepared_data, tmp_path):
    """A model from de to en, on data that were prepared from en to de."""
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "-s", "de", "-t", "en")
    translator = load_translator(str(tmp_path))
    assert (translator.raw.source_lang, translator.raw.target_lang) == ("de", "en")
    assert (translator.task.cfg.source_lang, translator.task.cfg.target_lang) == ("de", "en")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"beam": 0}, "beam must be a whole number above 0, not 0"),
        ({"nbest": 6}, "nbest=6 needs a beam of at least 6, not beam=5"),
        ({"batch_size": "x"}, "batch_size must be a whole number above 0, not 'x'"),
        ({"beams": 5}, "beams is not a generation option of fairseq: choose from beam, "),
        ({"lm_weight": 0.3}, "lm_weight has no effect without lm_path"),
        ({"lm_path": "no.pt"}, "lm_path has no effect without lm_weight"),
        ({"lm_path": "no.pt", "lm_weight": 0.3}, "cannot read checkpoint no.pt"),
        ({"sampling": True, "sampling_topk": 10_000}, "sampling_topk=10000 exceeds the"),
        ({"min_len": 300}, "min_len=300 exceeds the longest translation, 200 subwords: lower"),
        ({"match_source_len": True, "min_len": 5}, "min_len=5 exceeds the longest translation, 2"),
        ({"max_source_length": 0}, "max_source_length must be a whole number above 0, not 0"),
    ],
)
def test_wrong_options(translator, options, message):
    with pytest.raises(InputError, match=message):
        translator.hypotheses(["a"], **options)


WRONG_SENTENCES = [
    ("a", "give a list of sentences, not one string"),
    (None, "give a list of sentences, not NoneType"),
    (["a", 3], "sentence 2 must be a string, not int"),
    ([b"a"], "sentence 1 must be a string, not bytes: decode it first"),
    (["a", "b\nc"], "sentence 2 has several lines: give each line as a sentence of its own"),
    (["a\ud800"], r"sentence 1 has the code point U\+D800, which is not a character \(position 1"),
]


@pytest.mark.parametrize("sentences, message", WRONG_SENTENCES)
def test_wrong_sentences(translator, sentences, message):
    with pytest.raises(InputError, match=message):
        translator.hypotheses(sentences)
    with pytest.raises(
        InputError,
        match=message.replace("sentence 1", "source 1").replace("sentence 2", "source 2"),
    ):
        translator.score(sentences, sentences)
    with pytest.raises(InputError, match=message):
        list(translator.translate_lines(sentences))


def test_number_of_a_wrong_sentence_in_a_stream(translator):
    with pytest.raises(InputError, match="sentence 4 must be a string"):
        list(translator.translate_lines(["a", "b", "c", 4], buffer_size=3, **SHORT))
    with pytest.raises(InputError, match="buffer_size must be a whole number above 0, not 0"):
        list(translator.translate_lines(["a"], buffer_size=0))


def test_wrong_pairs(translator):
    with pytest.raises(InputError, match="there are 1 sources, but 2 targets"):
        translator.score(["a"], ["b", "c"])
    with pytest.raises(InputError, match="target 1 must be a string, not int"):
        translator.score(["a"], [3])


@pytest.mark.parametrize(
    "options, message",
    [
        ({"checkpoint": "none.pt"}, "cannot read checkpoint .*none.pt"),
        ({"dtype": "int4"}, "dtype must be one of float32, bfloat16, int8, not int4"),
        ({"device": "toaster"}, "device 'toaster' cannot be used"),
        ({"device": 1.5}, "device 1.5 cannot be used"),
        ({"data": "elsewhere"}, "elsewhere lacks prepare.json"),
        ({"data": 3}, "data must be a path, not int"),
    ],
)
def test_wrong_options_of_loading(untrained, options, message):
    with pytest.raises(InputError, match=message):
        load_translator(str(untrained), **options)


@pytest.mark.parametrize("path", [None, 3, [None]])
def test_wrong_path(path):
    with pytest.raises(InputError, match="path must be a path, not"):
        load_translator(path)


def test_forms_of_a_path(untrained, prepared_data):
    for path in (untrained, os.fsencode(untrained), [untrained / "checkpoint_best.pt"]):
        assert load_translator(path, data=prepared_data)("") == ""
    name = Path("checkpoint_best.pt")
    assert load_translator(untrained, checkpoint=name)("") == ""


def test_directory_with_a_colon(untrained, tmp_path, source):
    """fairseq splits paths there."""
    directory = tmp_path / "2026-11-28_10:30:00" / "checkpoints"
    shutil.copytree(untrained, directory)
    expected = load_translator(untrained)(source[0], **SHORT)
    file = directory / "checkpoint_best.pt"
    for path in (directory, file, f"{file}:{file}"):
        translator = load_translator(path)
        assert translator(source[0], **SHORT) == expected
        assert translator.task.cfg.data == str(directory)


def test_directory_without_a_checkpoint(tmp_path):
    with pytest.raises(InputError, match="has no averaged.pt, checkpoint_best.pt or checkpoint_l"):
        load_translator(str(tmp_path))


def test_files_of_raw_text(untrained, tmp_path):
    """They are found beside the checkpoint or with the training data, or are given."""
    (tmp_path / "data").mkdir()
    for name in text_files.PARALLEL.files(str(untrained)):
        shutil.copy(untrained / name, tmp_path / "data")
    checkpoint = tmp_path / "only" / "checkpoint_best.pt"
    checkpoint.parent.mkdir()
    state = torch.load(untrained / "checkpoint_best.pt")
    state["cfg"]["task"]["data"] = str(tmp_path / "data")
    torch.save(state, checkpoint)
    assert load_translator(str(checkpoint.parent))("") == ""
    state["cfg"]["task"]["data"] = "/nowhere"
    torch.save(state, checkpoint)
    with pytest.raises(InputError, match="there is no prepare.json in .*only and /nowhere"):
        load_translator(str(checkpoint.parent))
    assert load_translator(str(checkpoint), data=str(tmp_path / "data"))("") == ""


@pytest.mark.parametrize("option", ["nbest", "attention"])
def test_options_of_hypotheses_alone(translator, option):
    with pytest.raises(InputError, match=f"{option} has no effect here: call hypotheses"):
        translator("A.", **{option: 2})


def test_models_of_other_tasks(lm_checkpoints):
    with pytest.raises(InputError, match="only models of --task translation.*fairseq-lrn generate"):
        load_translator(lm_checkpoints)


def test_no_repeated_ngrams(translator, source):
    """fairseq alone forbids nothing on a CPU."""
    options = {"min_len": 30, "max_len_a": 0, "max_len_b": 40}
    for size in (1, 2, 3):
        (best,) = translator.hypotheses(source[:1], no_repeat_ngram_size=size, **options)[0]
        tokens = translator.raw.target_subwords(best.text, "the translation")
        found = list(zip(*(best.words[start:] for start in range(size))))
        assert len(tokens) >= 10 and len(found) == len(set(found))


def test_first_number_of_a_stream(translator):
    with pytest.raises(InputError, match="sentence 7 must be a string"):
        list(translator.translate_lines(["a", "b", 4], buffer_size=1, first_number=5, **SHORT))


def test_other_dictionaries(untrained, prepared_data, tmp_path):
    """Of the same size: fairseq would load the model, and translate into nonsense."""
    other = tmp_path / "other"
    shutil.copytree(untrained, other)
    for path in other.glob("dict.*.txt"):
        lines = read_lines(str(path))
        path.write_text("\n".join([*lines[1:], lines[0]]) + "\n")
    message = "other: the checkpoint has another source dictionary than the data, .*dictionary"
    with pytest.raises(InputError, match=f"{message}$"):
        load_translator(str(untrained), data=str(other))
    with pytest.raises(InputError, match=f"{message}. All models of an ensemble need the same"):
        load_translator([str(untrained), str(untrained)], data=str(other))
    old = tmp_path / "old"  # a checkpoint without checksums
    shutil.copytree(untrained, old)
    for path in old.glob("*.pt"):
        state = checkpoints.load(str(path))
        del state["model"]["dictionary_checksums"]
        checkpoints.save(state, str(path))
    message = "dict.en.txt is not the dictionary that is used here: give the data that"
    with pytest.raises(InputError, match=message):
        load_translator(str(old), data=str(other))
    with pytest.raises(InputError, match=message):
        load_translator([str(old), str(other)])


def test_weights_that_are_nan(prepared_data, tmp_path, source):
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data)
    translator = load_translator(str(tmp_path))
    with torch.no_grad():
        next(translator.models[0].parameters()).fill_(math.nan)
    with pytest.raises(InputError, match="the model's probabilities are NaN"):
        translator(source[0], **SHORT)
