"""The search page, used as people use it: typed, uploaded, dropped, pasted, drawn, shared, gone back."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.page.conftest import BLUE, HOSTILE, NewPage, check_accessible, keep, names, searched
from tests.server.conftest import to_bytes

TRANSFER = """(kind) => {
  const bytes = Uint8Array.from(atob(DATA), (c) => c.charCodeAt(0));
  const carried = new DataTransfer();
  carried.items.add(new File([bytes], "picture.png", { type: "image/png" }));
  return carried;
}""".replace("DATA", repr(base64.b64encode(BLUE).decode()))

BLACK = """() => {
  const { data } = document.getElementById("canvas").getContext("2d").getImageData(0, 0, 448, 448);
  return data.filter((value, i) => i % 4 === 0 && value < 128).length;
}"""
PATHS = (
    "/",
    "/?q=a+circle+tag:disc&model=reds",
    "/models/decoder",
    "/compare?model=reds&model=blues",
    "/explore",
    "/models",
)


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def type_and_search(page: Page, text: str) -> None:
    page.get_by_label("Describe what the model should draw").fill(text)
    searched(page, lambda: page.keyboard.press("Enter"))


def blob_sent(page: Page, act: Any) -> None:
    """Send a picture, by whatever way, and wait until its search is answered."""
    with page.expect_response("**/pictures"):
        searched(page, act)


def test_the_empty_page_suggests_what_the_collection_can_answer(opened: NewPage) -> None:
    page = opened("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Find a model by what it draws")
    examples = page.locator(".examples a")
    assert examples.count() >= 3
    check_accessible(page)
    keep(page, "empty")
    for i in range(examples.count()):
        page.goto("/")
        searched(page, page.locator(".examples a").nth(i).click)
        assert names(page), page.url


def test_a_text_is_typed(opened: NewPage) -> None:
    page = opened("/")
    type_and_search(page, "a red circle")
    assert query(page) == {"q": ["a red circle"]}
    assert "reds" in names(page)[:4]
    assert len(names(page)) == 12
    assert page.title().startswith("a red circle")
    expect(page.locator("#results .status")).to_contain_text(re.compile(r"12 models by first moment\s+in [\d.]+ ms"))
    bars = page.locator("#results .score rect:not(.rest)")
    widths = bars.evaluate_all("all => all.map((one) => +one.getAttribute('width'))")
    assert widths == sorted(widths, reverse=True)
    assert widths[0] == 100
    assert widths[-1] < 10
    check_accessible(page)
    keep(page, "text")


def test_more_cards_are_shown(opened: NewPage) -> None:
    page = opened("/?q=a+circle")
    first = names(page)
    searched(page, page.get_by_role("link", name="Show more").click)
    assert names(page)[:12] == first
    assert len(names(page)) == 16
    expect(page.get_by_role("link", name="Show more")).to_have_count(0)


def test_words_filter(opened: NewPage) -> None:
    page = opened("/")
    type_and_search(page, 'circle tag:warm author:"ada l" -kind:diffusion')
    found = names(page)
    assert found
    assert set(found) <= {"greens", "yellows", "browns", "oranges", "olives", "limes", "pinks", "reds"}
    expect(page.get_by_label("Describe what the model should draw")).to_have_value(
        'circle tag:warm author:"ada l" -kind:diffusion'
    )
    chip = page.get_by_role("link", name="Remove the filter tag:warm")
    searched(page, chip.click)
    assert set(found) < set(names(page))
    assert "tag:warm" not in query(page)["q"][0]
    type_and_search(page, "title:REE")
    assert names(page) == ["greens"]
    type_and_search(page, "tag:nothing")
    expect(page.locator("#results")).to_contain_text("No model passes the filters")
    check_accessible(page)


@pytest.mark.parametrize("way", ["upload", "drop", "paste"])
def test_a_picture_is_given(opened: NewPage, way: str) -> None:
    page = opened("/")
    if way == "upload":
        chosen = {"name": "any.png", "mimeType": "image/png", "buffer": BLUE}
        blob_sent(page, lambda: page.locator("#file").set_input_files(chosen))  # type: ignore[arg-type]
    else:
        carried = page.evaluate_handle(TRANSFER)
        if way == "drop":
            page.dispatch_event("body", "dragenter", {"dataTransfer": carried})
            expect(page.locator("#dropping")).to_be_visible()
            blob_sent(page, lambda: page.dispatch_event("body", "drop", {"dataTransfer": carried}))
            expect(page.locator("#dropping")).to_be_hidden()
        else:
            pasted = "data => dispatchEvent(new ClipboardEvent('paste', {clipboardData: data}))"
            blob_sent(page, lambda: page.evaluate(pasted, carried))
    assert names(page)[0] in ("blues", "navies")
    assert set(query(page)) == {"image"}
    expect(page.get_by_alt_text("Your image")).to_be_visible()
    expect(page.get_by_alt_text("Your image")).to_have_js_property("naturalWidth", 64)
    check_accessible(page)
    keep(page, f"picture-{way}")


def test_a_sketch_is_drawn(opened: NewPage) -> None:
    page = opened("/")
    page.get_by_role("button", name="Draw a sketch").click()
    pad = page.get_by_role("dialog", name="Draw a sketch")
    expect(pad).to_be_visible()
    expect(pad.get_by_role("button", name="Search")).to_be_disabled()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for left in (100, 250):  # two strokes, of which one is undone
        page.mouse.move(box["x"] + left, box["y"] + 100)
        page.mouse.down()
        for step in range(12):
            page.mouse.move(box["x"] + left + 8 * step, box["y"] + 100 + (step * 23) % 120)
        page.mouse.up()
    both = page.evaluate(BLACK)
    pad.get_by_role("button", name="Undo").click()
    one = page.evaluate(BLACK)
    assert both > one > 100
    check_accessible(page)
    keep(page, "sketchpad")
    blob_sent(page, pad.get_by_role("button", name="Search").click)
    assert set(query(page)) == {"sketch"}
    assert len(names(page)) == 12
    expect(page.get_by_alt_text("Your sketch")).to_be_visible()
    kept = page.request.get(f"/pictures/{query(page)['sketch'][0]}")
    assert kept.headers["content-type"] == "image/png"
    keep(page, "sketch")


def test_a_cancelled_sketch_asks_nothing(opened: NewPage) -> None:
    page = opened("/")
    page.get_by_role("button", name="Draw a sketch").click()
    page.locator("#canvas").click(position={"x": 50, "y": 50})
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    assert urlsplit(page.url).query == ""


def test_parts_are_mixed_weighed_and_removed(opened: NewPage) -> None:
    page = opened("/?q=a+red+circle")
    searched(page, page.locator("[data-name=navies]").get_by_role("link", name="Add to query").click)
    assert query(page) == {"q": ["a red circle"], "model": ["navies"]}
    expect(page.locator(".chip")).to_have_count(2)
    assert page.locator(".card").first.locator(".shares dt").all_text_contents() == ["text", "model"]
    before = names(page)
    assert "navies" not in before
    searched(page, lambda: page.get_by_label("Weight of the model").select_option("4"))
    assert query(page)["w.model"] == ["4"]
    assert names(page) != before
    heavy = names(page)
    page.reload()
    assert names(page) == heavy
    expect(page.get_by_label("Weight of the model")).to_have_value("4")
    check_accessible(page)
    keep(page, "mixed")
    searched(page, page.get_by_role("link", name="Remove the model").click)
    assert query(page) == {"q": ["a red circle"]}


def test_an_address_is_shared_and_one_goes_back(opened: NewPage) -> None:
    page = opened("/")
    chosen = {"name": "any.png", "mimeType": "image/png", "buffer": BLUE}
    blob_sent(page, lambda: page.locator("#file").set_input_files(chosen))  # type: ignore[arg-type]
    by_image, first = names(page), page.url
    type_and_search(page, "a yellow circle")
    mixed, second = names(page), page.url
    assert mixed != by_image
    searched(page, page.go_back)
    assert page.url == first
    assert names(page) == by_image
    expect(page.get_by_label("Describe what the model should draw")).to_have_value("")
    searched(page, page.go_forward)
    assert names(page) == mixed
    somebody_else = opened(second)
    assert names(somebody_else) == mixed
    page.locator(".card a").first.click()
    page.wait_for_url("**/models/**")
    page.go_back()
    assert names(page) == mixed


def test_the_keyboard_is_enough(opened: NewPage) -> None:
    page = opened("/models")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.goto("/?q=a+circle")
    page.keyboard.press("/")
    expect(page.get_by_label("Describe what the model should draw")).to_be_focused()
    page.keyboard.press("Control+a")
    page.keyboard.type("a green circle")
    searched(page, lambda: page.keyboard.press("Enter"))
    assert query(page) == {"q": ["a green circle"]}
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('.card') !== null"):
            break
    ring = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert ring == "solid"
    page.keyboard.press("Enter")
    page.wait_for_url("**/models/**")


def test_a_skeleton_is_shown_while_waiting(opened: NewPage) -> None:
    page = opened("/")
    release: list[Any] = []
    page.route("**/?q=slow*", lambda route: release.append(route))
    page.get_by_label("Describe what the model should draw").fill("slow")
    page.keyboard.press("Enter")
    expect(page.locator("#results .skeleton")).to_be_visible()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "true")
    release[0].continue_()
    expect(page.locator("#results .skeleton")).to_have_count(0)
    assert len(names(page)) == 12


def test_what_goes_wrong_is_said(opened: NewPage) -> None:
    page = opened("/", quiet=False)
    chosen = {"name": "any.png", "mimeType": "image/png", "buffer": BLUE[:60]}
    with page.expect_response("**/pictures"):
        page.locator("#file").set_input_files(chosen)  # type: ignore[arg-type]
    expect(page.get_by_role("alert")).to_contain_text("truncated")
    check_accessible(page)
    page.goto("/?image=" + "0" * 32)
    expect(page.get_by_role("alert")).to_contain_text("no longer kept")
    page.goto("/?q=x&n=many")
    expect(page.get_by_role("alert")).to_contain_text("n must be a whole number")
    page.goto("/?model=nobody")
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    page.goto("/")
    page.route("**/?q=*", lambda route: route.abort())
    page.get_by_label("Describe what the model should draw").fill("anything")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("does not answer")


def test_names_are_shown_and_never_obeyed(opened: NewPage) -> None:
    page = opened("/?q=title:quoted")
    assert names(page) == [HOSTILE]
    assert page.locator("#bold").count() == 0
    page.get_by_role("link", name=HOSTILE, exact=True).click()
    page.wait_for_url(lambda url: "/model?name=" in url)  # it has a slash
    expect(page.get_by_role("heading", level=1)).to_have_text(HOSTILE)
    assert page.locator("#bold").count() == 0
    expect(page.get_by_text("<script>alert(2)</script>")).to_be_visible()
    assert page.get_by_role("link", name="javascript:alert(1)").count() == 0
    expect(page.get_by_role("link", name="https://example.org/x")).to_be_visible()
    page.get_by_role("link", name="two words").click()
    page.wait_for_url("**/?q=*")
    assert names(page) == [HOSTILE]
    check_accessible(page)


def test_it_works_without_scripts(opened: NewPage, tmp_path: Path) -> None:
    page = opened("/", scripts=False)
    page.get_by_label("Describe what the model should draw").fill("a red circle")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=*")
    assert page.locator("#results .card h3 a").count() == 12
    picture = tmp_path / "blue.png"
    picture.write_bytes(BLUE)
    page.get_by_label("A picture to search with").set_input_files(picture)
    page.get_by_role("button", name="Search with it").click()
    page.wait_for_url("**image=*")
    assert set(query(page)) == {"q", "image"}
    assert page.locator("#results .card h3 a").count() == 12


@pytest.mark.parametrize("width", [320, 390, 768])
def test_it_fits_a_phone(opened: NewPage, width: int) -> None:
    for path in PATHS:
        page = opened(path, width=width, height=844, touch=True)
        page.wait_for_load_state("networkidle")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        check_accessible(page)
        keep(page, f"phone-{width}{path}")
        page.context.close()


@pytest.mark.parametrize("path", PATHS)
def test_it_is_dark_where_that_is_wished(opened: NewPage, path: str) -> None:
    page = opened(path, dark=True)
    page.wait_for_load_state("networkidle")
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert max(int(value) for value in re.findall(r"\d+", ground)[:3]) < 60
    check_accessible(page)
    keep(page, f"dark{path}")


def test_a_picture_that_is_large_is_made_small(opened: NewPage) -> None:
    page = opened("/")
    noise = np.random.default_rng(0).integers(0, 256, (900, 1600, 3), np.uint8)
    large = to_bytes(Image.fromarray(noise))
    answer = page.request.post(
        "/pictures", multipart={"picture": {"name": "x.png", "mimeType": "image/png", "buffer": large}},
        headers={"Accept": "application/json"},
    )  # fmt: skip
    kept = page.request.get(f"/pictures/{answer.json()['name']}")
    assert kept.headers["content-type"] == "image/webp"
    assert len(kept.body()) < 400_000
