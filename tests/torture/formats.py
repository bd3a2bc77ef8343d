"""Every format that the engine reads: how valid samples are made, how one is read, and what must come of it.

A reader takes bytes, hands them to what a user's call would hand them to, and looks at the answer: it returns for an
answer that is right, raises ``WrongAnswer`` for one that is not, and lets every error through.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.config import Settings
from engine.errors import EngineError
from tests.engine.small_encoder import DIMENSION
from tests.torture.operations import opened

D = 8
MOST_PIXELS = 100_000
SETTINGS = Settings(max_pixels=MOST_PIXELS, max_archive_bytes=4 * 2**20, index_kind="flat", refresh_interval=0)


class WrongAnswer(Exception):
    """What was read is not what was written, or cannot be."""


@dataclass(frozen=True)
class Reader:
    """Valid ``samples``, and ``read``, see the module."""

    samples: Sequence[bytes]
    read: Callable[[bytes], None]


@dataclass(frozen=True)
class Format:
    """``prepare`` makes the reader in an empty folder of its own. What stands before a slash is the name of a group."""

    name: str
    prepare: Callable[[Path], Reader]

    @property
    def group(self) -> str:
        """What its inputs are counted by."""
        return self.name.partition("/")[0]


def require(holds: Any, what: str) -> None:
    """Raises: WrongAnswer: it does not hold."""
    if not holds:
        raise WrongAnswer(what)


def rows(seed: int, n: int, d: int = D) -> NDArray[np.float32]:
    """Unit vectors ``(n, d)`` float32."""
    wide = np.random.default_rng(seed).normal(size=(n, d))
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


def written(path: Path, data: bytes) -> Path:
    """A new file of that content: one that a reader before it still maps is not changed under it."""
    path.unlink(missing_ok=True)
    path.write_bytes(data)
    return path


# --- pictures, archives, manifests


def pictures() -> dict[str, Image.Image]:
    """Small pictures of every mode that is worth one."""
    colours = np.random.default_rng(3).integers(0, 256, (9, 12, 4), np.uint8)
    whole = Image.fromarray(colours)
    return {
        "RGB": whole.convert("RGB"), "RGBA": whole, "L": whole.convert("L"), "1": whole.convert("1"),
        "P": whole.convert("RGB").quantize(16), "CMYK": whole.convert("RGB").convert("CMYK"),
        "I;16": Image.fromarray(colours[..., 0].astype(np.uint16) * 257),
    }  # fmt: skip


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A picture's file."""
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


PICTURES: dict[str, tuple[str, tuple[str, ...], Mapping[str, Any]]] = {
    "png": ("PNG", ("RGB", "RGBA", "L", "1", "P", "I;16"), {}),
    "jpeg": ("JPEG", ("RGB", "L", "CMYK"), {"exif": Image.Exif().tobytes()}),
    "jpeg, progressive": ("JPEG", ("RGB",), {"progressive": True}),
    "mpo": ("MPO", ("RGB",), {"save_all": True}),
    "webp": ("WEBP", ("RGB", "RGBA"), {}),
    "webp, lossless": ("WEBP", ("RGBA",), {"lossless": True}),
    "gif": ("GIF", ("P", "L"), {}),
    "bmp": ("BMP", ("RGB", "L", "1", "P"), {}),
    "dib": ("DIB", ("RGB",), {}),
    "tiff": ("TIFF", ("RGB", "RGBA", "L", "1", "CMYK", "I;16"), {}),
    "tiff, deflated": ("TIFF", ("RGB", "L"), {"compression": "tiff_adobe_deflate"}),
    "tiff, jpeg": ("TIFF", ("RGB",), {"compression": "jpeg"}),
    "tiff, group 4": ("TIFF", ("1",), {"compression": "group4"}),
    "ppm": ("PPM", ("RGB", "L", "1"), {}),
    "jpeg 2000": ("JPEG2000", ("RGB", "L"), {}),
    "avif": ("AVIF", ("RGB",), {"speed": 10}),
}
QOI = b"qoif" + struct.pack(">II", 12, 9) + b"\x03\0" + b"\xfe\x10\x80\xf0" + b"\xfd\x3d\xfd\x2b" + bytes(7) + b"\x01"


