"""fairseq-lrn serve. end_to_end/test_demo.py has a server in a process of its own."""

import pytest

pytest.importorskip("flask")
pytest.importorskip("waitress")

from fairseq_lrn.demo import server  # noqa: E402  (it imports Flask)


def test_arguments(run, untrained, monkeypatch):
    calls = []

    def serve(translator, host, port):
        calls.append((translator.raw.target_lang, host, port))
        raise KeyboardInterrupt  # the usual end

    monkeypatch.setattr(server, "serve", serve)
    run("serve", untrained)
    run("serve", untrained, "--host", "::1", "--port", 0)
    assert calls == [("de", "127.0.0.1", 8080), ("de", "::1", 0)]


def test_refused_port(refuse, untrained):
    message = "--port must be a number from 0 to 65535, not 80000"
    assert message in refuse("serve", untrained, "--port", 80000)
