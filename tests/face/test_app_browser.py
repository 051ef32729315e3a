"""
The page in a browser: what a visitor does and sees, and that nothing leaves the machine.

    EMOICL_PICTURES=docs python -m pytest tests/face/test_app_browser.py

makes the pictures of the README again.
"""

import io
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from bundled_models import needs_bundled
from PIL import Image

from emoicl.bundled import BUNDLED_CLIPS
from emoicl.loading import load_pipeline
from emoicl.training.data.corpus import load_corpus


pytest.importorskip("gradio")
playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs chromium"),
    needs_bundled,
]

# A microphone that beeps, and none of the browser's own calls home.
FLAGS = """
    --headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --use-fake-device-for-media-stream --use-fake-ui-for-media-stream
""".split()
PICTURES = os.environ.get("EMOICL_PICTURES")
# A test machine may be busy.
PATIENCE_MS = 60_000
LOCAL = {"127.0.0.1", "localhost", "::1", "0.0.0.0", None}


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """Files of one speaker: an utterance of each of two labels, another one, a long recording, and no audio at all."""
    folder = tmp_path_factory.mktemp("clips")
    speech: Any = load_corpus(BUNDLED_CLIPS).utterances[:21]
    for name, clip in (("anger", speech[1]), ("disgust", speech[4]), ("target", speech[0])):
        (folder / f"{name}.ogg").write_bytes(clip.audio)
    long = [soundfile.read(io.BytesIO(clip.audio))[0] for clip in speech]
    soundfile.write(folder / "long.wav", np.concatenate(long), 16000)
    (folder / "bad.wav").write_bytes(b"no audio at all" * 100)
    return folder


@pytest.fixture(scope="module")
def hosts():
    """The hosts that this process looks up or connects to while the page is served."""
    found = set()
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def noted_look_up(host, *args, **kwargs):
        found.add(host.decode() if isinstance(host, bytes) else host)
        return look_up(host, *args, **kwargs)

    def noted_connect(self, address):
        found.add(address[0] if isinstance(address, tuple) else None)
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", noted_look_up)
        patch.setattr(socket.socket, "connect", noted_connect)
        yield found


@pytest.fixture(scope="module")
def address(tmp_path_factory, hosts):
    """Serves the page, and looks at what is left when it ends."""
    from emoicl.app import build_app, launch

    uploads = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", str(uploads))
        page = build_app(load_pipeline("bursts"))
        yield launch(page, "127.0.0.1")
        assert [path for path in uploads.rglob("*") if path.is_file()], "recordings are files while it is served"
        page.close(verbose=False)
    assert [path for path in uploads.rglob("*") if path.is_file()] == []
    assert hosts - LOCAL == set()


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as tools:
        playwright.expect.set_options(timeout=PATIENCE_MS)
        browser = tools.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visitor(browser, address):
    """A visitor on the page; none of what their browser asks for may come from elsewhere."""
    asked = []
    context = browser.new_context(viewport={"width": 1240, "height": 900}, permissions=["microphone"])
    context.set_default_timeout(PATIENCE_MS)
    page = context.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.goto(address)
    page.wait_for_selector("#emoicl-add")
    yield page
    context.close()
    assert len(asked) > 5
    assert [url for url in asked if not url.startswith((address, "blob:", "data:"))] == []


def upload(page, part, path):
    """Puts a file in one of the two audio parts, in place of what is there."""
    clear = page.locator(f'#{part} button[aria-label="Clear"]')
    if clear.count():
        clear.first.click()
    page.locator(f"#{part} input[type=file]").set_input_files(path)
    page.wait_for_selector(f'#{part} button[aria-label="Clear"]')


def enroll(page, path, label):
    upload(page, "emoicl-recording", path)
    page.locator("#emoicl-label input").click()
    page.get_by_role("option", name=label).click()
    page.locator("#emoicl-add").click()


def percentages(page):
    """The numbers of the answer, a row for each label."""
    rows = page.locator(".emoicl-bars tbody tr").all()
    return [[int(number) for number in re.findall(r"(\d+) %", row.inner_text())] for row in rows]


def picture(page, name, height):
    """Takes a picture of what a visitor sees for the README, if it is asked for; few colors make it a small file."""
    if PICTURES:
        page.set_viewport_size({"width": page.viewport_size["width"], "height": height})
        page.wait_for_timeout(1500)
        image = Image.open(io.BytesIO(page.screenshot())).convert("RGB").quantize(128)
        image.save(Path(PICTURES) / f"{name}.png", optimize=True)


def test_enroll_recognize_and_remove(visitor, clips):
    upload(visitor, "emoicl-target", clips / "target.ogg")
    playwright.expect(visitor.locator(".emoicl-bars thead")).to_contain_text("Without enrollment")
    assert [len(row) for row in percentages(visitor)] == [1] * 7
    without = [row[0] for row in percentages(visitor)]
    assert 97 <= sum(without) <= 103

    visitor.locator("#emoicl-consent input").check()
    for number, label in enumerate(("Anger", "Disgust"), start=1):
        enroll(visitor, clips / f"{label.lower()}.ogg", label)
        table = visitor.locator("#emoicl-profile")
        playwright.expect(table).to_contain_text(f"{number} of at most 31")
        playwright.expect(table.locator("tbody tr").last).to_contain_text(f"{label}1.9 s")
    playwright.expect(visitor.locator(".emoicl-bars thead")).to_contain_text("With 2 utterances")
    assert [row[0] for row in percentages(visitor)] == without
    both = percentages(visitor)
    assert [row[1] for row in both] != without

    visitor.get_by_label("Remove utterance 1, Anger").click()
    playwright.expect(visitor.locator("#emoicl-profile tbody tr")).to_have_count(1)
    playwright.expect(visitor.locator("#emoicl-profile tbody tr")).to_contain_text("Disgust")
    playwright.expect(visitor.locator(".emoicl-bars thead")).to_contain_text("With 1 utterance")
    assert percentages(visitor) != both

    visitor.locator("#emoicl-clear").click()
    playwright.expect(visitor.locator("#emoicl-profile")).to_contain_text("Nobody is enrolled")
    playwright.expect(visitor.locator(".emoicl-bars")).to_contain_text("Enroll the speaker")


