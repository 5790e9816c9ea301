"""The page of classifiers, taggers and readers: its answers. The models are untrained."""

import pytest

from fairseq_lrn import load_classifier, load_reader, load_tagger
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
        ("questions", load_reader),
    ):
        directory = untrained_model(tmp_path_factory.mktemp(name), name)
        found[name] = LabellingService(load(directory, device="cpu"))
    return found


def test_about(services):
    kinds = [service.about()["kind"] for service in services.values()]
    assert kinds == ["text", "pair", "tags", "spans"]


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
    with pytest.raises(InputError, match="the first text has 2 lines, and the second has 1"):
        services["pairs"].answer({"text": "a\nb", "other": "c"})
    (line,) = services["pairs"].answer({"text": "a dog", "other": ""})["lines"]
    assert [text["words"] for text in line["texts"]] == [["a", "dog"], []]
    with pytest.raises(InputError, match="other must be a string"):
        services["pairs"].answer({"text": "a"})


def test_entities(services):
    (line,) = services["tagged"].answer({"text": "Ada lives in Paris."})["lines"]
    assert line["text"] == "Ada lives in Paris."
    for entity in line["entities"]:
        assert line["text"][entity["start"] : entity["end"]] == entity["text"]


def test_answers(services):
    fields = {"text": "Where is  Ada?\n\nWho?\n", "other": "Ada is in\n Rome.\n\n"}
    first, second = services["questions"].answer(fields)["lines"]
    assert (first["question"], second["question"]) == ("Where is Ada?", "Who?")
    for line in (first, second):
        assert line["text"] == "Ada is in\nRome."
        assert line["text"][line["start"] : line["end"]] == line["answer"]
        assert 0 < line["probability"] <= 1
    assert services["questions"].answer({"text": " ", "other": "a"}) == {"lines": []}
    assert services["questions"].about()["max_context"] == 5000
    assert services["questions"].answer({"text": "a", "other": 60 * "b\n"})["lines"]
    for other, message in ((None, "other must be a string"), ("a " * 2501, "at most 5000")):
        with pytest.raises(InputError, match=message):
            services["questions"].answer({"text": "a", "other": other})
    with pytest.raises(InputError, match="context 1 has no words"):
        services["questions"].answer({"text": "a", "other": " "})


def test_nothing_to_label(services):
    assert services["tagged"].answer({"text": " \n"}) == {"lines": []}
    with pytest.raises(InputError, match="unknown field 'beam'"):
        services["reviews"].answer({"text": "a", "beam": 5})
