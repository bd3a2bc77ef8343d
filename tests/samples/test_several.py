"""What looks like several models, or like weights, is refused with the choice; what is one model is taken."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from engine.config import Settings
from engine.errors import InvalidInput, SourceNotFound
from engine.samples import ArchiveSource, FolderSource, open_source
from engine.samples.several import LOOKED_AT, folder_to_folders, look

SETTINGS = Settings()


def lay(root: Path, *names: str) -> Path:
    """Files of those names, which are never read."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"")
    return root


FORMS = ["zip", "tar", "tar.gz"]


def pack(root: Path, form: str, *names: str) -> Path:
    """An archive with empty files of those names."""
    folder, path = lay(root / "in", *names), root / f"a.{form}"
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name in names:
                archive.write(folder / name, name)
    else:
        with tarfile.open(path, "w:gz" if form == "tar.gz" else "w") as tar:
            tar.add(folder, ".")
    return path


ONE = {
    "pictures": ["1.png", "2.jpg"],
    "pictures in a folder": ["samples/1.png", "samples/2.png"],
    "far below": ["a/b/c/1.png", "a/b/c/2.png", "a/notes.txt", "docs/readme.md"],
    "hidden folders beside": ["1.png", ".thumbs/1.png", ".git/x.bin"],
}
SEVERAL = {
    "sub-folders": (["ant/1.png", "bee/1.png", "cat/1.png", "dog/1.png"], ["4 sub-folders", "ant, bee, cat, …"]),
    "shards by a tool": (["0000/1.png", "0001/2.png"], ["2 sub-folders", "0000, 0001"]),
    "below a folder": (["library/ant/1.png", "library/bee/x/1.png"], ["2 sub-folders", "ant, bee"]),
    "pictures beside": (["1.png", "2.png", "rejected/3.png"], ["1 sub-folder (rejected)", "2 beside"]),
    "one beside many": (["cover.png", "ant/1.png", "bee/1.png"], ["2 sub-folders", "1 beside"]),
}
WEIGHTS = ["m.safetensors", "m.ckpt", "m.pt", "m.pth", "pytorch_model.BIN", "m.gguf", "model_index.json", "unet/m.bin"]


@pytest.mark.parametrize("which", ONE)
def test_one_model(tmp_path: Path, which: str) -> None:
    assert isinstance(open_source(lay(tmp_path, *ONE[which]), settings=SETTINGS), FolderSource)


@pytest.mark.parametrize("which", SEVERAL)
def test_several_models(tmp_path: Path, which: str) -> None:
    names, said = SEVERAL[which]
    with pytest.raises(InvalidInput, match="looks like several models") as caught:
        open_source(lay(tmp_path, *names), settings=SETTINGS)
    for part in said:
        assert part in caught.value.message
    assert "--as-one" in (caught.value.hint or "")
    assert "--each" in (caught.value.hint or "")
    for asked in (open_source(tmp_path, settings=SETTINGS, as_one=True),
                  open_source({"path": str(tmp_path), "as_one": True}, settings=SETTINGS)):  # fmt: skip
        assert isinstance(asked, FolderSource)
        assert asked.count() == len(names)


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.parametrize("beside", [[], ["preview.png"]])
def test_weights(tmp_path: Path, name: str, beside: list[str]) -> None:
    with pytest.raises(InvalidInput, match="holds a model's weights") as caught:
        open_source(lay(tmp_path, name, *beside), settings=SETTINGS)
    assert name in caught.value.message
    assert "--as-one" in (caught.value.hint or "")
    if beside:
        assert isinstance(open_source(tmp_path, settings=SETTINGS, as_one=True), FolderSource)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_in_an_archive(tmp_path: Path, form: str, name: str) -> None:
    path = pack(tmp_path, form, name, "preview.png")
    with pytest.raises(InvalidInput, match="holds a model's weights") as caught:
        open_source(path, settings=SETTINGS)
    assert name in caught.value.message
    assert "--as-one" in (caught.value.hint or "")
    opened = open_source(path, settings=SETTINGS, as_one=True)
    assert isinstance(opened, ArchiveSource)
    assert opened.count() == 1
    opened.close()


@pytest.mark.parametrize("form", ["tar", "tar.gz"])
def test_tensors_of_a_webdataset_are_no_weights(tmp_path: Path, form: str) -> None:
    names = ["0001.jpg", "0001.latent.pth", "0002.pt", "0002.jpg"]
    opened = open_source(pack(tmp_path, form, *names), settings=SETTINGS)
    assert isinstance(opened, ArchiveSource)
    assert opened.count() == 2
    opened.close()
    with pytest.raises(InvalidInput, match=r"1 file \(.*model\.pth\)"):
        open_source(pack(tmp_path, form, *names, "model.pth"), settings=SETTINGS)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("which", [*ONE, *SEVERAL])
def test_archives_are_judged_alike(tmp_path: Path, form: str, which: str) -> None:
    names = ONE[which] if which in ONE else SEVERAL[which][0]
    path = pack(tmp_path, form, *names)
    if which in SEVERAL:
        with pytest.raises(InvalidInput, match="looks like several models"):
            open_source(path, settings=SETTINGS)
    opened = open_source(path, settings=SETTINGS, as_one=which in SEVERAL)
    assert isinstance(opened, ArchiveSource)
    opened.close()


def test_a_huge_tree_is_refused_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal reads some thousand entries, however many there are."""
    lay(tmp_path, *[f"{folder:03}/{number}.png" for folder in range(60) for number in range(50)])
    read = 0
    real = os.scandir

    def counted(path: Path) -> object:
        nonlocal read
        read += 1
        return real(path)

    monkeypatch.setattr(os, "scandir", counted)
    found = look(tmp_path, most=300, most_each=40)
    assert (found.whole, read) == (False, 8), "the folder itself, and seven of forty pictures until 300 are read"
    assert LOOKED_AT < 100_000
    monkeypatch.setattr("engine.samples.open.look", lambda path: found)
    with pytest.raises(InvalidInput, match="at least 7 sub-folders"):
        open_source(tmp_path, settings=SETTINGS)
    assert read == 8, "nothing was listed after the look"


@pytest.mark.parametrize("last", ["zz/1.png", "zz.pth"])
def test_what_a_first_look_did_not_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    lay(tmp_path, *[f"{number}.png" for number in range(30)])
    monkeypatch.setattr("engine.samples.open.look", lambda path: look(path, most_each=10))
    assert isinstance(open_source(tmp_path, settings=SETTINGS), FolderSource)
    lay(tmp_path, last)
    monkeypatch.setattr("engine.samples.open.look", lambda path: look(path, most_each=0))
    with pytest.raises(InvalidInput):
        open_source(tmp_path, settings=SETTINGS)


def test_links_that_lead_round_in_circles(tmp_path: Path) -> None:
    lay(tmp_path, "a/1.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "loop.png").symlink_to("loop.png")
    assert look(tmp_path).whole


def test_the_folders_in_a_folder(tmp_path: Path) -> None:
    lay(tmp_path, "b/1.png", "a/x/1.png", ".hidden/1.png", "cover.png")
    assert folder_to_folders(tmp_path) == [tmp_path / "a", tmp_path / "b"]
    with pytest.raises(InvalidInput, match="no sub-folders"):
        folder_to_folders(tmp_path / "b")
    with pytest.raises(SourceNotFound):
        folder_to_folders(tmp_path / "absent")
    with pytest.raises(SourceNotFound):
        folder_to_folders(tmp_path / "cover.png")