def test_what_cannot_be_used_is_said_on_the_page(visitor, clips):
    problem = visitor.locator("#emoicl-problem")
    visitor.locator("#emoicl-add").click()
    playwright.expect(problem).to_contain_text("consent")
    visitor.locator("#emoicl-consent input").check()
    visitor.locator("#emoicl-add").click()
    playwright.expect(problem).to_contain_text("Record or upload an utterance")
    for part, place in (("emoicl-recording", problem), ("emoicl-target", visitor.locator("#emoicl-answer"))):
        upload(visitor, part, clips / "bad.wav")
        visitor.locator("#emoicl-add").click()
        playwright.expect(place).to_contain_text("bad.wav: 1500 bytes that are not readable audio")
    assert "Traceback" not in visitor.content()

    enroll(visitor, clips / "anger.ogg", "Anger")
    playwright.expect(visitor.locator("#emoicl-profile")).to_contain_text("1 of at most 31")
    playwright.expect(problem).to_be_hidden()


def test_an_utterance_is_recorded(visitor):
    visitor.locator("#emoicl-consent input").check()
    visitor.locator('#emoicl-recording button[aria-label="Record audio"]').click()
    visitor.locator("#emoicl-recording button.record-button").click()
    visitor.wait_for_timeout(2000)
    # What is shown already may not have been sent yet.
    with visitor.expect_response(lambda response: "/upload" in response.url and response.ok):
        visitor.locator("#emoicl-recording button.stop-button").click()
    visitor.wait_for_selector("#emoicl-recording [data-testid='waveform-controls']")
    visitor.locator("#emoicl-add").click()
    playwright.expect(visitor.locator("#emoicl-profile")).to_contain_text("1 of at most 31")


def test_an_example_speaker_is_one_click(visitor, clips):
    visitor.locator("#emoicl-example").click()
    playwright.expect(visitor.locator("#emoicl-profile")).to_contain_text("7 of at most 31")
    playwright.expect(visitor.locator("#emoicl-said")).to_contain_text("Example speaker 1 of 8")
    playwright.expect(visitor.locator(".emoicl-bars thead")).to_contain_text("With 7 utterances")
    assert [len(row) for row in percentages(visitor)] == [2] * 7
    picture(visitor, "app", height=980)

    visitor.set_viewport_size({"width": 400, "height": 860})
    visitor.wait_for_timeout(500)
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 400, "nothing sticks out on a phone"
    visitor.set_viewport_size({"width": 320, "height": 860})
    assert visitor.evaluate("document.documentElement.scrollWidth") <= 320, "nor on a small one"
    visitor.set_viewport_size({"width": 400, "height": 860})
    playwright.expect(visitor.locator("#emoicl-notice")).to_be_in_viewport()
    visitor.evaluate("document.querySelector('#emoicl-target').scrollIntoView()")
    picture(visitor, "app-phone", height=720)
    visitor.set_viewport_size({"width": 1240, "height": 900})

    upload(visitor, "emoicl-target", clips / "long.wav")
    playwright.expect(visitor.locator(".emoicl-timeline")).to_contain_text("Timeline with the enrollment")
    playwright.expect(visitor.locator("#emoicl-said")).to_be_hidden()
    assert visitor.locator(".emoicl-timeline .lane").count() == 8, "seven labels and the axis"
    playwright.expect(visitor.locator("#emoicl-notice")).to_be_in_viewport()
    picture(visitor, "app-timeline", height=980)


def luminance(color):
    """Relative luminance (WCAG 2) of a color such as `rgb(15, 118, 110)`."""
    shares = [int(part) / 255 for part in re.findall(r"\d+", color)[:3]]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_sign_is_seen_in_the_dark(visitor):
    """At least 3 to 1, as WCAG 2.2 has it for what is no text, and 4.5 to 1 for what says where to drop a file."""
    visitor.emulate_media(color_scheme="dark")
    visitor.reload()
    visitor.wait_for_selector("body.dark #emoicl-target button.selected")
    behind = luminance(visitor.evaluate("getComputedStyle(document.querySelector('#emoicl-target')).backgroundColor"))
    for selector, what, least in (
        ("#emoicl-target button.selected", "color", 3),
        ("#emoicl-target button.icon:not(.selected)", "color", 3),
        ("#emoicl-target .icon-wrap", "color", 4.5),
        ("#emoicl-consent input", "borderTopColor", 3),
    ):
        color = visitor.evaluate(f"getComputedStyle(document.querySelector('{selector}')).{what}")
        assert (luminance(color) + 0.05) / (behind + 0.05) >= least, (selector, color)


def test_visitors_do_not_see_each_others_profiles(visitor, browser, address):
    visitor.locator("#emoicl-example").click()
    playwright.expect(visitor.locator("#emoicl-profile")).to_contain_text("7 of at most 31")
    context = browser.new_context()
    other = context.new_page()
    other.goto(address)
    playwright.expect(other.locator("#emoicl-profile")).to_contain_text("Nobody is enrolled")
    context.close()