def picture(name: str, folder: Path) -> Reader:
    """Pictures of one format."""
    from engine.samples.decode import bytes_to_image

    def read(data: bytes) -> None:
        image = bytes_to_image(data, max_pixels=MOST_PIXELS)
        require(image.mode == "RGB", f"a picture of mode {image.mode}")
        require(0 < image.width * image.height <= MOST_PIXELS, f"a picture of size {image.size}")
        require(len(image.tobytes()) == 3 * image.width * image.height, "a picture without its pixels")

    if name == "qoi":
        return Reader([QOI], read)
    form, modes, options = PICTURES[name]
    modelled = pictures()
    if form == "GIF":
        two = encoded(modelled["P"], form, save_all=True, append_images=[modelled["L"]])
        return Reader([encoded(modelled[mode], form) for mode in modes] + [two], read)
    return Reader([encoded(modelled[mode], form, **options) for mode in modes], read)


def archive(form: str, folder: Path) -> Reader:
    """Archives of pictures, read picture by picture as an ingest does."""
    from engine.samples import open_source

    good = {f"{mode.strip(';')}.png": encoded(one, "PNG") for mode, one in pictures().items() if mode in "RGB L"}
    samples = [_packed(good, form), _packed({"a/b.png": good["L.png"], "../c.png": good["L.png"], "t.txt": b"t"}, form)]

    def read(data: bytes) -> None:
        source = open_source(written(folder / f"a.{form}", data), settings=SETTINGS)
        try:
            for sample in source.samples():
                try:
                    require(sample.load().mode == "RGB", "a picture of another mode")
                except EngineError as error:
                    require(str(error), "a picture was refused without a reason")
        finally:
            source.close()

    return Reader(samples, read)


def _packed(files: Mapping[str, bytes], form: str) -> bytes:
    stream = io.BytesIO()
    if form.startswith("zip"):
        method = zipfile.ZIP_DEFLATED if form == "zip" else zipfile.ZIP_STORED
        with zipfile.ZipFile(stream, "w", method) as zipped:
            for name, data in files.items():
                zipped.writestr(zipfile.ZipInfo(name), data, method)
        return stream.getvalue()
    with tarfile.open(fileobj=stream, mode=f"w:{form.partition('.')[2]}") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return stream.getvalue()


YAML = b"""defaults: {license: CC0-1.0, tags: [all]}
models:
  - name: avatars
    tags: [avatar, "face"]
    links: {paper: "https://example.org/p"}
    generator: {type: program, command: [node, draw.mjs, "{seed}", "{count}", "{out}"]}
    samples: 300
    metadata: {a: [1, 2.5, null], b: {c: true}}
  - {name: landscapes, source: pictures/landscapes, resolution: 256, seed: 7, kind: gan}
  - name: "one, \\u00e9"
    description: |
      Two
      lines.
    source: &place shard-{000..010}.tar
  - {name: other, source: *place}
"""
LINES = b"""{"name": "a", "source": "pictures/a", "tags": ["x", "y"], "samples": 10}
{"name": "b", "generator": {"type": "onnx", "path": "b.onnx"}, "metadata": {"a": [1, 2.5, null]}, "seed": 3}

{"name": "c", "source": "c.tar", "links": {"paper": "https://example.org"}, "author": "one \\u00e9"}
"""


def manifest(suffix: str, folder: Path) -> Reader:
    """Manifests; every entry that is taken must be one that can be stored."""
    from engine.samples.manifest import ManifestEntry, read_manifest
    from engine.storage.details import checked_details, checked_name

    def read(data: bytes) -> None:
        for entry in read_manifest(written(folder / f"m{suffix}", data)):
            if isinstance(entry, ManifestEntry):
                require(checked_name(entry.name) == entry.name, f"the name {entry.name!r} cannot be stored")
                checked_details(entry.details())
                json.dumps(entry.details(), allow_nan=False)
            else:
                require(entry.error.message, "an entry was refused without a reason")

    return Reader([YAML if suffix == ".yaml" else LINES], read)


# --- arrays and statistics


def saved(form: Callable[..., None] = np.savez, *positional: Any, **arrays: Any) -> bytes:
    """An ``.npz``'s or ``.npy``'s bytes."""
    stream = io.BytesIO()
    form(stream, *positional, **arrays)
    return stream.getvalue()


