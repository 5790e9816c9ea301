"""Using a language model: perplexity, scores of sentences, generated text."""

import math
import shutil
from collections import Counter

import numpy as np
import pytest
import torch
from fairseq.data import Dictionary

from fairseq_lrn import checkpoints
from fairseq_lrn.data.monolingual_text import MonolingualText
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation import language_model
from fairseq_lrn.generation.language_model import LanguageModel, choose, load_language_model
from fairseq_lrn.models import LRNLanguageModel
from fairseq_lrn.models.language_modeling.lm_config import LRNLanguageModelConfig
from toy_checkpoints import save_checkpoint

WORDS = [f"w{number}" for number in range(20)]
KINDS = {"residual": {}, "mixture": {"plain_layers": True, "mixture_of_softmaxes": 2}}


class Task:
    def __init__(self, dictionary):
        self.source_dictionary = self.target_dictionary = dictionary


@pytest.fixture(params=KINDS)
def model(request, tmp_path):
    (tmp_path / "prepare_lm.json").write_text('{"words": true, "lowercase": false}')
    dictionary = Dictionary()
    for word in WORDS:
        dictionary.add_symbol(word)
    torch.manual_seed(1)
    config = LRNLanguageModelConfig(
        decoder_embed_dim=12, decoder_hidden_size=10, **KINDS[request.param]
    )
    lm = LRNLanguageModel.build_model(config, Task(dictionary))
    for parameter in lm.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return LanguageModel(lm, dictionary, MonolingualText(str(tmp_path)), torch.device("cpu"))


@pytest.fixture
def lines():
    generator = torch.Generator().manual_seed(2)
    counts = torch.randint(0, 15, (90,), generator=generator).tolist()
    picked = [torch.randint(20, (count,), generator=generator).tolist() for count in counts]
    return [" ".join(WORDS[index] for index in line) for line in picked]


def log_p_of(model, tokens):
    """The log-probability of each token, the first one after </s>."""
    sources = torch.tensor([[2, *tokens[:-1]]])
    with torch.no_grad():
        output = model.model.get_normalized_probs(model.model(sources), True)[0]
    return output.gather(1, torch.tensor(tokens).unsqueeze(1))[:, 0]


def tokens_of(model, line):
    return [*map(model.dictionary.index, line.split()), 2]


def test_perplexity_is_that_of_one_pass(model, lines, tmp_path, monkeypatch):
    tokens = [token for line in lines for token in tokens_of(model, line)]
    expected = math.exp(-log_p_of(model, tokens).mean())
    for segment in (512, 7):
        monkeypatch.setattr(language_model, "SEGMENT", segment)
        assert model.perplexity("\n".join(lines)) == pytest.approx(expected, rel=1e-5)
        path = tmp_path / "text.txt"
        path.write_text("\n".join(lines) + "\n")
        assert model.perplexity(path) == pytest.approx(expected, rel=1e-5)
        assert model.perplexity(lines) == pytest.approx(expected, rel=1e-5)
        with open(path) as file:
            assert model.perplexity(file) == pytest.approx(expected, rel=1e-5)


def test_scores_do_not_depend_on_the_batch(model, lines, monkeypatch):
    expected = [
        float(log_p_of(model, tokens_of(model, line)).sum()) / math.log(2) for line in lines
    ]
    for batch_size, segment in ((1, 512), (7, 512), (64, 16)):
        monkeypatch.setattr(language_model, "SEGMENT", segment)
        assert model.score(lines, batch_size) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    assert model.score([]) == []


def test_the_end_of_a_string(model, lines):
    """As in a file, a line feed at the end does not begin another line."""
    text = "\n".join([*lines, "a b"])
    assert model.perplexity(text + "\n") == model.perplexity(text)
    assert model.perplexity("a\n\n") == model.perplexity(["a", ""])
    with pytest.raises(InputError, match="the text is empty"):
        model.perplexity("")


def test_special_symbols_are_unknown_words(model):
    for word in ("<s>", "<pad>", "</s>"):
        assert model.score([f"a {word} b"]) == model.score(["a <unk> b"])


def test_unknown_words(model):
    assert model.score(["abacus"]) == model.score(["<unk>"])
    assert model.count_tokens("abacus w1")[0] == 3


