"""The page's addresses: each asks the engine what it shows, and fills a template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from engine import Engine
from engine.distances import DISTANCES, FRECHET
from engine.errors import EngineError, ModelNotFound
from engine.samples.media import media_type
from engine.search import METHODS
from engine.server.access import granted
from engine.server.addresses import Name
from engine.server.callers import Callers
from engine.server.encoders import check_encoder
from engine.server.gate import Gate
from engine.server.large import HEAD, LargePictures
from engine.server.limits import Limits
from engine.server.metrics import Metrics
from engine.server.page.cards import model_to_card
from engine.server.page.contexts import answer_context, compare_context, map_columns, model_context
from engine.server.page.examples import collection_to_examples
from engine.server.page.failures import failed, page_refusal, show_errors
from engine.server.page.mosaics import Mosaics
from engine.server.page.pictures import Pictures
from engine.server.page.query_url import STEP, WEIGHTS, Asked, pairs_to_asked
from engine.server.page.render import STATIC, page
from engine.server.page.sign_in import add_sign_in
from engine.server.problems import MEDIA_TYPE, Refused, error_to_problem, noted
from engine.storage.keys import DRAW

FOREVER = "private, max-age=31536000, immutable"
PLACEHOLDER = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><rect width="96" height="96" fill="#8883"/>'
    '<path d="M24 66l16-22 12 15 8-10 14 17z" fill="#8886"/><circle cx="62" cy="34" r="7" fill="#8886"/></svg>'
)
"""Shown for models that keep no pictures."""
COMPARED = 3
LABELS = {one.name: one.label for one in DISTANCES.values()}
View = Callable[..., Awaitable[Response]]


def add_page(
    app: FastAPI,
    engine: Engine,
    *,
    gate: Gate,
    large: LargePictures,
    callers: Callers,
    limits: Limits,
    metrics: Metrics,
    may_draw: bool,
) -> None:
    """Add the page's routes, which the API's document leaves out.

    Args:
        may_draw: whether generators that run code and are trusted here may be asked for more samples.
    """
    pictures = Pictures(engine.index_folder / "pictures", max_pixels=engine.settings.max_pixels)
    mosaics = Mosaics(engine.thumbnails)

    def shown(path: str, method: str = "GET") -> Callable[[View], View]:
        """A route of the page, whose errors are shown as people read them."""

        def added(view: View) -> View:
            @wraps(view)
            async def guarded(request: Request, **given: Any) -> Response:
                try:
                    return await view(request, **given)
                except Refused as error:
                    return page_refusal(request, error)
                except EngineError as error:
                    said = error_to_problem(error, roots=engine.places)
                    return failed(noted(error), said["title"], said["detail"], said.get("hint"))

            app.add_api_route(path, guarded, methods=[method], include_in_schema=False)
            return guarded

        return added

    @shown("/")
    async def search(request: Request) -> Response:
        """The bar, and below it answers, or what could be asked."""

        def filled(asked: Asked, *, status: int = 200, **below: Any) -> Response:
            below = {"answer": None, "examples": None, "error": None, **below}
            return page("search.html", status=status, asked=asked, weights=WEIGHTS, methods=METHODS, **below)

        asked = Asked()
        try:
            asked = pairs_to_asked(request.query_params.multi_items())
            if asked.is_empty:
                examples, newest = await gate.run(collection_to_examples, engine)
                return filled(asked, examples=(examples, [model_to_card(model) for model in newest]))
            answer = await gate.run(answer_context, engine, limits, pictures, asked)
        except EngineError as error:
            return filled(asked, status=noted(error), error=error_to_problem(error, roots=engine.places))
        metrics.search(answer["timings"])
        return filled(asked, answer=answer)

    @shown("/pictures", "POST")
    async def keep(request: Request) -> Response:
        """Keep a picture to ask with; scripts get its name, forms the address of the search with it."""
        async with request.form(max_files=1, max_fields=8) as form:
            given = form.get("picture")
            if not isinstance(given, UploadFile):
                raise Refused(422, "InvalidRequest", "picture is an uploaded file")
            data = await given.read()
            said = {key: str(value) for key, value in form.items() if key != "picture"}
        as_what = said.pop("as", "image")
        if as_what not in ("image", "sketch"):
            raise Refused(422, "InvalidRequest", f"a picture is kept as image or sketch, not as {as_what!r:.40}")
        if request.headers.get("accept", "").startswith("application/json"):
            try:
                return JSONResponse({"name": await large.run([data[:HEAD]], pictures.keep, data)})
            except EngineError as error:
                said = error_to_problem(error, roots=engine.places)
                return JSONResponse(said, noted(error), media_type=MEDIA_TYPE)
        name = await large.run([data[:HEAD]], pictures.keep, data)
        asked = pairs_to_asked([*said.items(), (as_what, name)])
        return RedirectResponse(asked.url(), 303)

    @shown("/pictures/{name}")
    async def picture(request: Request, name: str) -> Response:
        """One that was kept."""
        data = await gate.run(pictures.read, name)
        return Response(data, media_type=media_type(data), headers={"Cache-Control": FOREVER})

    @shown("/mosaics/{model_id}/{version}")
    async def mosaic(
        request: Request, model_id: int, version: str, pictures: Annotated[int, Query(ge=1, le=9)] = 9
    ) -> Response:
        """Some of a model's samples in one picture."""
        made = await gate.run(mosaics.get, model_id, version[:20], pictures)
        headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"}
        if not made:
            return Response(PLACEHOLDER, media_type="image/svg+xml", headers=headers)
        return Response(made, media_type="image/webp", headers=headers)

    @shown("/previews/{model_id}/{version}/{position}")
    async def preview(request: Request, model_id: int, version: str, position: int) -> Response:
        """One of a model's samples."""
        found = await gate.run(engine.thumbnails, model_id)
        if not 0 <= position < len(found):
            raise ModelNotFound(f"there is no preview {position} of the model {model_id}")
        one = found[position]
        headers = {"Cache-Control": FOREVER, "X-Content-Type-Options": "nosniff"}
        return Response(one.data, media_type=one.media_type, headers=headers)

    @shown("/models")
    async def browse(request: Request, cursor: str | None = None, sort: str = "name") -> Response:
        """Every model, page by page."""
        found = await gate.run(engine.page, None, sort=sort, limit=4 * STEP, cursor=cursor)
        cards = [model_to_card(model) for model in found.models]
        return page("browse.html", cards_=cards, sort=sort, next=found.next, asked=Asked())

    @shown("/models/{name:path}")
    async def model(request: Request, name: Name, distance: str = FRECHET.name) -> Response:
        """All of one model."""
        context = await gate.run(
            model_context, engine, name, distance if distance in DISTANCES else FRECHET.name, may_draw
        )
        context["draws"] &= DRAW in granted(request.scope)
        return page(
            "model.html", **context, drawn=limits.drawn, asked=Asked(), distances=LABELS
        )  # fmt: skip

    @shown("/compare")
    async def compare(
        request: Request, model: Annotated[list[str] | None, Query()] = None, encoder: str | None = None
    ) -> Response:
        """Up to three models side by side."""
        names = list(dict.fromkeys(model or []))[:COMPARED]
        encoder = await gate.run(check_encoder, engine, encoder)
        context = await gate.run(compare_context, engine, names, encoder)
        return page("compare.html", **context, most=COMPARED)

    @shown("/explore")
    async def explore(request: Request) -> Response:
        """The map."""
        return page("explore.html")

    @shown("/explore.json")
    async def map_data(request: Request) -> Response:
        """What the map draws: columns, a row a model; tags and kinds by their number."""
        return JSONResponse(await gate.run(map_columns, engine), headers={"Cache-Control": "no-cache"})

    add_sign_in(app, callers)

    @app.get("/static/{digest}/{name}", include_in_schema=False)
    async def static(digest: str, name: str) -> Response:
        """Files of ours."""
        if name not in {path.name for path in STATIC.iterdir()}:
            raise Refused(404, "NotFound", f"there is no static file {name!r:.60}")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return FileResponse(STATIC / name, headers=headers)

    show_errors(app)
