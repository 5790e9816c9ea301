"""fairseq-lrn serve: its page in a real browser. tests/demo/test_server.py has its answers."""

import os
import signal
import subprocess
import sys
import urllib.request

import pytest

from fairseq_lrn.demo.texts import MAX_CHARACTERS
from labelled_corpus import untrained_model

SIZES = [(320, 640), (390, 840), (1280, 800)]


@pytest.fixture(scope="module")
def checkpoints(quickstart):
    return str(quickstart[0] / "checkpoints")


@pytest.fixture(scope="module")
def sources(quickstart):
    return (quickstart[0] / "raw" / "test.en").read_text().splitlines()


@pytest.fixture(scope="module")
def source(sources):
    return sources[0]


@pytest.fixture(scope="module")
def translations(quickstart):
    return (quickstart[0] / "generate-test.txt.detok").read_text().splitlines()


@pytest.fixture(scope="module")
def expected(translations):
    return translations[0]


@pytest.fixture(scope="module")
def page(checkpoints, root):
    """The address of a server in a process of its own."""
    command = [sys.executable, "-m", "fairseq_lrn", "serve", checkpoints, "--port", "0"]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield process.stdout.readline().split()[0]
    process.terminate()
    assert process.wait(timeout=60) == -signal.SIGTERM


def test_page_is_served(page):
    with urllib.request.urlopen(page) as answer:
        assert b"<title>fairseq_lrn</title>" in answer.read()


@pytest.fixture
def view(page, browser):
    """The page in a tab, with lists of requested addresses and of messages of the browser."""
    view = browser.new_page(viewport={"width": 1000, "height": 1100})
    view.asked, view.wrong = [], []
    view.on("request", lambda request: view.asked.append(request.url))
    view.on("console", lambda message: view.wrong.append(message.text))
    view.on("pageerror", lambda error: view.wrong.append(str(error)))
    view.goto(page)
    yield view
    view.close()


def translate(view, text):
    """Enter a text, click on the button, and wait for the answer."""
    view.get_by_label("Text", exact=True).fill(text)
    view.get_by_role("button", name="Translate").click()
    view.locator("body:not(.busy)").wait_for()


def shown(view):
    return view.locator("#translation").inner_text()


def overflow(view):
    """How many pixels the page is wider than the window."""
    return view.evaluate("document.documentElement.scrollWidth - innerWidth")