def test_many_unknown_words(model, caplog, monkeypatch):
    """Perplexity of them gets a warning. A written <unk> is no unknown word: corpora have it."""
    monkeypatch.setattr(language_model, "SEGMENT", 7)
    line = "w1 w2 " * 15
    assert model.count_tokens("W1 w1 <unk> <pad>") == (5, 2)
    model.perplexity([line, f"{line} w3 W4", f"{line} <unk> <unk> <unk>"])  # 1 of 98
    assert caplog.messages == []
    model.perplexity([line, line.upper()])
    assert caplog.messages[0].startswith("48.4% of the tokens of the text are unknown words")
    caplog.clear()
    model.dynamic_perplexity(line, line.upper(), columns=1)
    assert caplog.messages[0].startswith("96.8% of the tokens of the training text are unknown")


def test_a_string_that_looks_like_a_file(model, tmp_path, caplog):
    path = tmp_path / "text"
    path.write_text("w1 w2\n")
    for text in (str(path), "nofile.txt"):
        caplog.clear()
        model.perplexity(text)
        assert f"'{text}' is read as text, as every string is: for a file, give" in caplog.text
    caplog.clear()
    for text in ("w1 w2", "w1\na.txt", path, [str(path)]):
        model.perplexity(text)
    assert "is read as text" not in caplog.text


def test_most_probable_tokens(model):
    """They follow from the model itself, step by step."""
    tokens = [2, *tokens_of(model, "w3 w4")[:-1]]
    for _ in range(8):
        with torch.no_grad():
            log_p = model.model.get_normalized_probs(model.model(torch.tensor([tokens])), True)
        tokens.append(int(log_p[0, -1].argmax()))
    found = model.generate("w3 w4", length=8, temperature=0)
    assert found == model.text_of(tokens[3:], "w3 w4") == " " + model.text_of(tokens[3:])


def test_seeds(model):
    texts = [model.generate("w1", length=30, seed=seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert len({model.generate(length=30) for _ in range(3)}) == 3


def test_a_prompt_of_several_lines(model, monkeypatch):
    prompt = "w1 w2\nw3\nw4 w5"
    expected = model.generate(prompt, length=12, seed=4)
    monkeypatch.setattr(language_model, "SEGMENT", 2)
    assert model.generate(prompt, length=12, seed=4) == expected


def test_lines_of_generated_text(model):
    assert model.text_of([4, 5, 2, 2, 6]) == "w0 w1\n\nw2"
    text = model.generate(length=200, seed=1)
    tokens = Counter(text.replace("\n", " </s> ").split())
    assert sum(tokens.values()) == 200 and set(tokens) <= {*WORDS, "</s>", "<unk>"}


def test_what_never_occurs_is_not_generated(model):
    """Nor at a temperature that makes all else equally probable."""
    tokens = set(model.generate_tokens(length=300, temperature=1e6, seed=1))
    start, end = model.model.decoder.classes
    assert start == 2 and tokens == set(range(start, end))


def test_choice():
    log_p = torch.tensor([0.1, 0.5, 0.15, 0.25]).log()

    def shares(**options):
        generator = torch.Generator().manual_seed(1)
        arguments = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, **options}
        counts = Counter(choose(log_p, generator=generator, **arguments) for _ in range(4000))
        return [counts[token] / 4000 for token in range(4)]

    def near(*expected):
        return pytest.approx(expected, abs=0.03)

    assert shares() == near(0.1, 0.5, 0.15, 0.25)
    assert shares(top_k=2) == near(0, 2 / 3, 0, 1 / 3)
    assert shares(top_p=0.6) == near(0, 2 / 3, 0, 1 / 3)
    assert shares(top_p=0.5) == [0, 1, 0, 0]
    assert shares(top_k=3, top_p=0.6) == near(0, 2 / 3, 0, 1 / 3)
    assert shares(temperature=0.0) == shares(temperature=0.02) == [0, 1, 0, 0]
    assert shares(temperature=1e-310) == [0, 1, 0, 0]
    assert shares(temperature=1e6) == near(0.25, 0.25, 0.25, 0.25)
    squares = 0.1**2, 0.5**2, 0.15**2, 0.25**2
    assert shares(temperature=0.5) == near(*(square / sum(squares) for square in squares))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"length": 0}, "length must be a whole number above 0"),
        ({"temperature": -1.0}, "temperature must be a number of at least 0"),
        ({"temperature": math.nan}, "temperature must be a number of at least 0"),
        ({"top_k": 25}, "top_k must be from 0 to 24"),
        ({"top_k": 1.5}, "top_k must be a whole number of at least 0"),
        ({"seed": 1.5}, "seed must be a whole number of at least 0"),
        ({"seed": 2**64}, "seed must be below 2"),
        ({"temperature": "x"}, "temperature must be a number of at least 0, not 'x'"),
        ({"temperature": 0, "top_k": 3}, "top_k and top_p have no effect with temperature=0"),
        ({"temperature": 0, "top_p": 0.5}, "top_k and top_p have no effect with temperature=0"),
        ({"top_p": 0.0}, "top_p must be a number above 0 and at most 1"),
        ({"top_p": "x"}, "top_p must be a number above 0 and at most 1, not 'x'"),
        ({"top_p": [0.5]}, "top_p must be a number above 0 and at most 1"),
        ({"prompt": 5}, "prompt must be a string, not int"),
    ],
)
def test_bad_arguments_of_generate(model, options, message):
    with pytest.raises(InputError, match=message):
        model.generate(**options)


