"""The page's addresses: each asks the engine what it shows, and fills a template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps
from math import isnan
from time import perf_counter
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import FastAPI, Query, Request
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, JSONResponse, RedirectResponse, Response

from engine import Engine
from engine.distances import DISTANCES, FRECHET
from engine.errors import EngineError, InvalidQuery, ModelNotFound, printable
from engine.records import Hits
from engine.samples.media import media_type
from engine.search import METHODS
from engine.server.access import granted
from engine.server.addresses import Name, name_to_address
from engine.server.callers import Callers, session_token
from engine.server.encoders import check_encoder, encoder_to_told
from engine.server.gate import Gate
from engine.server.large import HEAD, LargePictures
from engine.server.limits import Limits
from engine.server.metrics import Metrics
from engine.server.page.cards import hits_to_cards, model_to_card
from engine.server.page.examples import collection_to_examples
from engine.server.page.mosaics import Mosaics
from engine.server.page.pictures import Pictures
from engine.server.page.query_url import STEP, WEIGHTS, Asked, pairs_to_asked
from engine.server.page.render import STATIC, kind_to_colour, page
from engine.server.places import told
from engine.server.problems import MEDIA_TYPE, Refused, error_to_problem, noted
from engine.server.sessions import COOKIE, LONGEST, SECURE_COOKIE
from engine.shapes import hits_to_json
from engine.storage.keys import DRAW, READ

FOREVER = "private, max-age=31536000, immutable"
PLACEHOLDER = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 96 96"><rect width="96" height="96" fill="#8883"/>'
    '<path d="M24 66l16-22 12 15 8-10 14 17z" fill="#8886"/><circle cx="62" cy="34" r="7" fill="#8886"/></svg>'
)
"""Shown for models that keep no pictures."""
SIMILAR, COMPARED = 12, 3
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
            answer = await gate.run(_answer, engine, limits, pictures, asked)
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
        context = await gate.run(_model, engine, name, distance if distance in DISTANCES else FRECHET.name, may_draw)
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
        context = await gate.run(_compared, engine, names, encoder)
        return page("compare.html", **context, most=COMPARED)

    @shown("/explore")
    async def explore(request: Request) -> Response:
        """The map."""
        return page("explore.html")

    @shown("/explore.json")
    async def map_data(request: Request) -> Response:
        """What the map draws: columns, a row a model; tags and kinds by their number."""
        return JSONResponse(await gate.run(_map, engine), headers={"Cache-Control": "no-cache"})

    @app.get("/login", include_in_schema=False)
    async def login(request: Request, after: str = "/") -> Response:
        """Where a browser shows its key."""
        return page("login.html", after=_local(after), wrong=False)

    @app.post("/login", include_in_schema=False)
    async def signed_in(request: Request) -> Response:
        """Begin a session: its token is in a cookie that scripts cannot read and other sites cannot send."""
        async with request.form(max_files=0, max_fields=2) as form:
            token, after = str(form.get("key", "")).strip(), _local(str(form.get("after", "/")))
        key = await callers.key_of(token)
        if callers.are_asked and (key is None or not key.may(READ)):
            return page("login.html", status=401, after=after, wrong=True)
        answer = RedirectResponse(after, 303)
        if key is not None:
            secure = "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])
            answer.set_cookie(
                SECURE_COOKIE if secure else COOKIE, callers.sessions.begin(key.id), httponly=True, samesite="strict",
                secure=secure, max_age=int(LONGEST),
            )  # fmt: skip
        return answer

    @app.post("/logout", include_in_schema=False)
    async def signed_out(request: Request) -> Response:
        """End the browser's session."""
        token = session_token(request)
        if token is not None:
            callers.sessions.end(token)
        answer = RedirectResponse("/login", 303)
        for name in (COOKIE, SECURE_COOKIE):
            answer.delete_cookie(name, secure=name == SECURE_COOKIE, httponly=True, samesite="strict")
        return answer

    @app.get("/static/{digest}/{name}", include_in_schema=False)
    async def static(digest: str, name: str) -> Response:
        """Files of ours."""
        if name not in {path.name for path in STATIC.iterdir()}:
            raise Refused(404, "NotFound", f"there is no static file {name!r:.60}")
        headers = {"Cache-Control": "public, max-age=31536000, immutable", "X-Content-Type-Options": "nosniff"}
        return FileResponse(STATIC / name, headers=headers)

    _show_errors(app)


def _show_errors(app: FastAPI) -> None:
    """Whoever follows a wrong link with a browser reads a page; programs read a problem, as everywhere."""
    as_problem = app.exception_handlers[HTTPException]

    @app.exception_handler(HTTPException)
    async def shown(request: Request, error: HTTPException) -> Response:
        if "text/html" in request.headers.get("accept", "") and not request.url.path.startswith("/v1/"):
            return failed(error.status_code, "HttpError", f"{request.url.path}: {error.detail}", None)
        answer: Response = await as_problem(request, error)  # type: ignore[misc]
        return answer


