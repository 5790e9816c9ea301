"""The server of the demo page: by default for this machine only, and without external requests.

Needs: pip install 'fairseq-lrn[demo]' (Flask, waitress).
"""

import ipaddress
import threading
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

from fairseq_lrn.analysis.memory import END, memory
from fairseq_lrn.analysis.plots import subword_labels
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translation, Translator

try:
    import flask
    import waitress
except ImportError as error:
    raise InputError(
        f"the demo page needs {error.name}: run 'bash scripts/setup.sh demo' in a checkout, or "
        "'pip install flask waitress'"
    ) from error

MAX_CHARACTERS = 1000
MAX_BEAM = 20
MAX_BYTES = 16 * 1024
# The page loads its script and its style from this server, and sends requests only to it.
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": POLICY + "; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(translator: Translator, hosts: Optional[List[str]] = None) -> Any:
    """The WSGI application: the page, and ``/about`` and ``/translate`` for its script.

    Args:
        translator: translates the sentences; requests wait for each other.
        hosts: names of the server that a request may use, without port; None: any name. This
            refuses the requests of a foreign page whose name was pointed to this machine (DNS
            rebinding).
    """
    app = flask.Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    busy = threading.Lock()

    @app.before_request
    def check_host() -> Any:
        name = urlsplit(f"//{flask.request.host}").hostname
        if hosts is not None and name not in hosts:
            return refuse(403, f"this server does not answer requests for {name}")
        return None

    @app.after_request
    def add_headers(response: Any) -> Any:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(413)
    def too_large(_: Any) -> Any:
        return refuse(413, f"a request may have at most {MAX_BYTES} bytes")

    @app.get("/")
    def page() -> Any:
        return app.send_static_file("index.html")

    @app.get("/about")
    def about() -> Any:
        return {
            "source": translator.raw.source_lang,
            "target": translator.raw.target_lang,
            "max_characters": MAX_CHARACTERS,
            "max_beam": MAX_BEAM,
        }

    @app.post("/translate")
    def translate() -> Any:
        request = flask.request.get_json(silent=True)  # None for other types, e.g. of a form
        if not isinstance(request, dict) or not isinstance(request.get("text"), str):
            return refuse(400, 'send JSON with a text: {"text": "Two dogs play."}')
        text, beam = request["text"], request.get("beam", 5)
        if len(text) > MAX_CHARACTERS:
            return refuse(400, f"the sentence has {len(text)} characters: at most {MAX_CHARACTERS}")
        if type(beam) is not int or not 1 <= beam <= MAX_BEAM:
            return refuse(400, f"beam must be a whole number from 1 to {MAX_BEAM}")
        try:
            with busy:
                translations = translator.hypotheses([text], beam=beam, nbest=beam, attention=True)[
                    0
                ]
                is_empty = not translations[0].source_words
                weights = None if is_empty else memory_as_json(translator, text)
        except InputError as error:
            return refuse(400, str(error))
        return {"translations": list(map(as_json, translations)), "memory": weights}

    return app


def refuse(status: int, message: str) -> Any:
    """The response to a request that is refused, with the reason."""
    return {"error": message}, status


def as_json(translation: Translation) -> Dict[str, Any]:
    """A translation as the page receives it."""
    assert translation.attention is not None
    return {
        "text": translation.text,
        "score": translation.score,
        "source": [*translation.source_words, END],
        "words": [*translation.words, END],
        "attention": translation.attention.tolist(),
    }


def memory_as_json(translator: Translator, text: str) -> Optional[Dict[str, Any]]:
    """How much of each subword the states of the first encoder layer keep, or None without LRN."""
    try:
        result = memory(translator, text)
    except InputError:
        return None
    return {"subwords": subword_labels(result.subwords), "weights": result.weights.tolist()}


def serve(translator: Translator, host: str, port: int) -> None:
    """Answer requests until the process is interrupted.

    Args:
        translator: translates the sentences.
        host: address to listen on; except for loopback addresses, every machine that can reach it
            can use the page.
        port: port number; 0: any free port.

    Raises:
        InputError: the server cannot listen on this address or port.
    """
    if not 0 <= port <= 65535:  # waitress would choose another port
        raise InputError(f"--port must be a number from 0 to 65535, not {port}")
    is_local = host == "localhost" or _is_loopback(host)
    app = create_app(translator, ["localhost", "127.0.0.1", "::1", host] if is_local else None)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=4, ident=None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; "
            "choose another --port or --host"
        ) from error
    name = f"[{host}]" if ":" in host else host
    print(f"http://{name}:{server.effective_port}/  (end with Ctrl-C)", flush=True)
    if not is_local:
        print("every machine that can reach this address can use the page", flush=True)
    server.run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
