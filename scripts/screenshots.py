"""Drives the local page and the reports of a run in headless Chromium, and takes the pictures of docs/reports.md.

    python scripts/screenshots.py --workdir RUN --input VIDEO [--difficulty 3.0] [--output docs]

Exit code 1 where the browser says anything on its console, asks for anything from elsewhere, a page is wider than the
window, or no score comes. Needs playwright (pip install playwright) and a Chromium, which AQA_CHROMIUM may name.
"""

import argparse
import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).parents[1]
MAX_BYTES = 190_000
# Width in CSS pixels, device pixels for each, height that is kept.
SIZES = {"": (1000, 1.0, 1960), "_phone": (390, 1.5, 2250)}
_ANIMATED_MS = 900


class Watched:
    """A browser whose every word and request is noted."""

    def __init__(self, browser: Any):
        self.browser = browser
        self.problems: list[str] = []

    def open(self, url: str, width: int, scale: float) -> Any:
        """A page in a window of that width."""
        context = self.browser.new_context(viewport={"width": width, "height": 900}, device_scale_factor=scale)
        page = context.new_page()
        own = url if url.startswith("file:") else re.match(r"http://[^/]*/", url)[0]  # type: ignore[index]
        page.on("console", lambda message: self.problems.append(f"{url} says: {message.text}"))
        page.on("pageerror", lambda error: self.problems.append(f"{url} fails: {error}"))
        page.on("request", lambda request: self._check(url, own, request.url))
        page.goto(url)
        return page

    def _check(self, url: str, own: str, asked: str) -> None:
        if not asked.startswith((own, "data:", f"blob:{own}")):
            self.problems.append(f"{url} asks for {asked}")

    def picture(self, page: Any, path: Path, height: int) -> None:
        """Keeps the upper part of the whole page as a small PNG."""
        # Fails where a picture is broken.
        page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
        page.wait_for_timeout(_ANIMATED_MS)
        if page.evaluate("document.documentElement.scrollWidth > window.innerWidth"):
            self.problems.append(f"{path.name}: wider than the window")
        whole = Image.open(io.BytesIO(page.screenshot(full_page=True))).convert("RGB")
        image = whole.crop((0, 0, whole.width, min(whole.height, height)))
        for colours in (256, 128, 64):
            image.quantize(colours, dither=Image.Dither.NONE).save(path, optimize=True)
            if path.stat().st_size <= MAX_BYTES:
                break
        page.context.close()
        print(f"{path}: {image.width} x {image.height}, {path.stat().st_size:,} bytes")


@contextlib.contextmanager
def serving(workdir: Path) -> Iterator[str]:
    """The address of the page of a run."""
    command = [sys.executable, "run.py", "--workdir", str(workdir), "--mode", "serve", "--config.serve.port=0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://\S+", line):
                    yield found[0]
                    break
            else:
                sys.exit("the page did not start")
        finally:
            process.terminate()


def run(*words: str) -> None:
    """A command of run.py."""
    subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, check=True)


def main() -> int:
    """Entry point."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workdir", type=Path, required=True, help="of a finished run")
    parser.add_argument("--input", type=Path, required=True, help="a video")
    parser.add_argument("--difficulty", default="3.0")
    parser.add_argument("--output", type=Path, default=ROOT / "docs")
    given = parser.parse_args()
    workdir, video = given.workdir.resolve(), given.input.resolve()
    chromium = os.environ.get("AQA_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as started, serving(workdir) as url:
        report, saved = Path(folder) / "run.html", Path(folder) / "video.html"
        run("--workdir", str(workdir), "--mode", "report", "--output", str(report))
        watched = Watched(started.chromium.launch(executable_path=chromium, args=["--no-sandbox"]))
        for suffix, (width, scale, height) in SIZES.items():
            page = watched.open(url, width, scale)
            if page.query_selector("input#difficulty"):
                page.fill("#difficulty", given.difficulty)
            start = time.monotonic()
            page.set_input_files("#file", video)
            page.wait_for_selector("#result main, #error:not([hidden])", timeout=120_000)
            if not page.query_selector("#result main"):
                sys.exit(page.inner_text("#error"))
            score = page.inner_text("#result .score")
            print(f"{video.name}: {' '.join(score.split())} after {time.monotonic() - start:.1f} s")
            with page.expect_download() as download:
                page.click("#report")
            download.value.save_as(saved)
            watched.picture(page, given.output / f"serve{suffix}.png", round(0.6 * height))
            page = watched.open(saved.as_uri(), width, scale)
            watched.picture(page, given.output / f"report_video{suffix}.png", height)
        page = watched.open(report.as_uri(), *SIZES[""][:2])
        watched.picture(page, given.output / "report_run.png", 2350)
        page = watched.open(report.as_uri(), *SIZES["_phone"][:2])
        watched.picture(page, Path(folder) / "report_run_phone.png", 2250)
        watched.browser.close()
    print(
        "\n".join(watched.problems)
        or "nothing on the console, nothing asked from elsewhere, nothing wider than the window"
    )
    return int(bool(watched.problems))


if __name__ == "__main__":
    sys.exit(main())
