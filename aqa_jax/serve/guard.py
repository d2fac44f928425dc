"""Who may talk to a page that is only for this machine, and what its answers forbid the browser."""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Answers only what this machine's browser asks of this very page.

    Host: a name that someone else's DNS points at 127.0.0.1 is refused. Origin: what another site's page sends is
    refused; programs, which send none, are not.
    """

    def __init__(self, app: ASGIApp, port: int):
        """``port`` is that of the page."""
        names = ("127.0.0.1", "localhost")
        self.app, self.hosts = app, {f"{name}:{port}" for name in names} | (set(names) if port == 80 else set())
        self.origins = {f"http://{host}" for host in self.hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuses, or passes on; adds headers to every answer."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        answer = self.app if (why := self._refusal(Headers(scope=scope))) is None else _refused(why)
        await answer(scope, receive, with_headers)

    def _refusal(self, headers: Headers) -> str | None:
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or hosts[0].lower() not in self.hosts:
            return "this page answers to http://127.0.0.1 and http://localhost alone"
        if any(origin not in self.origins for origin in origins):
            return "another site's page may not use this one"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return "another site's page may not use this one"
        return None


def _refused(why: str) -> ASGIApp:
    return JSONResponse({"error": f"Refused: {why}."}, 403)
