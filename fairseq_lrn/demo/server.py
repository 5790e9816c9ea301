"""The server of the demo page: by default for this machine only, and without external requests.

Needs: pip install 'fairseq-lrn[demo]' (Flask, waitress).
"""

import ipaddress
import json
import threading
from typing import Any, Dict, List, NamedTuple, Optional
from urllib.parse import urlsplit

from torch import Tensor

from fairseq_lrn.analysis.memory import END, memory
from fairseq_lrn.analysis.plots import subword_labels
from fairseq_lrn.errors import InputError
from fairseq_lrn.generation.inputs import lines_of
from fairseq_lrn.generation.translator import Translation, Translator

try:
    import flask
    import waitress
    from werkzeug.exceptions import HTTPException
except ImportError as error:
    raise InputError(
        f"the demo page needs {error.name}: run 'bash scripts/setup.sh demo' in a checkout, or "
        "'pip install flask waitress'"
    ) from error

MAX_CHARACTERS = 1000
MAX_LINES = 50
MAX_BEAM = 20
DEFAULT_BEAM = 5
MAX_BYTES = 16 * 1024
# The page loads its script and its style from this server, and sends requests only to it.
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": POLICY + "; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
EXAMPLE = '{"text": "Two dogs play.", "beam": 5}'
# Instead of the texts of the web framework.
DESCRIPTIONS = {
    413: f"a request may have at most {MAX_BYTES} bytes",
    500: "the server failed: its terminal shows why",
}


class Request(NamedTuple):
    """What ``/translate`` is asked for.

    Attributes:
        lines: the text, line by line; each is translated on its own.
        beam: number of hypotheses per line.
    """

    lines: List[str]
    beam: int


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
        name = host_name(flask.request.host)
        if hosts is not None and name not in hosts:
            flask.abort(403, f"this server does not answer requests for {name}")

    @app.after_request
    def add_headers(response: Any) -> Any:
        response.headers.update(HEADERS)
        return response

    @app.errorhandler(HTTPException)  # every other exception arrives here as status 500
    def refuse(error: Any) -> Any:
        # The response of the exception has further headers, e.g. the allowed methods.
        response = error.get_response()
        response.set_data(json.dumps({"error": DESCRIPTIONS.get(error.code, error.description)}))
        response.content_type = "application/json"
        return response

    @app.get("/")
    def page() -> Any:
        return app.send_static_file("index.html")

    @app.get("/about")
    def about() -> Any:
        return {
            "source": translator.raw.source_lang,
            "target": translator.raw.target_lang,
            "max_characters": MAX_CHARACTERS,
            "max_lines": MAX_LINES,
            "max_beam": MAX_BEAM,
        }

    @app.post("/translate")
    def translate() -> Any:
        try:
            if not flask.request.is_json:  # the script of another page could send a form
                raise InputError("send JSON, with Content-Type: application/json")
            request = parse(flask.request.get_data())
            with busy:
                return translation_as_json(translator, request)
        except InputError as error:
            flask.abort(400, str(error))

    return app


def host_name(host: str) -> Optional[str]:
    """The name in a ``Host`` header, without the port; None if it has none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # e.g. an unclosed bracket
        return None


def parse(body: bytes) -> Request:
    """Read the body of a request to ``/translate``.

    Raises:
        InputError: it is not a JSON object with a text, or a value is out of its range.
    """
    fields = read_json(body)
    if not isinstance(fields, dict):
        raise InputError(f"send a JSON object, e.g. {EXAMPLE}")
    unknown = sorted(fields.keys() - {"text", "beam"})
    if unknown:
        raise InputError(f"unknown field {unknown[0]!a}: a request has text and beam")
    text, beam = fields.get("text"), fields.get("beam", DEFAULT_BEAM)
    if not isinstance(text, str):
        raise InputError(f"text must be a string, e.g. {EXAMPLE}")
    if type(beam) is not int or not 1 <= beam <= MAX_BEAM:  # True is an int, too
        raise InputError(f"beam must be a whole number from 1 to {MAX_BEAM}")
    if len(text) > MAX_CHARACTERS:
        raise InputError(f"the text has {len(text)} characters: at most {MAX_CHARACTERS}")
    lines = [" ".join(line.split()) for line in lines_of(text)]
    if len(lines) > MAX_LINES:
        raise InputError(f"the text has {len(lines)} lines: at most {MAX_LINES}")
    return Request(lines, beam)


def read_json(body: bytes) -> Any:
    """The JSON value in *body*.

    Raises:
        InputError: it is not UTF-8, not JSON, or nested too deeply.
    """

    def refuse_constant(name: str) -> None:
        raise ValueError(f"{name} is not a JSON value")

    def number(digits: str) -> float:  # Python refuses to read integers of thousands of digits
        return int(digits) if len(digits) < 20 else float(digits)

    try:
        return json.loads(body.decode(), parse_constant=refuse_constant, parse_int=number)
    except UnicodeDecodeError as error:
        raise InputError(f"the request is not UTF-8 (byte {error.start + 1})") from error
    except RecursionError as error:
        raise InputError("the JSON of the request is nested too deeply") from error
    except ValueError as error:
        raise InputError(f"the request is not JSON: {error}") from error


def translation_as_json(translator: Translator, request: Request) -> Dict[str, Any]:
    """The answer to a request: the translation, and what the page shows of each line."""
    found = translator.hypotheses(
        request.lines, beam=request.beam, nbest=request.beam, attention=True
    )
    lines = [line_as_json(translator, *line) for line in zip(request.lines, found)]
    best = [line["hypotheses"][0]["text"] if line["hypotheses"] else "" for line in lines]
    return {"translation": "\n".join(best), "lines": lines}


def line_as_json(
    translator: Translator, line: str, translations: List[Translation]
) -> Dict[str, Any]:
    """A line of the text, with its translations, the best first; a line without words has none."""
    translations = [translation for translation in translations if translation.source_words]
    return {
        "source": line,
        "hypotheses": list(map(as_json, translations)),
        "memory": memory_as_json(translator, line) if translations else None,
    }


def as_json(translation: Translation) -> Dict[str, Any]:
    """A translation as the page receives it."""
    assert translation.attention is not None
    return {
        "text": translation.text,
        "score": translation.score,
        "source": [*translation.source_words, END],
        "words": [*translation.words, END],
        "attention": rounded(translation.attention),
    }


def memory_as_json(translator: Translator, text: str) -> Optional[Dict[str, Any]]:
    """How much of each subword the states of the first encoder layer keep, or None without LRN."""
    try:
        result = memory(translator, text)
    except InputError:
        return None
    return {"subwords": subword_labels(result.subwords), "weights": rounded(result.weights)}


def rounded(weights: Tensor) -> List[List[float]]:
    """Weights with as many digits as the page can show; all digits would be most of an answer."""
    return [[round(weight, 4) for weight in row] for row in weights.tolist()]


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