def test_bad_text(model, tmp_path):
    with pytest.raises(InputError, match="sentence 2 has several lines"):
        model.score(["w1", "w1\nw2"])
    with pytest.raises(InputError, match="give a list of sentences, not one string"):
        model.score("w1")
    with pytest.raises(InputError, match="cannot read"):
        model.perplexity(tmp_path / "nothing.txt")
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(InputError, match="the text is empty"):
        model.perplexity(tmp_path / "empty.txt")


def test_time_and_memory_of_a_token_do_not_grow(model):
    """The states are all that is kept: their sizes do not depend on the length of the text."""
    sizes = []
    read = model.model.decoder.read

    def recorded(tokens, *given):
        result = read(tokens, *given)
        sizes.append((tokens.numel(), sum(state.numel() for state in result[2])))
        return result

    model.model.decoder.read = recorded
    model.generate(length=300, seed=1)
    assert len(set(sizes)) == 1


def test_loading(lm_checkpoints, tmp_path):
    """The directory of checkpoints is enough; data= and device= choose others."""
    model = load_language_model(lm_checkpoints)
    assert model.device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    other = load_language_model(lm_checkpoints / "checkpoint_last.pt", device="cpu")
    sentences = ["a b c", ""]
    assert model.score(sentences) == pytest.approx(other.score(sentences), abs=1e-3)
    path = tmp_path / "elsewhere.pt"
    shutil.copy(lm_checkpoints / "checkpoint_last.pt", path)
    data = lm_checkpoints.parent / "data"
    found = load_language_model(path, data=data, device="cpu").score(sentences)
    assert found == pytest.approx(other.score(sentences))


def test_loading_what_is_no_language_model(lm_checkpoints, prepared_data, tmp_path):
    path = tmp_path / "translation.pt"
    save_checkpoint(path, prepared_data)
    expected = "was trained with --task translation, but a language .*: use fairseq-lrn translate"
    with pytest.raises(InputError, match=expected):
        load_language_model(path)
    save_checkpoint(
        path,
        lm_checkpoints.parent / "data",
        *("--task", "language_modeling"),
        model=["--arch", "lstm_lm", "--decoder-embed-dim", "8", "--decoder-out-embed-dim", "8"],
    )
    with pytest.raises(InputError, match="is a LSTMLanguageModel; only models trained with"):
        load_language_model(path, data=lm_checkpoints.parent / "data")
    with pytest.raises(InputError, match="give one checkpoint, not 2"):
        load_language_model(f"{path}:{path}")


def test_loading_without_the_files_of_raw_text(lm_checkpoints, tmp_path):
    path = tmp_path / "alone.pt"
    state = checkpoints.load(str(lm_checkpoints / "checkpoint_last.pt"))
    state["cfg"]["task"]["data"] = str(tmp_path / "moved")
    checkpoints.save(state, str(path))
    with pytest.raises(InputError, match="there is no prepare_lm.json in .*moved, so the token"):
        load_language_model(path)


def test_weights_that_are_nan(lm_checkpoints):
    model = load_language_model(lm_checkpoints, device="cpu")
    with torch.no_grad():
        next(model.model.parameters()).fill_(math.nan)
    for call in (lambda: model.generate("a", seed=1), lambda: model.score(["a b"])):
        with pytest.raises(InputError, match="the model's probabilities are NaN"):
            call()


def test_numbers_of_numpy(lm_checkpoints):
    model = load_language_model(lm_checkpoints, device="cpu")
    assert model.generate("a", np.int64(5), seed=np.int64(3)) == model.generate("a", 5, seed=3)
