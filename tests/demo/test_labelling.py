"""The page of classifiers and taggers: its answers. The models are untrained."""

import pytest

from fairseq_lrn import load_classifier, load_tagger
from fairseq_lrn.demo.labelling import LabellingService
from fairseq_lrn.errors import InputError
from labelled_corpus import untrained_model


@pytest.fixture(scope="module")
def services(tmp_path_factory):
    found = {}
    for name, load in (
        ("reviews", load_classifier),
        ("pairs", load_classifier),
        ("tagged", load_tagger),
    ):
        directory = untrained_model(tmp_path_factory.mktemp(name), name)
        found[name] = LabellingService(load(directory, device="cpu"))
    return found


def test_about(services):
    assert [service.about()["kind"] for service in services.values()] == ["text", "pair", "tags"]


def test_classification(services):
    (first, second) = services["reviews"].answer({"text": "a fine film\n\n dull"})["lines"]
    labels = dict(first["labels"])
    assert sorted(labels) == ["bad", "good"] and sum(labels.values()) == pytest.approx(1, abs=1e-3)
    (text,) = first["texts"]
    assert text["words"] == ["a", "fine", "film"]
    assert sum(text["weights"]) == pytest.approx(1, abs=1e-3)
    assert second["texts"][0]["words"] == ["dull"]


def test_pairs(services):
    fields = {"text": "a dog\n\na cat\n\n", "other": "an animal\n\nit runs"}
    lines = services["pairs"].answer(fields)["lines"]
    words = [[text["words"] for text in line["texts"]] for line in lines]
    assert words == [[["a", "dog"], ["an", "animal"]], [["a", "cat"], ["it", "runs"]]]
    with pytest.raises(InputError, match="the first text has 2 lines, and the second 1"):
        services["pairs"].answer({"text": "a\nb", "other": "c"})
    with pytest.raises(InputError, match="other must be a string"):
        services["pairs"].answer({"text": "a"})


def test_entities(services):
    (line,) = services["tagged"].answer({"text": "Ada lives in Paris."})["lines"]
    assert line["text"] == "Ada lives in Paris."
    for entity in line["entities"]:
        assert line["text"][entity["start"] : entity["end"]] == entity["text"]


def test_nothing_to_label(services):
    assert services["tagged"].answer({"text": " \n"}) == {"lines": []}
    with pytest.raises(InputError, match="unknown field 'beam'"):
        services["reviews"].answer({"text": "a", "beam": 5})
