"""The page and its one verb: a video comes, its score and report go."""

import asyncio
import contextlib
import json
import math
import sys
import tempfile
import traceback
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import resources
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aqa_jax.errors import AqaError, RunError, StorageError
from aqa_jax.report import page
from aqa_jax.serve.guard import Guard
from aqa_jax.stopping import half_done

_TEMPLATES = resources.files("aqa_jax.serve") / "templates"

_DRAIN_SECONDS = 10.0
Judge = Callable[[Path, str, float | None], Mapping[str, Any]]
"""(file, its name, difficulty) -> an answer that becomes JSON; AqaError where the file cannot be scored."""


@dataclass(frozen=True)
class Limits:
    """Of one request: megabytes of the video, seconds from its arrival to the answer."""

    megabytes: int
    seconds: float


class Busy:
    """Whether a video is being scored: one at a time, for one model has one memory."""

    def __init__(self) -> None:
        self.taken = False


def make_app(
    judge: Judge,
    *,
    port: int,
    limits: Limits,
    needs_difficulty: bool,
    difficulties: tuple[float, ...] | None = None,
    difficulty: float | None = None,
    name: str,
) -> Starlette:
    """The page as an ASGI app.

    Args:
      judge: scores a file.
      port: the page's own, for its guard.
      limits: of one request.
      needs_difficulty: whether ``judge`` needs a difficulty.
      difficulties: the only ones that it knows; None: any.
      difficulty: that the page starts with; None: whoever drops a video must say.
      name: of the model, for people.
    """
    # One thread: jax's programs and the decoder's process are used by one video after another.
    worker, busy = ThreadPoolExecutor(1, thread_name_prefix="score"), Busy()
    html = page.environment("aqa_jax.serve").get_template("page.html").render(
        name=name, needs_difficulty=needs_difficulty, difficulties=difficulties, difficulty=difficulty, limits=limits
    )  # fmt: skip
    style = page.stylesheet() + (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    script = (_TEMPLATES / "page.js").read_text(encoding="utf-8")

    def fixed(content: str, kind: str) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            return Response(content, media_type=kind)

        return answer

    async def score(request: Request) -> Response:
        try:
            answer = await _scored(request, judge, worker, busy, limits, needs_difficulty)
            return Response(answer, media_type="application/json")
        except HTTPException as error:
            await _drain(request, limits.megabytes * 10**6)
            # A browser writes other statuses to its console, whatever the page makes of them.
            status = 200 if "page" in request.query_params else error.status_code
            return JSONResponse({"error": error.detail}, status)

    routes = [
        Route("/", fixed(html, "text/html")),
        Route("/page.css", fixed(style, "text/css")),
        Route("/page.js", fixed(script, "text/javascript")),
        Route("/score", score, methods=["POST"]),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, port=port)])


async def _scored(
    request: Request, judge: Judge, worker: ThreadPoolExecutor, busy: Busy, limits: Limits, needs_difficulty: bool
) -> str:
    """The judge's answer, as JSON, to the video that ``request`` carries.

    Raises:
      HTTPException: there is none; the detail is a sentence for people.
    """
    if busy.taken:
        raise HTTPException(503, "Another video is being scored: try again in a moment.")
    name = _name(request.query_params.get("name", ""))
    difficulty = _difficulty(request.query_params.get("difficulty"), needs_difficulty)
    held = contextlib.ExitStack()
    busy.taken, handed_over = True, False

    def work() -> str:
        try:
            # Numpy's numbers become plain ones.
            return json.dumps(judge(path, name, difficulty), default=lambda x: x.tolist(), allow_nan=False)
        finally:
            held.close()
            busy.taken = False

    try:
        async with asyncio.timeout(limits.seconds):
            try:
                folder = tempfile.TemporaryDirectory(prefix="aqa_jax_", ignore_cleanup_errors=True)
                held.callback(folder.cleanup)
                # A scoring that nobody waits for any longer goes on in its thread when SIGTERM ends the page.
                held.enter_context(half_done(folder.cleanup))
                # Only the ending of a stranger's name is used, and only letters and digits of it.
                path = Path(folder.name) / f"video{_ending(name)}"
                await _receive(request, path, limits.megabytes * 10**6)
            except OSError as error:
                raise StorageError(f"The video could not be kept while it is scored: {error}") from None
            # The thread frees what it holds, also where nobody waits for it any longer.
            running = asyncio.get_running_loop().run_in_executor(worker, work)
            handed_over = True
            running.add_done_callback(lambda done: done.cancelled() or done.exception())
            return await asyncio.shield(running)
    except TimeoutError:
        raise HTTPException(
            504, f"This took longer than {limits.seconds:g} seconds: send a shorter video, or start the page with a "
            "larger --config.serve.max_seconds."
        ) from None  # fmt: skip
    except StorageError as error:
        raise _no_room(error) from None
    except AqaError as error:
        if isinstance(error, RunError):  # The video is not to blame.
            raise _failed() from None
        raise HTTPException(422, str(error).replace(str(path), name)) from None
    except HTTPException:
        raise
    except ClientDisconnect:
        raise HTTPException(400, "The video did not arrive whole.") from None
    except Exception:
        raise _failed() from None
    finally:
        if not handed_over:
            held.close()
            busy.taken = False


def _failed() -> HTTPException:
    """For whoever runs the page, the error that is under way; a visitor learns nothing of this machine."""
    traceback.print_exc()
    return HTTPException(500, "The program failed on this video: its terminal says why.")


def _no_room(error: StorageError) -> HTTPException:
    print(f"StorageError: {error}", file=sys.stderr, flush=True)
    return HTTPException(
        507, "The video cannot be kept here while it is scored. Is the disk full? The terminal says more."
    )


async def _receive(request: Request, path: Path, most: int) -> None:
    """Writes the body to ``path``; HTTPException where it is empty or larger than ``most`` bytes."""
    too_large = HTTPException(
        413, f"The video is larger than {most / 1e6:g} MB: cut it, or start the page with a larger "
        "--config.serve.max_mb."
    )  # fmt: skip
    with contextlib.suppress(ValueError):
        if int(request.headers.get("content-length", "0")) > most:
            raise too_large
    size = 0
    with open(path, "wb") as file:
        async for chunk in request.stream():
            size += len(chunk)
            if size > most:
                raise too_large
            file.write(chunk)
    if not size:
        raise HTTPException(400, "The file is empty.")


async def _drain(request: Request, most: int) -> None:
    """Takes what still comes: a browser that is cut off while it sends never reads the answer."""
    with contextlib.suppress(ClientDisconnect, RuntimeError, TimeoutError):
        async with asyncio.timeout(_DRAIN_SECONDS):
            async for chunk in request.stream():
                most -= len(chunk)
                if most < 0:
                    break


def _name(given: str) -> str:
    """The last part of a file's name, without what cannot be shown."""
    last = PurePosixPath(PureWindowsPath(given).name).name
    shown = "".join(c for c in last if c.isprintable())[:120]
    return shown if shown.strip(". ") else "video"


def _ending(name: str) -> str:
    ending = PurePosixPath(name).suffix
    return ending if ending[1:].isascii() and ending[1:].isalnum() and len(ending) <= 6 else ""


def _difficulty(given: str | None, needed: bool) -> float | None:
    if not needed:
        return None
    try:
        found = float(given or "")
    except ValueError:
        found = math.nan
    if not 0 < found < 1000:
        raise HTTPException(400, "This model needs the difficulty of the action: a number above 0, as 3.0.")
    return found
