"""The answers of the demo server. end_to_end/test_demo.py has the page in a browser."""

import re
import sys

import pytest

from fairseq_lrn import load_translator
from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.errors import InputError
from toy_checkpoints import save_checkpoint

pytest.importorskip("flask")
pytest.importorskip("waitress")

from fairseq_lrn.demo import server  # noqa: E402  (it imports Flask)

MAX_BYTES, MAX_CHARACTERS = server.MAX_BYTES, server.MAX_CHARACTERS


@pytest.fixture(scope="module")
def client(untrained):
    return server.create_app(load_translator(str(untrained)), ["localhost"]).test_client()


@pytest.fixture(scope="module")
def sentence(prepared_data):
    return read_lines(str(prepared_data.parent / "train.en"))[0]


def test_about(client):
    assert client.get("/about").get_json() == {
        "source": "en",
        "target": "de",
        "max_characters": MAX_CHARACTERS,
        "max_beam": server.MAX_BEAM,
    }


def test_translation(client, sentence):
    answer = client.post("/translate", json={"text": sentence, "beam": 3}).get_json()
    assert len(answer["translations"]) == 3
    for translation in answer["translations"]:
        assert translation["source"][-1] == translation["words"][-1] == "</s>"
        assert len(translation["attention"]) == len(translation["words"])
        assert len(translation["attention"][0]) == len(translation["source"])
    assert len(answer["memory"]["weights"]) == len(answer["memory"]["subwords"])


def test_empty_sentence(client):
    answer = client.post("/translate", json={"text": " "}).get_json()
    assert [translation["text"] for translation in answer["translations"]] == [""]
    assert answer["memory"] is None


def test_model_without_lrn(prepared_data, tmp_path, sentence):
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "--cell", "gru")
    client = server.create_app(load_translator(str(tmp_path))).test_client()
    answer = client.post("/translate", json={"text": sentence, "beam": 1}).get_json()
    assert len(answer["translations"]) == 1 and answer["memory"] is None


@pytest.mark.parametrize(
    "request_options, status, message",
    [
        ({"json": {"text": "a" * (MAX_CHARACTERS + 1)}}, 400, f"at most {MAX_CHARACTERS}"),
        ({"json": {"text": "a", "beam": 0}}, 400, "beam must be a whole number from 1 to"),
        ({"json": {"text": "a", "beam": "5"}}, 400, "beam must be a whole number"),
        ({"json": {"text": "a", "beam": True}}, 400, "beam must be a whole number"),
        ({"json": {"text": 5}}, 400, "send JSON with a text"),
        ({"json": ["a"]}, 400, "send JSON with a text"),
        ({"data": '{"text": "a"}', "content_type": "text/plain"}, 400, "send JSON with a text"),
        ({"data": "{", "content_type": "application/json"}, 400, "send JSON with a text"),
        ({"json": {"text": "a" * MAX_BYTES}}, 413, f"at most {MAX_BYTES} bytes"),
        ({"json": {"text": "a"}, "headers": {"Host": "elsewhere.example:80"}}, 403, "elsewhere"),
    ],
)
def test_refused_request(client, request_options, status, message):
    answer = client.post("/translate", **request_options)
    assert answer.status_code == status
    assert message in answer.get_json()["error"]


def test_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/", "/static/page.css", "/static/page.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search(r"https?:|[\"']//", answer.get_data(as_text=True))
    assert client.get("/static/../server.py").status_code == 404


@pytest.mark.parametrize(
    "host, port, message",
    [
        ("127.0.0.1", 80000, "--port must be a number from 0 to 65535, not 80000"),
        ("203.0.113.1", 0, "cannot listen on 203.0.113.1, port 0: .*choose another --port"),
    ],
)
def test_unusable_address(host, port, message):
    with pytest.raises(InputError, match=message):
        server.serve(None, host, port)


def test_without_flask(monkeypatch):
    monkeypatch.delitem(sys.modules, "fairseq_lrn.demo.server")
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(InputError, match="the demo page needs flask: run .*setup.sh demo"):
        import fairseq_lrn.demo.server  # noqa: F401
