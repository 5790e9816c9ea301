"""The server behind the page. It answers this machine alone unless told otherwise, and asks nobody.

Needs: pip install fairseq-lrn[demo] (Flask, waitress).
"""

import ipaddress
import threading
from typing import Any, Dict, List, Optional
from urllib.parse import urlsplit

from fairseq_lrn.analysis.memory import END, memory
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.translator import Translation, Translator

try:
    import flask
    import waitress
except ImportError as error:
    raise InputError(
        f"the page needs {error.name}: pip install 'fairseq-lrn[demo]', or in a checkout "
        "bash scripts/setup.sh demo"
    ) from error

MAX_CHARACTERS = 1000
MAX_BEAM = 20
MAX_BYTES = 16 * 1024
# The page is one file with its own script and style, and talks to this server alone.
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": POLICY + "; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def create_app(translator: Translator, hosts: Optional[List[str]] = None) -> Any:
    """The WSGI application.

    Args:
        translator: translates; one request at a time.
        hosts: names by which the server may be called, without port; None: any. A page elsewhere
            whose name is made to point to this machine is so refused.
    """
    app = flask.Flask(__name__, static_folder="static", static_url_path="/static")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BYTES
    busy = threading.Lock()

    @app.before_request
    def check_host() -> Any:
        name = urlsplit(f"//{flask.request.host}").hostname
        if hosts is not None and name not in hosts:
            return refuse(403, f"this server does not answer to the name {name}")
        return None

    @app.after_request
    def add_headers(response: Any) -> Any:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(413)
    def too_large(_: Any) -> Any:
        return refuse(413, f"a request may have {MAX_BYTES} bytes")

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
        request = flask.request.get_json(silent=True)  # other types, as of forms, are refused
        if not isinstance(request, dict) or not isinstance(request.get("text"), str):
            return refuse(400, "send JSON with a text")
        text, beam = request["text"], request.get("beam", 5)
        if len(text) > MAX_CHARACTERS:
            return refuse(400, f"the sentence has {len(text)} characters; {MAX_CHARACTERS} at most")
        if type(beam) is not int or not 1 <= beam <= MAX_BEAM:
            return refuse(400, f"beam must be a number from 1 to {MAX_BEAM}")
        try:
            with busy:
                found = translator.hypotheses([text], beam=beam, nbest=beam, attention=True)[0]
                remembered = remember(translator, text) if found[0].source_words else None
        except InputError as error:
            return refuse(400, str(error))
        return {"translations": list(map(as_json, found)), "memory": remembered}

    return app


def refuse(status: int, message: str) -> Any:
    """An answer that says what is wrong."""
    return {"error": message}, status


def as_json(translation: Translation) -> Dict[str, Any]:
    """What the page shows of a translation."""
    assert translation.attention is not None
    return {
        "text": translation.text,
        "score": translation.score,
        "source": [*translation.source_words, END],
        "words": [*translation.words, END],
        "attention": translation.attention.tolist(),
    }


def remember(translator: Translator, text: str) -> Optional[Dict[str, Any]]:
    """How much of each piece the states of the first layer keep; None for a model without LRN."""
    try:
        kept = memory(translator, text)
    except InputError:
        return None
    pieces = [piece.replace("\u2581", "") or "\u2423" for piece in kept.pieces]
    return {"pieces": pieces, "weights": kept.weights.tolist()}


def serve(translator: Translator, host: str, port: int) -> None:
    """Answer until interrupted.

    Args:
        host: address to listen at; other than loopback, every machine that reaches it may ask.
        port: number; 0: one that is free.

    Raises:
        InputError: that cannot be listened at.
    """
    if not 0 <= port <= 65535:  # waitress would take another
        raise InputError(f"--port must be a number from 0 to 65535, not {port}")
    is_local = host == "localhost" or _is_loopback(host)
    app = create_app(translator, ["localhost", "127.0.0.1", "::1", host] if is_local else None)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=4, ident=None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot listen at {host}, port {port}: {getattr(error, 'strerror', None) or error}; "
            "choose another --port or --host"
        ) from error
    shown = f"[{host}]" if ":" in host else host
    print(f"http://{shown}:{server.effective_port}/  (end with Ctrl-C)", flush=True)
    if not is_local:
        print("every machine that reaches this address can use it", flush=True)
    server.run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
