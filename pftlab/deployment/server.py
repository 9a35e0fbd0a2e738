"""HTTP in front of a `Backbone`: FastAPI says what a question looks like, uvicorn listens.

    GET  /health                                         {"status": "ok", …}
    GET  /adapters                                       what there is to ask
    POST /predict   {"adapter", "texts"}                 labels with scores, numbers, tags
    POST /generate  {"adapter", "prompt" | "messages"}   a text; with "stream", as it is written

Every error is JSON: {"error": {"type": …, "message": …}}. 400: not as it should be. 404: no such
adapter. 413: too long. 503: come back in a second.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from .. import __version__
from ..core.errors import PftError, Unavailable, UnknownName
from .backbone import Adapter, Backbone, TooLong
from .batching import Batcher, Busy

MOST_TEXTS = 256  # in one question
LARGEST = 1 << 20  # bytes of a question
GRACE = 30  # seconds that are left to answers when the server goes down
log = logging.getLogger("uvicorn.error")


class Model(BaseModel):
    """A question has the fields that it has, and no others."""

    model_config = ConfigDict(extra="forbid")


class Texts(Model):
    """What /predict takes: texts, or pairs of texts, to label."""

    adapter: str | None = None
    texts: Annotated[list[str | tuple[str, str]], Field(min_length=1, max_length=MOST_TEXTS)]


class Message(Model):
    """A turn of a chat."""

    role: str
    content: str


class Prompt(Model):
    """What /generate takes: a text or a chat to go on from."""

    adapter: str | None = None
    prompt: str | None = None
    messages: Annotated[list[Message] | None, Field(min_length=1)] = None
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    temperature: Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    stream: bool = False


def make_app(backbone: Backbone, *, batch: int = 32, room: int = 256) -> FastAPI:
    """The application, for any server that speaks ASGI.

    Args:
        backbone: that answers.
        batch: texts computed together at most.
        room: texts that may wait; beyond them a question is answered with 503.
    """
    queue: Batcher[Any] = Batcher(backbone.run, backbone.fits, batch, room)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(queue.close, GRACE)

    app = FastAPI(title="PFT Lab", version=__version__, lifespan=lifespan)
    app.add_middleware(_BodyLimit)
    _answer_errors(app)

    @app.get("/health")
    def health() -> dict[str, Any]:
        return {"status": "ok", "base": backbone.base, "waiting": len(queue),
                "batches": queue.batches}  # fmt: skip

    @app.get("/adapters")
    def adapters() -> dict[str, Any]:
        return {"adapters": [_about(adapter) for adapter in backbone.adapters.values()]}

    @app.post("/predict")
    async def predict(question: Texts) -> dict[str, Any]:
        adapter = backbone[question.adapter]
        jobs = [backbone.reading(adapter, text) for text in question.texts]
        queue.put(jobs)
        answers = [await asyncio.wrap_future(job.answer) for job in jobs]
        return {"adapter": adapter.name, "answers": answers}

    @app.post("/generate")
    async def generate(question: Prompt) -> Response:
        adapter = backbone[question.adapter]
        if (question.prompt is None) == (question.messages is None):
            raise HTTPException(400, 'Give either "prompt" or "messages".')
        begin: Any = question.prompt
        if question.messages is not None:
            begin = [message.model_dump() for message in question.messages]
        options = {"temperature": question.temperature, "top_p": question.top_p}
        job = backbone.writing(adapter, begin, question.max_new_tokens, **options)
        if question.stream:
            events = _Events(job)
            queue.put([job])
            return StreamingResponse(events.read(), media_type="text/event-stream")
        queue.put([job])
        written = await asyncio.wrap_future(job.answer)
        return JSONResponse({"adapter": adapter.name, **written})

    return app


class _Events:
    """What is written, sent as it comes: server-sent events, from the thread that writes."""

    def __init__(self, job: Any):
        self.job, self.parts = job, asyncio.Queue[str | None]()
        loop = asyncio.get_running_loop()
        job.emit = lambda text: loop.call_soon_threadsafe(self.parts.put_nowait, text)
        job.answer.add_done_callback(
            lambda _: loop.call_soon_threadsafe(self.parts.put_nowait, None)
        )

    async def read(self) -> AsyncIterator[str]:
        try:
            while (part := await self.parts.get()) is not None:
                yield _event({"text": part})
            error = self.job.answer.exception()
            if error is None:
                written = self.job.answer.result()
                yield _event({"done": True, "tokens": written["tokens"], "end": written["end"]})
            else:
                yield _event(_said(error)[1])
        finally:
            self.job.left = True  # the client has gone, or has everything


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n"


def _about(adapter: Adapter) -> dict[str, Any]:
    asked = "/generate" if adapter.writes else "/predict"
    about = {"name": adapter.name, "method": adapter.about, "for": adapter.kind.pipeline}
    return about | {"ask": asked, "labels": list(adapter.labels)}


def _answer_errors(app: FastAPI) -> None:
    """Let every error be JSON of one form."""

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            reason = first.get("ctx", {}).get("error", "")
            return _error(400, "BadJson", f"The body is no JSON: {reason}.")
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        return _error(400, "BadValue", f"{where or 'The body'}: {first['msg']}.")

    @app.exception_handler(HTTPException)
    async def refused(request: Request, error: HTTPException) -> JSONResponse:
        return _error(error.status_code, "BadValue", str(error.detail))

    @app.exception_handler(PftError)
    @app.exception_handler(Exception)
    async def failed(request: Request, error: Exception) -> JSONResponse:
        status, body = _said(error)
        headers = {"Retry-After": "1"} if status == 503 else None
        return JSONResponse(body, status, headers)


def _said(error: BaseException) -> tuple[int, dict[str, Any]]:
    """The status and the body that answer an error."""
    if not isinstance(error, PftError):
        log.error("A text could not be answered", exc_info=error)
        kind, message = "Failure", "The server failed. Its log says why."
        return 500, {"error": {"type": kind, "message": message}}
    statuses = {Busy: 503, UnknownName: 404, TooLong: 413}
    status = next((code for kind, code in statuses.items() if isinstance(error, kind)), 400)
    return status, {"error": {"type": type(error).__name__, "message": str(error)}}


def _error(status: int, kind: str, message: str) -> JSONResponse:
    return JSONResponse({"error": {"type": kind, "message": message}}, status)


Receive = Callable[[], Awaitable[dict[str, Any]]]


class _BodyLimit:
    """Answers 413 to a body that is too large, before all of it is in memory."""

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body, more = b"", True
        while more and len(body) <= LARGEST:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body += message.get("body", b"")
            more = message.get("more_body", False)
        if len(body) > LARGEST:
            answer = _error(413, "TooLarge", f"The body has more than {LARGEST:,} bytes.")
            await answer(scope, receive, send)
            return
        whole: list[dict[str, Any]] = [{"type": "http.request", "body": body}]

        async def again() -> dict[str, Any]:
            return whole.pop() if whole else await receive()

        await self.app(scope, again, send)


def run(app: FastAPI, host: str, port: int, tell: Callable[[str], object] = print) -> None:
    """Listen until SIGINT or SIGTERM, answer what was asked by then, and return.

    Args:
        app: from `make_app`.
        host: 127.0.0.1 for this machine alone. There is no password.
        port: 0: a free one.
        tell: is given the address.

    Raises:
        Unavailable: the address cannot be listened on.
    """
    import socket

    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listening = socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise Unavailable(
            f"{host}:{port} cannot be listened on ({error}). Give another --port, or --port 0 for "
            "a free one."
        ) from error
    shown = f"[{host}]" if ":" in host else host
    tell(f"http://{shown}:{listening.getsockname()[1]}")
    settings = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=GRACE)
    try:
        uvicorn.Server(settings).run(sockets=[listening])
    except KeyboardInterrupt:  # raised again when all is answered
        pass
    finally:
        listening.close()
