"""The answers of the demo server. end_to_end/test_demo.py has the page in a browser."""

import json
import re
import socket
import sys
from types import SimpleNamespace

import pytest

from fairseq_lrn import load_translator
from fairseq_lrn.data.parallel import read_lines
from fairseq_lrn.errors import InputError
from toy_checkpoints import save_checkpoint

pytest.importorskip("flask")
pytest.importorskip("waitress")

import waitress.server  # noqa: E402

from fairseq_lrn.demo import server, translation  # noqa: E402  (it imports Flask)
from fairseq_lrn.demo.texts import MAX_CHARACTERS, MAX_CONTEXT, MAX_LINES  # noqa: E402
from fairseq_lrn.demo.translation import MAX_BEAM, TranslationService  # noqa: E402

MAX_BYTES = server.MAX_BYTES


def create_app(translator, *arguments):
    return server.create_app(TranslationService(translator), *arguments)


@pytest.fixture(scope="module")
def client(untrained):
    return create_app(load_translator(str(untrained)), ["localhost"]).test_client()


@pytest.fixture(scope="module")
def sentence(prepared_data):
    return read_lines(str(prepared_data.parent / "train.en"))[0]


def test_about(client):
    assert client.get("/about").get_json() == {
        "source": "en",
        "target": "de",
        "max_characters": MAX_CHARACTERS,
        "max_lines": MAX_LINES,
        "max_beam": MAX_BEAM,
    }


def test_translation(client, sentence):
    answer = client.post("/translate", json={"text": sentence, "beam": 3}).get_json()
    (line,) = answer["lines"]
    assert len(line["hypotheses"]) == 3
    assert answer["translation"] == line["hypotheses"][0]["text"]
    for hypothesis in line["hypotheses"]:
        assert hypothesis["source"][-1] == hypothesis["words"][-1] == "</s>"
        assert len(hypothesis["attention"]) == len(hypothesis["words"])
        assert len(hypothesis["attention"][0]) == len(hypothesis["source"])
        assert sum(hypothesis["attention"][0]) == pytest.approx(1, abs=0.01)
    assert len(line["memory"]["weights"]) == len(line["memory"]["subwords"])


def test_lines(client, sentence):
    """Each line is translated on its own; empty lines keep their places."""
    single = client.post("/translate", json={"text": sentence}).get_json()
    text = f"{sentence}\r\n\n \t\n{sentence}\u2028{sentence}\n"
    answer = client.post("/translate", json={"text": text}).get_json()
    lines = answer["lines"]
    assert [line["source"] for line in lines[:2]] == [sentence, ""]
    assert lines[3]["source"] == f"{sentence} {sentence}"  # only a line feed ends a line
    assert [len(line["hypotheses"]) for line in lines] == [5, 0, 0, 5, 0]
    assert [line["memory"] is None for line in lines] == [False, True, True, False, True]
    translations = answer["translation"].split("\n")
    assert translations == [single["translation"], "", "", lines[3]["hypotheses"][0]["text"], ""]


def test_text_without_words(client):
    answer = client.post("/translate", json={"text": " "}).get_json()
    expected = {"source": "", "hypotheses": [], "memory": None}
    assert answer == {"translation": "", "lines": [expected]}


def test_model_without_lrn(prepared_data, tmp_path, sentence):
    save_checkpoint(tmp_path / "checkpoint_last.pt", prepared_data, "--cell", "gru")
    client = create_app(load_translator(str(tmp_path))).test_client()
    (line,) = client.post("/translate", json={"text": sentence, "beam": 1}).get_json()["lines"]
    assert len(line["hypotheses"]) == 1 and line["memory"] is None


