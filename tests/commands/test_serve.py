"""fairseq-lrn serve. end_to_end/test_demo.py has a server in a process of its own."""

import pytest

from labelled_corpus import untrained_model

pytest.importorskip("flask")
pytest.importorskip("waitress")

from fairseq_lrn.demo import server  # noqa: E402  (it imports Flask)


def test_arguments(run, untrained, monkeypatch):
    calls = []

    def serve(service, host, port):
        calls.append((service.about()["target"], host, port))
        raise KeyboardInterrupt  # the usual end

    monkeypatch.setattr(server, "serve", serve)
    run("serve", untrained)
    run("serve", untrained, "--host", "::1", "--port", 0)
    assert calls == [("de", "127.0.0.1", 8080), ("de", "::1", 0)]


@pytest.mark.parametrize("name, kind", [("reviews", "text"), ("tagged", "tags")])
def test_classifiers_and_taggers(run, refuse, tmp_path, monkeypatch, name, kind):
    services = []
    monkeypatch.setattr(server, "serve", lambda service, host, port: services.append(service))
    checkpoints = untrained_model(tmp_path, name)
    run("serve", checkpoints)
    assert services[0].about()["kind"] == kind and services[0].page == "label.html"
    message = refuse("serve", checkpoints, "--generation-dtype", "int8")
    assert "--generation-dtype is for translation" in message


def test_refused_port(refuse, untrained):
    message = "--port must be a number from 0 to 65535, not 80000"
    assert message in refuse("serve", untrained, "--port", 80000)
