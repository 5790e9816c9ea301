"""fairseq-lrn serve: its answers, and its page in a real browser."""

import os
import re
import shutil
import signal
import subprocess
import sys

import pytest

from fairseq_lrn import load_translator
from fairseq_lrn.commands.main import main
from fairseq_lrn.demo.server import MAX_BYTES, MAX_CHARACTERS, create_app

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def checkpoints(quickstart):
    return str(quickstart[0] / "checkpoints")


@pytest.fixture(scope="module")
def client(checkpoints):
    return create_app(load_translator(checkpoints), ["localhost"]).test_client()


@pytest.fixture(scope="module")
def source(quickstart):
    return (quickstart[0] / "raw" / "test.en").read_text().splitlines()[0]


@pytest.fixture(scope="module")
def expected(quickstart):
    return (quickstart[0] / "generate-test.txt.detok").read_text().splitlines()[0]


def test_answers(client, source, expected):
    about = client.get("/about").get_json()
    assert (about["source"], about["target"]) == ("en", "de")
    answer = client.post("/translate", json={"text": source, "beam": 3}).get_json()
    translations = answer["translations"]
    assert translations[0]["text"] == expected and len(translations) == 3
    for translation in translations:
        assert len(translation["attention"]) == len(translation["words"])
        assert len(translation["attention"][0]) == len(translation["source"])
    assert len(answer["memory"]["weights"]) == len(answer["memory"]["pieces"])
    empty = client.post("/translate", json={"text": " "}).get_json()
    assert [found["text"] for found in empty["translations"]] == [""] and empty["memory"] is None


@pytest.mark.parametrize(
    "request_of, status, message",
    [
        ({"json": {"text": "a" * (MAX_CHARACTERS + 1)}}, 400, f"{MAX_CHARACTERS} at most"),
        ({"json": {"text": "a", "beam": 0}}, 400, "beam must be a number from 1 to"),
        ({"json": {"text": "a", "beam": "5"}}, 400, "beam must be a number"),
        ({"json": {"text": "a", "beam": True}}, 400, "beam must be a number"),
        ({"json": {"text": 5}}, 400, "send JSON with a text"),
        ({"json": ["a"]}, 400, "send JSON with a text"),
        ({"data": '{"text": "a"}', "content_type": "text/plain"}, 400, "send JSON"),
        ({"data": "{", "content_type": "application/json"}, 400, "send JSON with a text"),
        ({"json": {"text": "a" * MAX_BYTES}}, 413, "a request may have"),
        ({"json": {"text": "a"}, "headers": {"Host": "elsewhere.example:80"}}, 403, "elsewhere"),
    ],
)
def test_refused(client, request_of, status, message):
    answer = client.post("/translate", **request_of)
    assert answer.status_code == status
    assert message in answer.get_json()["error"]


def test_nothing_from_elsewhere(client):
    page = client.get("/")
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    for path in ("/", "/static/page.css", "/static/page.js"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not re.search(r"https?:|[\"']//", answer.get_data(as_text=True))
    assert client.get("/static/../server.py").status_code == 404


def test_wrong_use(checkpoints, capsys):
    for arguments, message in (
        (["--port", "80000"], "--port must be a number from 0 to 65535, not 80000"),
        (["--host", "203.0.113.1", "--port", "0"], "cannot listen at 203.0.113.1"),
    ):
        with pytest.raises(SystemExit) as error:
            main(["serve", checkpoints, *arguments])
        assert error.value.code == 2
        assert message in capsys.readouterr().err


@pytest.fixture
def page(checkpoints, root):
    """Address of a server of its own process."""
    command = [sys.executable, "-m", "fairseq_lrn", "serve", checkpoints, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield process.stdout.readline().split()[0]
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM


@pytest.fixture
def browser():
    paths = filter(None, map(shutil.which, BROWSERS))
    path = os.environ.get("FAIRSEQ_LRN_BROWSER") or next(paths, None)
    if path is None:
        pytest.skip("no Chromium found: install it, or set FAIRSEQ_LRN_BROWSER to its path")
    playwright = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=flags)
        yield browser
        browser.close()


def test_in_a_browser(page, browser, source, expected):
    view = browser.new_page(viewport={"width": 1000, "height": 1100})
    asked, wrong = [], []
    view.on("request", lambda request: asked.append(request.url))
    view.on("console", lambda message: wrong.append(message.text))
    view.on("pageerror", lambda error: wrong.append(str(error)))
    view.goto(page)
    view.get_by_label("Sentence").fill(source)
    assert view.locator("#count").inner_text() == f"{len(source)} of {MAX_CHARACTERS} characters"
    view.get_by_label("Beam").fill("3")
    view.get_by_role("button", name="Translate").click()
    view.locator("#result").wait_for()
    assert view.locator("#best").inner_text() == expected
    assert view.locator("#languages").inner_text() == "en \u2192 de"
    hypotheses = view.locator("#nbest button")
    assert hypotheses.count() == 3
    hypotheses.nth(1).click()
    second = view.locator("#best").inner_text()
    assert second != expected and second in hypotheses.nth(1).inner_text()
    rows = view.locator("#attention tbody tr")
    assert rows.count() == len(re.findall(r"\w+|[^\w\s]", second)) + 1
    assert view.locator("#memory tbody tr").count() > 3
    if "FAIRSEQ_LRN_SCREENSHOT" in os.environ:
        hypotheses.nth(0).click()
        view.screenshot(path=os.environ["FAIRSEQ_LRN_SCREENSHOT"], full_page=True)
    # Enter translates, too; what the server refuses is shown.
    view.get_by_label("Sentence").fill("dog " * 300)
    view.get_by_label("Sentence").press("Enter")
    view.get_by_text("1000 at most").wait_for()
    assert all(url.startswith(page) for url in asked) and len(asked) >= 5
    # The browser itself notes the answer 400, and that there is no icon.
    assert all("Failed to load resource" in text for text in wrong)
