"""What holds a collection is its owner's alone, whatever the umask; a folder that is a group's is followed."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from engine import Engine
from engine.errors import StorageError
from engine.files import file_mode, make_folder, open_private
from engine.server import create_app
from tests.server.conftest import LIMITS, picture, to_bytes


@pytest.fixture
def careless() -> Iterator[None]:
    """A process that makes files for everybody."""
    before = os.umask(0)
    yield
    os.umask(before)


def use(folder: Path) -> None:
    """Everything that writes beside a collection: ingest, indexes, map, server, archive, backup."""
    rng = np.random.default_rng(0)
    (folder / "reds").mkdir(0o700)
    for i in range(6):
        picture((200, 30, 30), i).save(folder / "reds" / f"{i}.png")
    for path in (folder / "reds").iterdir():
        path.chmod(0o600)
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        engine.ingest(folder / "reds")
        names = [f"model {i}" for i in range(30)]
        scatter = rng.normal(size=(30, 16, 16))
        engine.ingest_statistics(
            names, rng.normal(size=(30, 16)), scatter @ scatter.transpose(0, 2, 1), encoder="external:x", samples=50
        )
        engine.build_index()
        engine.build_map("pca")
        with TestClient(create_app(engine, limits=LIMITS, with_keys=False)) as client:
            sent = {"picture": to_bytes(picture((200, 30, 30), 1))}
            name = client.post("/pictures", files=sent, headers={"accept": "application/json"}).json()["name"]
            assert client.get("/", params={"image": name}).status_code == 200
            upload = {"file": ("x.npy", to_bytes(picture((200, 30, 30), 1)))}
            assert client.post("/v1/ingest", data={"details": '{"name": "x"}'}, files=upload).status_code == 202
        engine.search(image=folder / "reds" / "1.png")
        engine.export_archive(folder / "zoo.engine")
        engine.backup(folder / "backup.db")
        assert (folder / "zoo.db-wal").exists()
        check_all(folder)
    check_all(folder)


def check_all(folder: Path) -> None:
    group = folder.stat().st_mode & 0o070
    found = 0
    for path in folder.rglob("*"):
        if path.is_relative_to(folder / "reds"):
            continue
        mode = path.lstat().st_mode
        expected = 0o700 | group if stat.S_ISDIR(mode) else 0o600 | group & 0o060
        assert stat.S_IMODE(mode) == expected, f"{path} has {mode:o}"
        found += 1
    assert found > 20


@pytest.mark.usefixtures("careless")
def test_nobody_else_can_read_a_collection(tmp_path: Path) -> None:
    use(tmp_path)


@pytest.mark.usefixtures("careless")
def test_a_groups_folder_stays_the_groups(tmp_path: Path) -> None:
    folder = tmp_path / "group"
    folder.mkdir()
    folder.chmod(0o750)
    use(folder)


@pytest.mark.usefixtures("careless")
@pytest.mark.parametrize(
    ("mode", "made", "file"),
    [
        (0o700, 0o700, 0o600), (0o750, 0o750, 0o640), (0o770, 0o770, 0o660), (0o755, 0o700, 0o600),
        (0o777, 0o700, 0o600), (0o775, 0o700, 0o600), (0o740, 0o700, 0o600), (0o710, 0o700, 0o600),
    ],
)  # fmt: skip
def test_rights_follow_a_folder_that_is_closed_to_others(tmp_path: Path, mode: int, made: int, file: int) -> None:
    folder = tmp_path / "above"
    folder.mkdir()
    folder.chmod(mode)
    make_folder(folder / "a" / "b")
    make_folder(folder / "a" / "b")
    assert {stat.S_IMODE((folder / part).stat().st_mode) for part in ("a", "a/b")} == {made}
    with open_private(folder / "file", "xb") as stream:
        assert stat.S_IMODE(os.fstat(stream.fileno()).st_mode) == file == file_mode(folder)
    with pytest.raises(FileExistsError):
        make_folder(folder / "file")


def test_what_is_there_keeps_its_mode(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'zoo.db'}"
    Engine.open(url, create=True, encoder="external:mine").close()
    (tmp_path / "zoo.db").chmod(0o640)
    (tmp_path / "zoo.db.index").mkdir(0o755)
    with Engine.open(url, create=True) as engine:
        engine.ingest_statistics(["a", "b"], np.eye(2, 8), encoder="external:mine", samples=9)
        engine.search_vectors(np.ones((1, 8), np.float32), encoder="external:mine")
        assert stat.S_IMODE((tmp_path / "zoo.db-wal").stat().st_mode) == 0o640, "as SQLite makes it"
    assert stat.S_IMODE((tmp_path / "zoo.db").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "zoo.db.index").stat().st_mode) == 0o755


@pytest.fixture
def somebody() -> Iterator[Callable[[], None]]:
    """Lets the process be another user from then on."""
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    yield lambda: os.seteuid(65534)
    os.seteuid(0)


def test_somebody_else_is_told(somebody: Callable[[], None]) -> None:
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    url = f"sqlite:///{folder / 'zoo.db'}"
    rng = np.random.default_rng(0)
    with Engine.open(url, create=True, encoder="external:mine") as engine:
        engine.ingest_statistics(["a", "b"], rng.normal(size=(2, 8)), encoder="external:mine", samples=9)
        engine.build_index()
        engine.build_map("pca")
    somebody()
    with pytest.raises(StorageError, match="unable to open") as caught:
        Engine.open(url)
    assert "can be read" in (caught.value.hint or "")
    os.seteuid(0)
    (folder / "zoo.db").chmod(0o644)
    somebody()
    with Engine.open(url) as engine:  # whose index may not be entered: it is made again, in memory
        assert engine.search_vectors(np.ones((1, 8), np.float32), 2)[1].shape == (1, 2)
        assert engine.index_status()[0]["snapshot"] == "damaged"
        assert len(engine.map().ids) == 2
        assert engine.doctor() != []
    os.seteuid(0)
    shutil.rmtree(folder)


@pytest.mark.usefixtures("careless")
def test_a_link_to_a_file_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "link.db").symlink_to(tmp_path / "real.db")
    Engine.open(f"sqlite:///{tmp_path / 'link.db'}", create=True, encoder="external:mine").close()
    assert stat.S_IMODE((tmp_path / "real.db").stat().st_mode) == 0o600