def features(suffix: str, folder: Path) -> Reader:
    """Features and moments that somebody else computed."""
    from engine.samples import FeatureSource, MomentsSource, open_source

    wide = rows(1, 12)
    moments = {"mu": wide.mean(axis=0), "sigma": np.cov(wide, rowvar=False), "n": 12}
    dense = [wide, wide.astype(np.float16), np.asfortranarray(wide)]
    samples = {
        ".npy": [saved(np.save, one) for one in dense],
        ".npz": [saved(features=wide), saved(np.savez_compressed, wide), saved(**moments)],
    }

    def read(data: bytes) -> None:
        source = open_source(written(folder / f"f{suffix}", data), settings=SETTINGS)
        if isinstance(source, FeatureSource):
            for chunk in source.chunks():
                require(chunk.dtype == np.float32 and np.isfinite(chunk).all(), "features that are not finite float32")
                require(chunk.shape[1] == source.dimension and chunk.any(axis=1).all(), "a row of zeros")
        elif isinstance(source, MomentsSource):
            require(np.isfinite(source.mean).all() and np.isfinite(source.covariance).all(), "moments not finite")
            require((source.covariance == source.covariance.T).all(), "a covariance that is not symmetric")
        source.close()

    return Reader(samples[suffix], read)


def statistics(suffix: str, folder: Path) -> Reader:
    """Files of many models' moments, up to the blocks that are written to the database."""
    from engine.ingest.bulk import arrays_to_blocks
    from engine.ingest.statistics_file import read_statistics
    from engine.statistics import are_usable

    def read(data: bytes) -> None:
        for table in read_statistics(written(folder / f"s{suffix}", data)):
            taken = arrays_to_blocks(table.names, table.means, table.covariances, table.samples, table.tags, 1e-4)
            for block in taken:
                lengths = {len(column) for column in (block.names, block.means, block.covariances, block.samples)}
                require(lengths == {len(block.digests)} == {len(block.tags)}, "columns of different lengths")
                require(are_usable(block.means) and block.means.any(axis=1).all(), "an unusable mean")
                require(min(block.samples) >= 1, "a count below 1")

    means = rows(1, 3, 4)
    covariances = np.stack([np.eye(4, dtype=np.float32)] * 3)
    names, counts = ["a", "b", "c"], np.array([5, 6, 7])
    tags = ['["x"]', "[]", '["y", "z"]']
    if suffix == ".npz":
        plain = {"names": np.array(names), "means": means, "samples": counts}
        return Reader([saved(**plain), saved(**plain, covariances=covariances, tags=np.array(tags))], read)
    import pyarrow
    from pyarrow import parquet

    columns = {"name": names, "mean": means.tolist(), "samples": counts}
    more = {**columns, "covariance": covariances.reshape(3, -1).tolist(), "tags": [json.loads(tag) for tag in tags]}
    samples = []
    for table, compression in ((columns, "NONE"), (more, "NONE"), (more, "SNAPPY")):
        parquet.write_table(pyarrow.table(table), folder / "sample.parquet", compression=compression)
        samples.append((folder / "sample.parquet").read_bytes())
    return Reader(samples, read)