@pytest.mark.parametrize(
    "body, message",
    [
        ("", "the request is not JSON: Expecting value"),
        ("{", "the request is not JSON: Expecting property name"),
        (b'{"text": "\xe4"}', "the request is not UTF-8 (byte 11)"),
        ("[" * 8_000 + "]" * 8_000, "nested too deeply"),
        ('{"text": ' + "[" * 5_000 + "]" * 5_000 + "}", "nested too deeply"),
        ('{"text": "a", "beam": NaN}', "NaN is not a JSON value"),
        ('["a"]', "send a JSON object, e.g. {"),
        ("null", "send a JSON object"),
        ("{}", "text must be a string"),
        ('{"text": 5}', "text must be a string"),
        ('{"text": null}', "text must be a string"),
        ('{"text": "a", "beams": 3}', "unknown field 'beams': a request has text and beam"),
        ('{"text": "a", "\\ud800": 3}', "unknown field '\\ud800'"),
        ('{"text": "a", "beam": 0}', "beam must be a whole number from 1 to 20"),
        ('{"text": "a", "beam": "5"}', "beam must be a whole number"),
        ('{"text": "a", "beam": true}', "beam must be a whole number"),
        ('{"text": "a", "beam": 2.5}', "beam must be a whole number"),
        ('{"text": "a", "beam": 1e999}', "beam must be a whole number"),
        ('{"text": "a", "beam": ' + "9" * 9_999 + "}", "beam must be a whole number"),
        ('{"text": "' + "a" * (MAX_CHARACTERS + 1) + '"}', f"at most {MAX_CHARACTERS}"),
        ('{"text": "' + "a\\n" * MAX_LINES + '"}', "51 lines: at most 50"),
        (
            '{"text": "\\u0000\\ud800"}',
            "sentence 1 has the code point U+D800, which is not a character",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_request(client, body, message):
    answer = client.post("/translate", data=body, content_type="application/json")
    assert answer.status_code == 400
    assert message in answer.get_json()["error"]


@pytest.mark.parametrize(
    "method, path, options, status, message",
    [
        ("POST", "/translate", {"data": "text=a"}, 400, "send JSON, with Content-Type"),
        ("POST", "/translate", {"json": {"text": "a" * MAX_BYTES}}, 413, f"at most {MAX_BYTES} "),
        ("GET", "/about", {"headers": {"Host": "elsewhere.example:80"}}, 403, "elsewhere"),
        ("GET", "/about", {"headers": {"Host": "[::1"}}, 403, "does not answer requests"),
        ("GET", "/translate", {}, 405, "not allowed"),
        ("GET", "/static/../server.py", {}, 404, "not found"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_other_errors(client, method, path, options, status, message):
    """Every error is JSON, with the security headers, those outside of the interface as well."""
    answer = client.open(path, method=method, **options)
    assert answer.status_code == status
    assert message in answer.get_json()["error"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert status != 405 or "POST" in answer.headers["Allow"]


@pytest.mark.parametrize("character", ["a", "\u4e2d", "\U0001f469"])
@pytest.mark.parametrize("is_escaped", [False, True])
def test_longest_text_and_questions(character, is_escaped):
    service = SimpleNamespace(route="/label", answer=lambda fields: fields)
    fields = {"text": MAX_CHARACTERS * character, "other": MAX_CONTEXT * character}
    body = json.dumps(fields, ensure_ascii=is_escaped).encode()
    client = server.create_app(service).test_client()
    answer = client.post("/label", data=body, content_type="application/json")
    assert answer.status_code == 200 and answer.get_json() == fields


def test_sentence_that_is_too_long_for_the_model(client, sentence, monkeypatch):
    monkeypatch.setattr(translation, "longest_source", lambda models: 3)
    answer = client.post("/translate", json={"text": f"a\n{sentence}"})
    assert answer.status_code == 400
    error = answer.get_json()["error"]
    assert re.match(r"sentence 2 has \d+ subwords, and the model reads at most 3: split it", error)


def test_failure_of_the_server(untrained, caplog):
    translator = load_translator(str(untrained))
    translator.hypotheses = lambda *args, **options: 1 / 0
    answer = create_app(translator).test_client().post("/translate", json={"text": "a"})
    assert answer.status_code == 500
    assert answer.get_json() == {"error": "the server failed: its terminal shows why"}
    assert "ZeroDivisionError" in caplog.text


def test_page_loads_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in (
        *("/", "/static/page.css", "/static/page.js"),
        *("/static/common.js", "/static/label.html", "/static/label.js"),
    ):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search(r"https?:|[\"']//", answer.get_data(as_text=True))


def test_a_name_with_several_addresses(monkeypatch, capsys):
    """As localhost has where IPv6 is configured."""
    look_up = socket.getaddrinfo

    def two(host, *args, **kwargs):
        addresses = ("127.0.0.1", "127.0.0.2")
        return [entry for one in addresses for entry in look_up(one, *args, **kwargs)]

    monkeypatch.setattr(socket, "getaddrinfo", two)
    monkeypatch.setattr(waitress.server.MultiSocketServer, "run", lambda self: self.close())
    server.serve(TranslationService(None), "localhost", 0)
    first, second = capsys.readouterr().out.splitlines()
    assert re.match(r"http://127\.0\.0\.1:\d+/ ", first)
    assert re.match(r"http://127\.0\.0\.2:\d+/ ", second)


@pytest.mark.parametrize(
    "host, port, message",
    [
        ("127.0.0.1", 80000, "--port must be a number from 0 to 65535, not 80000"),
        ("203.0.113.1", 0, "cannot listen on 203.0.113.1, port 0: .*choose another --port"),
    ],
)
def test_unusable_address(host, port, message):
    with pytest.raises(InputError, match=message):
        server.serve(TranslationService(None), host, port)


def test_without_flask(monkeypatch):
    monkeypatch.delitem(sys.modules, "fairseq_lrn.demo.server")
    monkeypatch.setitem(sys.modules, "flask", None)
    with pytest.raises(InputError, match="the demo page needs flask: run .*setup.sh demo"):
        import fairseq_lrn.demo.server  # noqa: F401