def violations(view):
    """The violations of accessibility rules that axe-core finds: rules, and elements."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    found = axe.Axe().run(view).response["violations"]
    return [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found]


def test_in_a_browser(page, view, source, expected):
    view.get_by_label("Beam", exact=True).fill("3")
    translate(view, source)
    count = f"{len(source)} of {MAX_CHARACTERS} characters"
    assert view.locator("#count").inner_text() == count
    assert shown(view) == expected
    assert view.locator("#languages").inner_text() == "en \u2192 de"
    hypotheses = view.locator("#nbest button")
    assert hypotheses.count() == 3
    hypotheses.nth(1).click()
    second = shown(view)
    assert second != expected and second in hypotheses.nth(1).inner_text()
    rows = view.get_by_role("table", name="Attention").locator("tbody tr")
    assert rows.count() == len(second.split()) + 1
    assert view.get_by_role("table", name="Memory").locator("tbody tr").count() > 3
    if "FAIRSEQ_LRN_SCREENSHOT" in os.environ:
        hypotheses.nth(0).click()
        view.screenshot(path=os.environ["FAIRSEQ_LRN_SCREENSHOT"], full_page=True)
    assert all(url.startswith(page) for url in view.asked) and len(view.asked) >= 5
    # The browser itself logs that there is no icon.
    assert all("Failed to load resource" in text for text in view.wrong)


def test_lines(view, sources, translations):
    """The page shows all lines of a text, and the details of the line that is selected."""
    translate(view, f"{sources[0]}\n\n{sources[1]}")
    outputs = view.locator("#translation p")
    assert outputs.all_inner_texts() == [translations[0], "", translations[1]]
    view.get_by_label("Details of line").select_option(f"3: {sources[1]}")
    assert view.locator("#nbest button").first.inner_text().endswith(translations[1])
    view.locator("#nbest button").nth(1).click()
    assert outputs.first.inner_text() == translations[0]
    assert outputs.last.inner_text() != translations[1]
    translate(view, sources[1])
    assert shown(view) == translations[1]
    assert view.get_by_label("Details of line").is_hidden()


def test_keyboard(view, sources, translations):
    text, focus = view.get_by_label("Text", exact=True), "document.activeElement.id"
    text.fill(sources[0])
    text.press("Shift+Enter")
    assert text.input_value() == f"{sources[0]}\n"
    # Enter ends the input of a character that takes several keys.
    composing = {"key": "Enter", "isComposing": True, "bubbles": True}
    text.dispatch_event("keydown", composing)
    assert not [url for url in view.asked if url.endswith("/translate")]
    text.press("Enter")
    view.locator("#details").wait_for()
    assert shown(view).strip() == translations[0] and view.evaluate(focus) == "text"
    view.get_by_role("button", name="Translate").press("Enter")
    view.locator("body:not(.busy)").wait_for()
    assert view.evaluate(focus) == "go"


@pytest.mark.parametrize(
    "text, message",
    [
        ("dog " * 300, "The field text has 1200 characters: at most 1000"),
        (" \n", "Type a text first."),
    ],
)
def test_error(view, source, text, message):
    """An error replaces an earlier result, and is said at once; a result is said, too."""
    translate(view, source)
    assert view.get_by_role("status").inner_text() == shown(view) != ""
    assert view.get_by_role("alert").is_hidden()
    translate(view, text)
    assert view.get_by_role("alert").inner_text().lower() == message.lower()
    assert shown(view) == "" and view.locator("#details").is_hidden()
    translate(view, source)
    assert shown(view) != "" and view.get_by_role("alert").is_hidden()


@pytest.mark.parametrize("width, height", SIZES)
def test_accessibility(view, sources, width, height):
    view.set_viewport_size({"width": width, "height": height})
    for text in ("\n".join(sources[:2]), ""):
        translate(view, text)
        assert overflow(view) <= 0
        for scheme in ("light", "dark"):
            view.emulate_media(color_scheme=scheme)
            assert violations(view) == [], (text, scheme)


@pytest.mark.parametrize("width, height", SIZES)
def test_long_text(view, sources, width, height):
    """Long lists and large maps do not make the page endless."""
    view.set_viewport_size({"width": width, "height": height})
    translate(view, " ".join(sources)[:MAX_CHARACTERS])
    assert view.get_by_role("table", name="Memory").locator("tbody tr").count() > 150
    assert overflow(view) <= 0
    assert view.evaluate("document.documentElement.scrollHeight") < 3000


@pytest.fixture
def label_page(warm, root, browser, tmp_path):
    """A function that serves an untrained model, and returns its page in a tab."""
    opened = []

    def serve(name):
        checkpoints = untrained_model(tmp_path, name)
        output, ours = os.pipe()
        with open(os.devnull, "r+") as null:
            streams = [null.fileno(), ours, null.fileno()]
            arguments = ["-m", "fairseq_lrn", "serve", str(checkpoints), "--port", "0"]
            process = warm.start(streams, "python", arguments, directory=str(root))
        os.close(ours)
        view = browser.new_page(viewport={"width": 390, "height": 840})
        opened.append((process, view))
        view.wrong = []
        view.on("pageerror", lambda error: view.wrong.append(str(error)))
        with open(output) as lines:
            view.goto(lines.readline().split()[0])
        return view

    yield serve
    for process, view in opened:
        view.close()
        process.terminate()
        process.join(timeout=60)


def label(view, button="Label"):
    view.get_by_role("button", name=button).click()
    view.locator("body:not(.busy)").wait_for()


def test_classification(label_page):
    view = label_page("reviews")
    view.get_by_label("Text", exact=True).fill("a fine film\n\ndull")
    label(view)
    parts = view.locator("#result section")
    assert parts.count() == 2 and view.locator("#kind").inner_text() == "classification"
    assert parts.first.locator(".word").all_inner_texts() == ["a", "fine", "film"]
    assert sorted(parts.first.locator("b").all_inner_texts()) == ["bad", "good"]
    for scheme in ("light", "dark"):
        view.emulate_media(color_scheme=scheme)
        assert violations(view) == []
    assert overflow(view) <= 0
    view.get_by_label("Text", exact=True).fill(" ")
    label(view)
    assert view.get_by_role("alert").inner_text() == "Type a text first."
    assert parts.count() == 0 and view.wrong == []


def test_pairs(label_page):
    view = label_page("pairs")
    view.get_by_label("First text").fill("a dog")
    view.get_by_label("Second text").fill("a cat\nan animal")
    label(view)
    assert "first text has 1 line, and the second has 2" in view.get_by_role("alert").inner_text()
    view.get_by_label("Second text").fill("an animal")
    label(view)
    words = view.locator("#result section .word").all_inner_texts()
    assert words == ["a", "dog", "an", "animal"] and violations(view) == []


def test_entities(label_page):
    """Entities are marked in the text, at their places, also after characters of two code units."""
    view = label_page("tagged")
    answer = {
        "lines": [
            {
                "text": "\U0001f600 Ada lives.",
                "entities": [{"type": "PER", "text": "Ada", "start": 2, "end": 5}],
            }
        ]
    }
    view.route("**/label", lambda route: route.fulfill(json=answer))
    view.get_by_label("Text", exact=True).fill("text")
    label(view)
    assert view.locator("#result mark").inner_text() == "Ada PER"
    assert view.locator("#result p").inner_text() == "\U0001f600 Ada PER lives."
    assert violations(view) == [] and view.wrong == []


def test_answers(label_page):
    """Each question has its answer, which is marked in the text."""
    view = label_page("questions")
    view.get_by_label("Questions").fill("Where is Ada?\nWho?")
    view.get_by_label("Text", exact=True).fill("\U0001f600 Ada is in Rome.\nBen runs.")
    label(view, "Answer")
    parts = view.locator("#result section")
    assert parts.count() == 2 and view.locator("#kind").inner_text() == "answers"
    assert view.locator("#count").inner_text() == "27 of 5000 characters"
    for number, question in enumerate(("Where is Ada?", "Who?")):
        assert question in parts.nth(number).locator("p").first.inner_text()
        answer = parts.nth(number).locator("b").inner_text()
        assert parts.nth(number).locator("mark").text_content() == answer
    for scheme in ("light", "dark"):
        view.emulate_media(color_scheme=scheme)
        assert violations(view) == []
    assert overflow(view) <= 0
    view.get_by_label("Text", exact=True).fill("")
    label(view, "Answer")
    assert view.get_by_role("alert").inner_text() == "Type a text first."
    assert parts.count() == 0 and view.wrong == []
