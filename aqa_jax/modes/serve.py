"""A page on this machine: drop a video, see its score, its interval, and why."""

import socket

from aqa_jax.errors import ConfigError
from aqa_jax.modes.request import Request


def run(request: Request) -> int:
    """Serves the page on 127.0.0.1 until it is stopped."""
    try:
        import uvicorn

        from aqa_jax.serve.app import Limits, make_app
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"--mode serve needs {error.name}, which is not installed: pip install -r requirements-serve.txt"
        ) from None
    from aqa_jax.predict.ensemble import make_scorer
    from aqa_jax.serve.judge import VideoJudge, title

    config, settings = request.config, request.config.serve
    listening = _listen(settings.port)
    port = listening.getsockname()[1]
    keep_in = (request.output or request.predictions.with_name("served")) if settings.keep else None
    with listening:
        scorer = make_scorer(config, request.workdir)
        judge = VideoJudge(
            scorer, decode_seconds=min(config.predict.decode_seconds, settings.max_seconds),
            decode_mb=config.predict.decode_mb, thumbnails=config.report.thumbnails, names=config.report.names,
            keep_in=keep_in,
        )  # fmt: skip
        print("Getting ready …", flush=True)
        judge.warm_up()
        app = make_app(
            judge, port=port, limits=Limits(settings.max_mb, settings.max_seconds), name=title(scorer, request.workdir),
            needs_difficulty=scorer.needs_difficulty, difficulties=scorer.known_difficulties,
            difficulty=config.predict.difficulty or None,
        )  # fmt: skip
        print(f"Open http://127.0.0.1:{port}/ in a browser of this machine. Ctrl+C ends it.", flush=True)
        print(f"Every video and report is kept in {keep_in}." if keep_in else "Nothing is kept.", flush=True)
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                log_level="warning",
                access_log=False,
                server_header=False,
                proxy_headers=False,
                limit_concurrency=64,
            )
        )
        try:
            server.run(sockets=[listening])
        except KeyboardInterrupt:
            print("Ended.")
    return 0


def _listen(port: int) -> socket.socket:
    """A socket that only this machine reaches.

    Raises:
      ConfigError: the port is taken.
    """
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(("127.0.0.1", port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"config.serve.port={port} cannot be used ({error.strerror}): choose another; 0 takes any that is free."
        ) from None
    return listening
