"""The application: a page, example images, and the JSON interface."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from detection.errors import DataError
from detection.serving.answers import Answer, Health, Problem, Settings
from detection.serving.guard import Guard, GuardRules, too_large
from detection.serving.pages import read_page, render_api, security_headers
from detection.serving.service import Service, Upload
from detection.serving.worker import QueueFullError, Worker
from detection.version import VERSION

_LOG = logging.getLogger(__name__)
_POLL_SECONDS = 0.5
_GONE = 499
"""What some servers note for a client that went away; nobody reads it."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no image, a damaged one, or no file at all"},
    413: {"model": Problem, "description": "the file is too large"},
    415: {"model": Problem, "description": "the request is no form"},
    503: {"model": Problem, "description": "the queue is full; try again after Retry-After"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the server accepts.

    Attributes:
        max_upload_bytes: the largest file.
        places: how many images may wait.
        loopback_only: refuse requests sent to another name than this machine's own.
    """

    max_upload_bytes: int = 20 * 2**20
    places: int = 16
    loopback_only: bool = True


def make_app(service: Service, limits: Limits, examples: Sequence[Path] = ()) -> FastAPI:
    """Return the application; its worker thread starts with it.

    Args:
        service: the detectors.
        limits: what is accepted.
        examples: images that the page offers.
    """
    worker: Worker[Upload, Answer] = Worker(service.answer, limits.places)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        worker.close()
        service.search.close()

    app = FastAPI(
        title="detection",
        version=VERSION,
        description="Objects in images, by R-CNN and SPPnet.",
        docs_url=None,  # both load scripts from another server
        redoc_url=None,
        lifespan=lifespan,
    )
    app.state.stop = worker.close
    _add_interface(app, worker, limits)
    _add_settings(app, service, limits, examples)
    headers = _add_pages(app)
    _add_problems(app)
    rules = GuardRules(
        loopback_only=limits.loopback_only,
        max_upload_bytes=limits.max_upload_bytes,
        headers=headers,
    )
    app.add_middleware(Guard, rules=rules)
    return app


def _add_interface(app: FastAPI, worker: Worker[Upload, Answer], limits: Limits) -> None:
    @app.post("/v1/detect", responses=_PROBLEMS, summary="Find the objects in an image")
    async def detect(
        request: Request,
        image: Annotated[UploadFile, File(description="JPEG, PNG, BMP, WEBP, GIF, TIFF or PPM")],
    ) -> Answer:
        """Search boxes and let every detector score them.

        Detections of low scores come too: choose a threshold. The image is not kept.
        """
        data = await image.read()
        if len(data) > limits.max_upload_bytes:
            raise HTTPException(413, too_large(limits.max_upload_bytes))
        return await _finished(
            request, worker.submit(Upload(name=_name(image.filename), data=data))
        )

    @app.get("/v1/health", summary="Say how busy the server is")
    async def health() -> Health:
        return Health(waiting=worker.waiting, queue=worker.places)


def _add_settings(app: FastAPI, service: Service, limits: Limits, examples: Sequence[Path]) -> None:
    files = {path.name: path for path in examples}
    settings = Settings(
        version=VERSION,
        models=[model.card for model in service.models],
        max_upload_bytes=limits.max_upload_bytes,
        max_pixels=service.config.data.max_pixels,
        examples=list(files),
    )

    @app.get("/v1/settings", summary="List the detectors, the limits and the examples")
    async def get_settings() -> Settings:
        return settings

    @app.get(
        "/v1/examples/{name}",
        summary="Fetch an example image",
        response_class=FileResponse,
        responses={404: {"model": Problem, "description": "there is no such example"}},
    )
    async def example(name: str) -> FileResponse:
        if name not in files:
            known = ", ".join(files) or "none"
            raise HTTPException(404, f"example: expected one of {known}, got {name!r}")
        return FileResponse(files[name])


def _add_pages(app: FastAPI) -> dict[str, str]:
    """Add both pages; return the headers that they are sent with."""
    page, api = read_page(), render_api(app.openapi())

    @app.get("/", include_in_schema=False)
    async def get_page() -> HTMLResponse:
        return HTMLResponse(page)

    @app.get("/api", include_in_schema=False)
    async def get_api() -> HTMLResponse:
        return HTMLResponse(api)

    return security_headers([page, api])


def _add_problems(app: FastAPI) -> None:
    """Answer every error with JSON that states what was expected."""

    async def problem(_: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 400)

    async def full(_: Request, error: Exception) -> JSONResponse:
        after = error.retry_after if isinstance(error, QueueFullError) else 1
        return JSONResponse({"detail": str(error)}, 503, {"Retry-After": str(after)})

    async def http_problem(_: Request, error: Exception) -> JSONResponse:
        if not isinstance(error, StarletteHTTPException):
            raise error
        return JSONResponse({"detail": error.detail}, error.status_code, error.headers)

    async def wrong_request(request: Request, error: Exception) -> JSONResponse:
        kind = request.headers.get("content-type", "nothing").split(";")[0]
        if kind != "multipart/form-data":
            message = f"Content-Type: expected multipart/form-data with a file 'image', got {kind}"
            return JSONResponse({"detail": message}, 415)
        message = "image: expected a form with one file called 'image', got another form"
        return JSONResponse({"detail": message}, 400)

    async def failure(request: Request, error: Exception) -> JSONResponse:
        _LOG.error("%s: %s: %s", request.url.path, type(error).__name__, error)
        message = "the server failed on this request; its log says why"
        return JSONResponse({"detail": message}, 500)

    app.add_exception_handler(DataError, problem)
    app.add_exception_handler(QueueFullError, full)
    app.add_exception_handler(StarletteHTTPException, http_problem)
    app.add_exception_handler(RequestValidationError, wrong_request)
    app.add_exception_handler(Exception, failure)


async def _finished(request: Request, future: Future[Answer]) -> Answer:
    """Wait for an answer; leave the queue if the client went away."""
    waiting = asyncio.wrap_future(future)
    while not waiting.done():
        await asyncio.wait([waiting], timeout=_POLL_SECONDS)
        if not waiting.done() and await request.is_disconnected() and future.cancel():
            raise HTTPException(_GONE, "the client went away")
    if waiting.cancelled():
        raise HTTPException(503, "the server stops", {"Retry-After": "10"})
    return waiting.result()


def _name(filename: str | None) -> str:
    """Return the last part of a file name, short and printable, for messages."""
    name = Path((filename or "").replace("\\", "/")).name
    return "".join(c for c in name if c.isprintable())[:100] or "image"
