"""fairseq-lrn serve: its page in a real browser. tests/demo/test_server.py has its answers."""

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request

import pytest

from fairseq_lrn.demo.server import MAX_CHARACTERS

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def checkpoints(quickstart):
    return str(quickstart[0] / "checkpoints")


@pytest.fixture(scope="module")
def source(quickstart):
    return (quickstart[0] / "raw" / "test.en").read_text().splitlines()[0]


@pytest.fixture(scope="module")
def expected(quickstart):
    return (quickstart[0] / "generate-test.txt.detok").read_text().splitlines()[0]


@pytest.fixture
def page(checkpoints, root):
    """The address of a server in a process of its own."""
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


def test_page_is_served(page):
    with urllib.request.urlopen(page) as answer:
        assert b"<title>fairseq_lrn</title>" in answer.read()


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
    # Enter translates as well; the page shows why the server refuses a request.
    view.get_by_label("Sentence").fill("dog " * 300)
    view.get_by_label("Sentence").press("Enter")
    view.get_by_text("at most 1000").wait_for()
    assert all(url.startswith(page) for url in asked) and len(asked) >= 5
    # The browser itself logs the answer 400, and that there is no icon.
    assert all("Failed to load resource" in text for text in wrong)