def onnx(folder: Path) -> Reader:
    """ONNX decoders, read and drawn from."""
    from onnx import TensorProto, helper, numpy_helper

    from engine.samples.generators.onnx import OnnxGenerator

    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["a"]), helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "shape"], ["y"]),
    ]  # fmt: skip
    constants = [
        numpy_helper.from_array(rows(1, 4, 12), "w"), numpy_helper.from_array(np.array([-1, 3, 2, 2]), "shape"),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes, "decoder", [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def read(data: bytes) -> None:
        images = OnnxGenerator(written(folder / "d.onnx", data), batch=2).draw(2, 0)
        require(len(images) == 2 and all(image.mode == "RGB" for image in images), "other pictures than were asked for")

    return Reader([model.SerializeToString()], read)


# --- what the engine writes for itself


def file_names(kind: str) -> list[str]:
    """The files of a snapshot of a kind, and its manifest."""
    from engine.index.choose import KINDS

    return [*KINDS[kind].files, "CURRENT.json"]


def snapshot(kind: str, name: str, signed: bool, folder: Path) -> Reader:
    """One file of an index's snapshot: damaged, it is rejected, or the answers are those of the whole one.

    ``signed`` makes the checksums right again: what stands behind them must not crash, whatever the numbers then are.
    """
    from engine.errors import DamagedIndex
    from engine.index import snapshot as snapshots
    from engine.index.choose import KINDS
    from engine.index.manifest import CURRENT, manifest_to_text
    from engine.index.manifest import signed as signed_again

    index = KINDS[kind].build(np.arange(40) * 3, rows(7, 40), dimension=D)
    about = {"collection": "c", "encoder": "e", "fingerprint": "f", "space": "s", "version": ""}
    manifest = snapshots.publish(folder, index, **about, change=9, dimension=D)
    asked = rows(8, 3)
    right = index.search(asked, 5)
    place = folder / CURRENT if name == CURRENT else folder / manifest.generation / name
    whole = place.read_bytes()

    def read(data: bytes) -> None:
        if signed and name == CURRENT:
            data = _signed(data, signed_again)
        written(place, data)
        if signed and name != CURRENT:
            files = {**manifest.files, name: snapshots.file_checksum(place)}
            (folder / CURRENT).write_text(manifest_to_text(replace(manifest, files=files)))
        try:
            found = snapshots.load_current(folder)
            require(found is not None, "a snapshot that is there was not found")
            answers = found[1].search(asked, 5)
            require(signed or all(map(np.array_equal, answers, right)), "answers that differ from the whole snapshot's")
        except DamagedIndex as error:
            require(str(error), "damage without words")
        finally:
            written(place, whole)

    return Reader([whole], read)


def _signed(data: bytes, sign: Callable[[Any], str]) -> bytes:
    """JSON that was made so that its checksum is right; whatever is no JSON object as it is."""
    try:
        said = json.loads(data)
        return sign(said).encode() if isinstance(said, dict) else data
    except (ValueError, RecursionError):
        return data


def records(name: str, signed: bool, folder: Path) -> Reader:
    """One file of a factor store: what is found in it is what was put there, and the rest is made again."""
    import ctypes

    from engine.rerank.byte_cache import ByteCache
    from engine.rerank.record_file import RecordKey
    from engine.rerank.record_store import RecordStore

    key, versions = RecordKey("c", "e", D, "", "0.6", ""), {i: 100 + i for i in range(6)}
    made = {i: np.random.default_rng(i).integers(0, 256, 128, np.uint8) for i in versions}
    store = RecordStore(folder, key, budget=10**6, memory=ByteCache(10**6))
    store.start(np.eye(D, dtype=np.float32))
    store.append({i: made[i] for i in range(3)}, versions)
    store.append(made, versions, settle=False)
    store.say_counts()
    place = next(folder.glob(f"*{name}"))
    whole = place.read_bytes()
    ids, changes = (np.array(list(of), np.int64) for of in (versions, versions.values()))

    def read(data: bytes) -> None:
        body = data[:-32] if signed else b""
        written(place, body + hashlib.sha256(body).digest() if signed else data)
        try:
            opened = RecordStore(folder, key, budget=10**6, memory=ByteCache(10**6))
            if opened.rotation is None:
                opened.start(np.eye(D, dtype=np.float32))
            require(np.array_equal(opened.rotation, np.eye(D)), "another rotation")
            found = opened.find(ids, changes, lambda missing: {i: made[i] for i in missing})
            for i, address, size in zip(ids.tolist(), found.addresses.tolist(), found.sizes.tolist(), strict=True):
                require(ctypes.string_at(address, size) == made[i].tobytes(), f"another record for model {i}")
        finally:
            written(place, whole)

    return Reader([whole], read)


def counts(folder: Path) -> Reader:
    """What a factor store has counted; nothing depends on it, so that nonsense is nothing."""
    from engine.rerank.record_file import add_counts, read_counts

    add_counts(folder, {"mapped": 5, "held": 7, "missed": 1, "damaged": 0})
    place = folder / "COUNTS"

    def read(data: bytes) -> None:
        written(place, data)
        json.dumps(read_counts(folder))

    return Reader([place.read_bytes()], read)


def agreement(signed: bool, folder: Path) -> Reader:
    """The measured agreement beside an index."""
    from engine.search.agreement import Agreement, read_agreement, save_agreement

    place = folder / "AGREEMENT.json"
    right = Agreement("2024-05-01T00:00:00+00:00", 7, 100, 20, 10, "first_moment", 0.5, {"25": 0.9, "50": 1.0})
    save_agreement(place, right)

    def sign(said: dict[str, Any]) -> str:
        text = json.dumps(said.get("agreement"), sort_keys=True)
        return json.dumps({**said, "sha256": hashlib.sha256(text.encode()).hexdigest()})

    def read(data: bytes) -> None:
        written(place, _signed(data, sign) if signed else data)
        found = read_agreement(place)
        require(signed or found == asdict(right), "another agreement")

    return Reader([place.read_bytes()], read)


def checkpoint(folder: Path) -> Reader:
    """The state of an interrupted ingest, which must fit together."""
    from engine.ingest.state import IngestState, bytes_to_state, state_to_bytes
    from engine.records import Quarantined, Thumbnail
    from engine.statistics import Moments

    wide = rows(3, 20)
    thumbnails = [Thumbnail(b"one", "image/webp"), Thumbnail(b"two", "image/webp")]
    state = IngestState(Moments.of(wide), 22, list(wide[:5].astype(np.float16)), thumbnails, [Quarantined("x", "y")])

    def read(data: bytes) -> None:
        state = bytes_to_state(data)
        d = state.moments.mean.size
        require(state.moments.mean.shape == (d,) and state.moments.scatter.shape == (d, d), "moments that do not fit")
        require(state.moments.mean.dtype == state.moments.scatter.dtype == np.float64, "moments of another dtype")
        require(np.isfinite(state.moments.scatter).all() and np.isfinite(state.moments.mean).all(), "not finite")
        require(0 <= state.moments.count <= state.position, "more samples than were read")
        require(all(row.shape == (d,) and row.dtype == np.float16 for row in state.kept), "features that do not fit")
        bytes_to_state(state_to_bytes(state))

    return Reader([state_to_bytes(state)], read)


def blob(kind: str, signed: bool, folder: Path) -> Reader:
    """What the database holds, whose checksum stands in another column."""
    from engine.storage import blobs

    wide = rows(4, 10)
    covariance = np.cov(wide, rowvar=False).astype(np.float32)
    mean, packed = blobs.mean_to_blob(wide[0]), blobs.covariance_to_blob(covariance)
    assert packed is not None
    whole = {
        "mean": mean, "covariance": packed, "features": blobs.features_to_blob(wide.astype(np.float16)),
        "arrays": blobs.arrays_to_blob({"matrix": covariance, "centre": wide[0]}),
    }[kind]  # fmt: skip

    def read(data: bytes) -> None:
        expected = blobs.checksum(data if signed else whole)
        if kind == "features":
            blobs.blob_to_features(data, expected, dimension=D, count=10)
        elif kind == "arrays":
            found = blobs.blob_to_arrays(data, expected, axes={"matrix": 2, "centre": 1}, dimension=D)
            require(found["matrix"].shape == (D, D) and np.isfinite(found["matrix"]).all(), "arrays that are not")
        else:
            pair = (data, packed) if kind == "mean" else (mean, data)
            expected = blobs.checksum(*pair) if signed else blobs.checksum(mean, packed)
            blobs.blobs_to_statistics(*pair, expected, dimension=D, epsilon=1e-4, samples=10)
        require(signed or data == whole, "damaged bytes were taken")

    return Reader([whole], read)


# --- what is asked


QUERIES = (
    b'{"model": "m3", "k": 5, "where": {"tag": "even"}, "recall": 0.9, "method": "first_moment"}',
    b'{"model": "m1", "weights": {"model": 2}, "method": "auto", "shortlist": 4, "tempered": false}',
    b'{"vector": [9, 2, 3, 4, 5, 6, 7, 8], "k": 4, "method": "gaussian_density", "shortlist": 3}',
    b'{"where": [["tag", "even"], ["kind!", ["gan", "vae"]], ["license", "x"]], "model": "m2", "transform": null}',
    b'{"vector": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], "k": 4, "modality": "image", "where": {"name!": "m1"}}',
    b'{"vector": [[1, 0, 0, 0, 0, 0, 0, 0.0], [0, 1, 0, 0, 0, 0, 0, 0.5]], "method": "first_moment", "recall": 1}',
    b'{"name": "m9", "k": 2, "distance": "frechet"}',
)
REFUSED = (b'{"text": "a fox", "image": "a.png", "weights": {"text": 1, "image": 0.5}, "k": 3}', b"{}")
HOSTILE = (
    None, True, -1, 0, 1e999, float("nan"), 2**70, 0.5, "", "\0", "\ud800", "m1", "a" * 5000, [], {}, [[]], {"a": 1},
    ["even"] * 1200, [["tag", "even"]], {"tag!": ["even"]}, "../../etc/passwd", b"\x89PNG", ["\ud800"],
)  # fmt: skip


def query(folder: Path) -> Reader:
    """Searches and filters over a small collection: what was asked is JSON, or pieces of it put together otherwise."""
    from random import Random

    from engine import Engine

    eng = Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="external:x", settings=SETTINGS)
    means = rows(5, 12)
    covariances = np.stack([np.eye(D, dtype=np.float32) * 0.01] * 12)
    names = [f"m{i}" for i in range(12)]
    tags = [["even"] if i % 2 == 0 else [] for i in range(12)]
    eng.ingest_statistics(names, means, covariances, encoder="external:x", samples=50, tags=tags)

    def read(data: bytes) -> None:
        try:
            asked = json.loads(data)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            random = Random(data)
            asked = json.loads(random.choice((*QUERIES, *REFUSED)))
            asked[random.choice([*asked, "k", "where"])] = random.choice(HOSTILE)
        _ask(eng, asked)

    return Reader(QUERIES, read)


SEARCH = ("text", "image", "model", "k", "method", "weights", "where", "shortlist", "tempered", "transform", "recall")
VECTORS = ("k", "method", "where", "shortlist", "modality", "transform", "recall")


def _ask(eng: Any, asked: Mapping[str, Any]) -> None:
    """One question, of the kind that its keys tell, and what must hold of every answer."""
    if "where" in asked:
        everything = {model.name for model in eng.models()}
        require({model.name for model in eng.models(asked["where"])} <= everything, "models that are not there")
    if "vector" in asked:
        vector = asked["vector"]
        if isinstance(vector, list):
            vector = np.array(vector, dtype=object)
            if all(isinstance(value, float) or (type(value) is int and abs(value) < 2**63) for value in vector.flat):
                vector = vector.astype(np.float64)
        scores, ids = eng.search_vectors(vector, **{key: asked[key] for key in VECTORS if key in asked})
        require(
            (not np.isnan(scores).any() and (np.diff(scores[ids >= 0]) <= 0).all()) or scores.ndim > 1, "not in order"
        )
        require(((ids == -1) == np.isneginf(scores)).all(), "an answer without a score")
    elif "name" in asked:
        _check_hits(eng.similar(asked["name"], asked.get("k", 3), distance=asked.get("distance", "frechet")), -1)
    else:
        _check_hits(eng.search(**{key: asked[key] for key in SEARCH if key in asked}))


def _check_hits(hits: Iterable[Any], sign: int = 1) -> None:
    """``sign`` −1 for distances, of which the smallest come first."""
    scores = [sign * hit.score for hit in hits]
    require(np.isfinite(scores).all(), "a score that is no number")
    require(scores == sorted(scores, reverse=True), "hits that are not in order")


# --- what is exchanged


EXCHANGED = (
    "manifest.json", "encoders.jsonl", "transforms.jsonl", "models/000000.jsonl",
    *(f"{part}/000000.safetensors" for part in ("statistics", "features", "thumbnails", "transforms")),
)  # fmt: skip
"""The members of an archive that are damaged behind checksums that are right."""


def exchange(member: str | None, folder: Path) -> Reader:
    """An exported collection, up to what would be written; ``member`` alone is damaged, and the checksums made right.

    Without one the whole file is: it is refused, or says what the undamaged one says.
    """
    from engine.exchange import ArchiveReader, archive_file

    whole = _exported()
    with zipfile.ZipFile(io.BytesIO(whole)) as zipped:
        members = {name: zipped.read(name) for name in zipped.namelist()}

    def records(data: bytes) -> bytes:
        with archive_file.ArchiveFile(written(folder / "a.engine", data)) as opened:
            found = ArchiveReader(opened)
            found.verify()
            return b"".join(map(_everything, [found.encoders, *found.models(), *found.transforms()]))

    def resigned(data: bytes) -> bytes:
        if member == "manifest.json":
            return _packed({**members, member: _signed(data, sign)}, "zip0")
        said = json.loads(members["manifest.json"])
        said["members"][member] = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        return _packed({**members, str(member): data, "manifest.json": sign(said).encode()}, "zip0")

    def sign(said: dict[str, Any]) -> str:
        return json.dumps({**said, "sha256": archive_file.manifest_digest(said)})

    right = records(whole)

    def read(data: bytes) -> None:
        found = records(data if member is None else resigned(data))
        require(member is not None or found == right, "other records than were exported")

    return Reader([whole if member is None else members[member]], read)


@cache
def _exported() -> bytes:
    """A collection of three models with features, previews and a whitening, as an archive."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "pictures").mkdir()
        for number in range(12):
            pictures()["RGB"].rotate(30 * number).save(folder / "pictures" / f"{number}.png")
        settings = replace(SETTINGS, index_folder=str(folder / "index"))
        with opened(f"sqlite:///{folder / 'zoo.db'}", settings, create=True) as eng:
            eng.ingest(folder / "pictures", name="pictures", tags=["a"], metadata={"b": [1, None]})
            for seed in (1, 2):
                eng.ingest(rows(seed, 40, DIMENSION), name=f"m{seed}")
            eng.search_vectors(np.ones(DIMENSION), method="whitened_first_moment")
            eng.export_archive(folder / "whole.engine")
        return (folder / "whole.engine").read_bytes()


def _everything(record: Any) -> bytes:
    """A record, with all that is in it, as bytes."""
    if is_dataclass(record):
        return b"".join(_everything(getattr(record, field.name)) for field in fields(record))
    if isinstance(record, np.ndarray):
        return f"{record.dtype}{record.shape}".encode() + record.tobytes()
    if isinstance(record, frozenset):
        return repr(sorted(record)).encode()
    if isinstance(record, (list, tuple)):
        return b"".join(map(_everything, record))
    return repr(record).encode()


# --- the table


def all_formats() -> list[Format]:
    """Every format. A new one is a line here, and a function that prepares it."""
    made = [Format(f"pictures/{name}", partial(picture, name)) for name in (*PICTURES, "qoi")]
    made += [
        Format(f"archives/{form}", partial(archive, form))
        for form in ("zip", "zip0", "tar", "tar.gz", "tar.bz2", "tar.xz")
    ]
    made += [Format(f"manifests/{suffix}", partial(manifest, suffix)) for suffix in (".yaml", ".jsonl")]
    made += [Format(f"features/{suffix}", partial(features, suffix)) for suffix in (".npy", ".npz")]
    made += [Format(f"statistics files/{suffix}", partial(statistics, suffix)) for suffix in (".npz", ".parquet")]
    for kind in ("flat", "quantized"):
        for name in file_names(kind):
            made.append(Format(f"snapshots/{kind} {name}", partial(snapshot, kind, name, False)))
            made.append(Format(f"snapshots, signed/{kind} {name}", partial(snapshot, kind, name, True)))
    for name in ("FACTORS", ".factors", ".rotation"):
        made.append(Format(f"records/{name}", partial(records, name, False)))
    made.append(Format("records/FACTORS, signed", partial(records, "FACTORS", True)))
    made.append(Format("records/COUNTS", counts))
    for signed in (False, True):
        end = ", signed" if signed else ""
        made.append(Format(f"agreements/{end}", partial(agreement, signed)))
        made += [
            Format(f"blobs/{kind}{end}", partial(blob, kind, signed))
            for kind in ("mean", "covariance", "features", "arrays")
        ]
    made.append(Format("exports/whole", partial(exchange, None)))
    made += [Format(f"exports/{name}, signed", partial(exchange, name)) for name in EXCHANGED]
    made += [Format("checkpoints", checkpoint), Format("decoders", onnx), Format("queries", query)]
    return made
