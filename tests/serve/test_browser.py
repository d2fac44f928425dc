"""The page and the report in a real browser: nothing fetched elsewhere, nothing on the console, a filled result.

Runs where playwright (pip install playwright) and a Chromium are found.
"""

import os
import shutil

import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.serve import judge as judge_module
from aqa_jax.serve.judge import VideoJudge
from tests.serve.fakes import FakeScorer, fake_explain

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = os.environ.get("AQA_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

DROP = """() => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([new Uint8Array(9)], "dropped.mp4"));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is found; AQA_CHROMIUM may name one")
def test_drop_a_video_see_its_score_save_its_report(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(judge_module, "explain", fake_explain)
    good, bad, large = tmp_path / "<b>good.avi", tmp_path / "bad.mp4", tmp_path / "large.mp4"
    decode.write_video(good, np.full((9, 48, 64, 3), 90, np.uint8), fps=10)
    bad.write_bytes(b"not a video" * 99)
    large.write_bytes(bytes(1_100_000))
    judge = VideoJudge(FakeScorer(), decode_seconds=60, decode_mb=768)
    told, asked = [], []
    with serve(judge, needs_difficulty=True) as port, playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 390, "height": 800})
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"http://127.0.0.1:{port}/")
        page.set_input_files("#file", good)
        page.wait_for_selector("#error:not([hidden])")
        assert "Give the difficulty" in page.inner_text("#error")
        page.fill("#difficulty", "2.0")
        page.dispatch_event("#difficulty", "change")
        page.wait_for_selector("#result main", timeout=20_000)
        assert page.inner_text("#result h1") == "<b>good.avi"
        assert float(page.inner_text("#result .score strong")) == pytest.approx(180, abs=8)
        assert page.inner_text("#result .intervals dd >> nth=0").count(" to ") == 1
        whole = "Promise.all([...document.images].map((image) => image.decode())).then(() => true)"
        assert page.evaluate(whole)
        assert page.evaluate("document.images.length") >= 8
        fits = "document.documentElement.scrollWidth <= window.innerWidth"
        assert page.evaluate(fits)
        with page.expect_download() as saved:
            page.click("#report")
        report = tmp_path / "saved.html"
        saved.value.save_as(report)
        for path, words in ((bad, "bad.mp4"), (large, "1 MB is the most")):
            page.set_input_files("#file", path)
            page.wait_for_selector("#error:not([hidden])")
            assert words in page.inner_text("#error") and page.query_selector("#result main") is None
        page.evaluate(DROP)
        page.wait_for_selector("#error:has-text('dropped.mp4')")
        page.goto(report.as_uri())
        assert page.evaluate(whole)
        assert page.inner_text("h1") == "<b>good.avi" and page.evaluate(fits)
        browser.close()
    assert told == []
    elsewhere = [url for url in asked if not url.startswith((f"http://127.0.0.1:{port}/", "data:", report.as_uri()))]
    assert not [url for url in elsewhere if not url.startswith(f"blob:http://127.0.0.1:{port}/")]