def failed(status: int, name: str, detail: str, hint: str | None) -> Response:
    """An error as people read it."""
    return page(
        "error.html", status=status, code=status, name=name, detail=printable(detail),
        hint=None if hint is None else printable(hint),
    )  # fmt: skip


def page_refusal(request: Request, error: Refused) -> Response:
    """A refusal as people read it: whoever shows no key is sent to sign in."""
    return _to_login(request) if error.status == 401 else failed(error.status, error.name, error.detail, error.hint)


def _to_login(request: Request) -> Response:
    if request.method != "GET":
        return failed(401, "Unauthorized", "this needs an API key", "sign in first")
    path: str = request.scope["path"]
    name = path.removeprefix("/models/")
    if name != path:  # which is encoded here, and may be one that browsers would resolve
        path = name_to_address(unquote(name), start="")
    query = request.url.query
    after = f"{path}{'&' if '?' in path else '?'}{query}" if query else path
    return RedirectResponse(f"/login?after={quote(after, safe='')}", 303)


def _local(after: str) -> str:
    """An address on this server: a link elsewhere could pass itself off as ours."""
    return after if after.startswith("/") and not after.startswith(("//", "/\\")) else "/"


def _answer(engine: Engine, limits: Limits, pictures: Pictures, asked: Asked) -> dict[str, Any]:
    if len(asked.words) > limits.text_characters:
        raise InvalidQuery(f"a text may have {limits.text_characters} characters, got {len(asked.words)}")
    count = min(asked.count, limits.k)
    started = perf_counter()
    if not asked.parts:
        found = engine.page(asked.where, limit=min(count, limits.page) + 1)
        listed = found.models
        cards = [model_to_card(model) for model in listed[:count]]
        more = asked.more().url() if len(listed) > count else None
        took = 1e3 * (perf_counter() - started)
        return {
            "cards": cards, "more": more, "timings": {}, "took": took, "method": None, "shortlist": None,
            "remarks": found.remarks,
        }  # fmt: skip
    hits = engine.search(
        text=asked.words or None,
        image=None if asked.image is None else pictures.read(asked.image),
        sketch=None if asked.sketch is None else pictures.read(asked.sketch),
        model=asked.model, k=count, method=asked.method, weights=asked.weights or None, where=asked.where,
    )  # fmt: skip
    said = hits_to_json(hits)
    more = asked.more().url() if len(hits) == count < limits.k else None
    timings = said["timings_ms"]
    return {
        "cards": hits_to_cards(hits), "more": more, "timings": timings, "took": timings["total"],
        "method": hits.method, "shortlist": hits.shortlist, "remarks": hits.remarks,
    }  # fmt: skip


def _model(engine: Engine, name: str, distance: str, code: bool) -> dict[str, Any]:
    found = engine.get(name)
    try:
        similar: Hits | None = engine.similar(name, SIMILAR, distance=distance)
        why = None
    except EngineError as error:  # the model has no covariance, say: the rest of it is there
        similar, why = None, told(error, engine.places)[0]
    cards = [] if similar is None else hits_to_cards(similar)
    return {
        "model": found, "encoders": list(map(encoder_to_told, found.encoders)),
        "card": model_to_card(found), "previews": len(engine.thumbnails(found.id)), "similar": cards,
        "distance": distance, "why": why, "draws": engine.may_draw(found, code=code),
    }  # fmt: skip


def _compared(engine: Engine, names: list[str], encoder: str | None) -> dict[str, Any]:
    models = [engine.get(name) for name in names]
    shared = set.intersection(*(set(model.tags) for model in models)) if models else set()
    distances, why = {}, None
    if len(models) > 1:
        try:
            distances = engine.distances(names, encoder=encoder)
        except EngineError as error:
            why = told(error, engine.places)[0]
    pairs = [
        {
            "a": models[i].name, "b": models[j].name,
            **{kind: None if isnan(values[i, j]) else float(values[i, j]) for kind, values in distances.items()},
        }
        for i in range(len(models)) for j in range(i + 1, len(models)) if distances
    ]  # fmt: skip
    cards = [model_to_card(model) for model in models]
    return {"cards": cards, "shared": shared, "pairs": pairs, "why": why, "names": names}


def _map(engine: Engine) -> dict[str, Any]:
    labels, found = engine.labels(), engine.map()
    rows = [(i, point) for i, point in zip(found.ids.tolist(), found.points.tolist(), strict=True) if i in labels]
    kinds: dict[str, int] = {}
    tags: dict[str, int] = {}
    return {
        "method": found.method,
        "ids": [i for i, _ in rows],
        "names": [labels[i].name for i, _ in rows],
        "x": [round(point[0], 5) for _, point in rows],
        "y": [round(point[1], 5) for _, point in rows],
        "kind": [kinds.setdefault(labels[i].kind, len(kinds)) for i, _ in rows],
        "tags": [[tags.setdefault(tag, len(tags)) for tag in labels[i].tags] for i, _ in rows],
        "kinds": list(kinds),
        "kindColours": [kind_to_colour(kind) for kind in kinds],
        "allTags": list(tags),
    }
