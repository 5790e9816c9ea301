"""The server of the demo page: by default for this machine only, and without external requests.

Needs: pip install 'fairseq-lrn[demo]' (Flask, waitress).
"""

import ipaddress
import json
import threading
from typing import Any, Dict, List, Optional, Protocol
from urllib.parse import urlsplit

from fairseq_lrn.errors import InputError

try:
    import flask
    import waitress
    from werkzeug.exceptions import HTTPException
except ImportError as error:
    raise InputError(
        f"the demo page needs {error.name}: run 'bash scripts/setup.sh demo' in a checkout, or "
        "'pip install flask waitress'"
    ) from error

# More than the longest text and questions. JSON may escape a character in up to 12 bytes.
MAX_BYTES = 72 * 1024
# The page loads its script and its style from this server, and sends requests only to it.
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'"
HEADERS = {
    "Content-Security-Policy": POLICY + "; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
# Instead of the texts of the web framework.
DESCRIPTIONS = {
    413: f"a request may have at most {MAX_BYTES} bytes",
    500: "the server failed: its terminal shows why",
}


class Service(Protocol):
    """What a page does with a model.

    Attributes:
        page: name of the page in the directory ``static``.
        route: address of its requests, e.g. ``"/translate"``.
    """

    page: str
    route: str

    def about(self) -> Dict[str, Any]:
        """What the page's script must know about the model."""

    def answer(self, fields: Any) -> Dict[str, Any]:
        """The answer to a request.

        Args:
            fields: the JSON of the request.

        Raises:
            InputError: *fields* is not what the service answers.
        """


def create_app(service: Service, hosts: Optional[List[str]] = None) -> Any:
    """The WSGI application: the page, and ``/about`` and the service's route for its script.

    Args:
        service: answers the requests, which wait for each other.
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
        return app.send_static_file(service.page)

    @app.get("/about")
    def about() -> Any:
        return service.about()

    @app.post(service.route)
    def answer() -> Any:
        try:
            if not flask.request.is_json:  # the script of another page could send a form
                raise InputError("send JSON, with Content-Type: application/json")
            fields = read_json(flask.request.get_data())
            with busy:
                return service.answer(fields)
        except InputError as error:
            flask.abort(400, str(error))

    return app


def host_name(host: str) -> Optional[str]:
    """The name in a ``Host`` header, without the port; None if it has none."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:  # e.g. an unclosed bracket
        return None


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


def serve(service: Service, host: str, port: int) -> None:
    """Answer requests until the process is interrupted.

    Args:
        service: answers the requests.
        host: address to listen on; except for loopback addresses, every machine that can reach it
            can use the page.
        port: port number; 0: any free port.

    Raises:
        InputError: the server cannot listen on this address or port.
    """
    if not 0 <= port <= 65535:  # waitress would choose another port
        raise InputError(f"--port must be a number from 0 to 65535, not {port}")
    is_local = host == "localhost" or _is_loopback(host)
    app = create_app(service, ["localhost", "127.0.0.1", "::1", host] if is_local else None)
    try:
        server = waitress.create_server(app, host=host, port=port, threads=4, ident=None)
    except (OSError, ValueError) as error:
        raise InputError(
            f"cannot listen on {host}, port {port}: {getattr(error, 'strerror', None) or error}; "
            "choose another --port or --host"
        ) from error
    # A name with several addresses, such as localhost with IPv4 and IPv6, has a server for each.
    several = getattr(server, "effective_listen", None)
    for name, number in several or [(host, server.effective_port)]:
        name = f"[{name}]" if ":" in name else name
        print(f"http://{name}:{number}/  (end with Ctrl-C)", flush=True)
    if not is_local:
        print("every machine that can reach this address can use the page", flush=True)
    server.run()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
