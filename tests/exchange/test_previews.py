"""Previews from elsewhere are pictures, or they are not there: when they are imported, and when they are served."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from engine import Engine
from engine.errors import InvalidImage
from engine.exchange.previews import MOST, MOST_BYTES, NAMED, checked_preview, is_plain
from engine.ingest.stream import image_to_thumbnail
from engine.records import EncoderIdentity, Ingested, Thumbnail
from engine.samples.media import MEDIA_TYPES, media_type
from engine.server import create_app
from engine.statistics import Moments

SCRIPT = b"<html><script>alert(document.domain)</script></html>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


def encoded(form: str, size: tuple[int, int] = (40, 30), **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, (200, 30, 30)).save(stream, form, **options)
    return stream.getvalue()


OWN = image_to_thumbnail(Image.new("RGB", (40, 30), (30, 200, 30)), 40).data
WITH_CHUNK = OWN + b"EXIF" + len(SCRIPT).to_bytes(4, "little") + SCRIPT
SENT = {
    "own": (OWN, "image/webp"),
    "script": (SCRIPT, "text/html"),
    "svg": (SVG, "image/svg+xml"),
    "svg that says webp": (SVG, "image/webp"),
    "gif that says webp": (encoded("GIF"), "image/webp"),
    "png": (encoded("PNG"), "image/png"),
    "png that says html": (encoded("PNG"), "text/html\r\nX-Header: set"),
    "script after a png": (encoded("PNG") + SCRIPT, "text/html"),
    "script after a webp": (OWN + SCRIPT, "text/html"),
    "script in a webp": (WITH_CHUNK[:4] + (len(WITH_CHUNK) - 8).to_bytes(4, "little") + WITH_CHUNK[8:], "text/html"),
    "script in a comment": (encoded("JPEG", comment=SCRIPT), "image/jpeg"),
    "script that begins as a jpeg": (b"\xff\xd8\xff" + SCRIPT, "image/jpeg"),
    "bomb": (encoded("PNG", (4000, 4000)), "image/png"),
    "long": (encoded("PNG") + bytes(MOST_BYTES), "image/png"),
    "nothing": (b"", "image/webp"),
}
DROPPED = {
    "script", "svg", "svg that says webp", "script that begins as a jpeg", "bomb", "long", "nothing",
}  # fmt: skip


def add(engine: Engine, name: str, previews: list[tuple[bytes, str]]) -> None:
    encoder = engine.services.catalog.register_encoder(EncoderIdentity("external:test", "f" * 64, 8, 10.0, frozenset()))
    rows = np.random.default_rng(1).normal(size=(20, 8)).astype(np.float32)
    thumbnails = tuple(Thumbnail(data, said[:64]) for data, said in previews)
    statistics = Moments.of(rows).to_statistics(1e-4)
    engine.services.catalog.put(Ingested(name, {}, statistics, {"type": "test"}, "d", thumbnails=thumbnails), encoder)


@pytest.fixture
def sent(tmp_path: Path) -> Any:
    """A collection into whose rows anything was written, a model a preview."""
    with Engine.open(f"sqlite:///{tmp_path / 'sent.db'}", create=True, encoder="external:test") as engine:
        for name, preview in SENT.items():
            add(engine, name, [preview])
        yield engine


@pytest.fixture
def taken(sent: Engine, tmp_path: Path) -> Any:
    """A collection that imported the archive of it."""
    sent.export_archive(tmp_path / "zoo.engine")
    with Engine.open(f"sqlite:///{tmp_path / 'taken.db'}", create=True, encoder="external:test") as engine:
        counts = engine.import_archive(tmp_path / "zoo.engine")
        assert {remark.partition(":")[0] for remark in counts.remarks} == DROPPED
        yield engine


def test_what_is_imported_is_a_picture(taken: Engine) -> None:
    for name, (data, _) in SENT.items():
        stored = taken.services.catalog.thumbnails(taken.get(name).id)
        assert len(stored) == (name not in DROPPED), name
        for one in stored:
            assert one.media_type == "image/webp"
            assert is_plain(one.data)
            assert b"script" not in one.data
            assert Image.open(io.BytesIO(one.data)).size == (40, 30)
            assert (one.data == data) == (name == "own")
    assert taken.doctor() == [] or all(finding.severity == "stale" for finding in taken.doctor())


@pytest.mark.parametrize("which", ["sent", "taken"])
def test_what_is_served_is_called_what_it_is(which: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(which)
    with TestClient(create_app(engine, with_keys=False)) as client:
        for name, (data, _) in SENT.items():
            model = engine.get(name)
            samples = client.get(f"/v1/models/{name}/samples").json()["samples"]
            preview = client.get(f"/previews/{model.id}/1/0")
            mosaic = client.get(f"/mosaics/{model.id}/1")
            assert mosaic.headers["content-type"] in ("image/webp", "image/svg+xml")
            assert b"<script" not in mosaic.content
            if which == "sent":
                shown = media_type(data) is not None
                assert bool(samples) == shown
            else:
                assert bool(samples) == (name not in DROPPED)
            assert (preview.status_code == 200) == bool(samples), name
            if samples:
                assert samples[0]["media_type"] == preview.headers["content-type"] == media_type(preview.content)
                assert base64.b64decode(samples[0]["data"]) == preview.content
                assert preview.headers["x-content-type-options"] == "nosniff"
            assert "x-header" not in preview.headers
            assert client.get(f"/models/{name}").status_code == 200


def test_too_many_previews_and_too_many_remarks(tmp_path: Path) -> None:
    with Engine.open(f"sqlite:///{tmp_path / 'a.db'}", create=True, encoder="external:test") as engine:
        add(engine, "many", [(OWN, "image/webp")] * (MOST + 4))
        for number in range(NAMED + 5):
            add(engine, f"model {number}", [(SCRIPT, "text/html")] * 2)
        engine.export_archive(tmp_path / "a.engine")
    with Engine.open(f"sqlite:///{tmp_path / 'b.db'}", create=True, encoder="external:test") as engine:
        remarks = engine.import_archive(tmp_path / "a.engine").remarks
        assert len(engine.thumbnails("many")) == MOST
    assert len(remarks) == NAMED + 1
    assert remarks[0].startswith("many: 4 previews were dropped: a model has at most")
    assert remarks[-1] == "6 more models lost previews"


def test_media_types_are_told_by_bytes() -> None:
    assert {media_type(encoded(form)) for form in ("WEBP", "PNG", "JPEG")} == set(MEDIA_TYPES)
    for data in (b"", b"RIFF", b"RIFF0000WAVE", b"GIF89a", SCRIPT, SVG, b"\x89PNG", b"<!--\xff\xd8\xff"):
        assert media_type(data) is None


def test_a_preview_that_is_encoded_anew_is_small() -> None:
    made = checked_preview(encoded("PNG", (1900, 2000)))
    assert max(Image.open(io.BytesIO(made.data)).size) == 512
    with pytest.raises(InvalidImage, match="more than the 4000000 allowed"):
        checked_preview(encoded("WEBP", (4001, 1000)))
