"""A model's page, several side by side, all of them as a list and as a map; signing in."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from playwright.sync_api import Page, expect

from benchmarks.load import served
from engine import Engine
from tests.page.conftest import COLOURS, HOSTILE, NewPage, check_accessible, keep, names, searched


def test_all_of_a_model_is_shown(opened: NewPage) -> None:
    page = opened("/models/blues")
    expect(page.get_by_role("heading", level=1)).to_have_text("blues")
    for said in ("Discs, all blues.", "CC0-1.0", "compact", "cold", "disc", "diffusion"):
        expect(page.locator("main")).to_contain_text(said)
    assert page.locator(".gallery img").count() == 9
    page.wait_for_load_state("networkidle")
    assert page.locator(".gallery img").first.evaluate("image => image.naturalWidth") == 64
    similar = page.locator("#similar .card").evaluate_all("all => all.map((card) => card.dataset.name)")
    assert "blues" not in similar
    assert len(similar) == 12
    check_accessible(page)
    keep(page, "model")
    page.get_by_role("link", name="cosine of means").click()
    page.wait_for_url("**distance=cosine**")
    said = page.locator("#similar .score > span").all_text_contents()
    scores = [float(text.removeprefix("score ")) for text in said]
    assert len(scores) == 12
    assert scores == sorted(scores, reverse=True)


def test_samples_are_looked_at(opened: NewPage) -> None:
    page = opened("/models/blues")
    page.get_by_alt_text("Sample 1", exact=True).click()
    light = page.get_by_role("dialog", name="Sample")
    expect(light.get_by_alt_text("Sample 1", exact=True)).to_be_visible()
    check_accessible(page)
    keep(page, "lightbox")
    page.keyboard.press("ArrowRight")
    expect(light.get_by_alt_text("Sample 2", exact=True)).to_be_visible()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowLeft")
    expect(light.get_by_alt_text("Sample 9", exact=True)).to_be_visible()
    light.get_by_role("button", name="Next sample").click()
    expect(light.get_by_alt_text("Sample 1", exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(light).to_be_hidden()


def test_more_is_drawn_and_the_seed_decides(opened: NewPage) -> None:
    page = opened("/models/decoder")

    def drawn(count: int, seed: int) -> list[str]:
        page.get_by_label("How many").fill(str(count))
        page.get_by_label("Seed").fill(str(seed))
        page.get_by_role("button", name="Draw", exact=True).click()
        expect(page.get_by_role("status")).to_have_text(f"{count} drawn with seed {seed}")
        return page.locator("#drawn img").evaluate_all("all => all.map((image) => image.src)")  # type: ignore[no-any-return]

    first = drawn(5, 7)
    assert len(set(first)) == 5
    expect(page.get_by_label("Seed")).to_have_value("8")
    assert drawn(5, 8) != first
    assert drawn(5, 7) == first
    check_accessible(page)
    keep(page, "drawn")
    page.locator("#drawn a").first.click()
    expect(page.get_by_role("dialog", name="Sample")).to_be_visible()


def test_drawing_that_fails_says_so(opened: NewPage, zoo: Path) -> None:
    page = opened("/models/decoder", quiet=False)
    page.route("**/samples", lambda route: route.fulfill(status=200, body='{"problem": {"detail": "out of paint"}}\n'))
    page.get_by_role("button", name="Draw", exact=True).click()
    expect(page.get_by_role("status")).to_have_text("out of paint")
    assert opened("/models/blues").get_by_role("button", name="Draw", exact=True).count() == 0


def test_a_model_joins_the_query_that_one_came_from(opened: NewPage) -> None:
    page = opened("/?q=a+red+circle")
    page.locator(".card a").first.click()
    page.wait_for_url("**/models/**")
    name = page.get_by_role("heading", level=1).inner_text()
    page.get_by_role("link", name="Add to query").click()
    page.wait_for_url("**/?**")
    assert parse_qs(urlsplit(page.url).query) == {"q": ["a red circle"], "model": [name]}
    page.goto(f"/models/{name}")
    page.get_by_role("link", name="Search with this model").click()
    page.wait_for_url("**/?model=*")
    assert name not in names(page)


def test_models_are_compared(opened: NewPage) -> None:
    page = opened("/?q=a+circle")
    chosen = names(page)[:2]
    expect(page.locator("#tray")).to_be_hidden()
    for name in chosen:
        page.locator(f"[data-name={name}]").get_by_role("button", name="Compare").click()
    expect(page.locator("#tray")).to_be_visible()
    page.locator("#tray").get_by_role("link", name="Compare").click()
    page.wait_for_url("**/compare?**")
    assert page.locator(".columns h2").all_text_contents() == chosen
    row = page.locator("tbody tr")
    assert row.count() == 1
    expect(row).to_contain_text(f"{chosen[0]} and {chosen[1]}")
    assert all(re.fullmatch(r"0\.\d+", cell) for cell in row.locator("td").all_text_contents())
    assert "disc" in page.locator(".shared").all_inner_texts()
    check_accessible(page)
    keep(page, "compare")
    page.get_by_label("Add a model").fill("decoder")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**decoder")
    assert page.locator("tbody tr").count() == 3
    page.get_by_role("link", name=f"Remove {chosen[0]}").click()
    page.wait_for_url(lambda url: chosen[0] not in url)
    assert page.locator(".columns h2").all_text_contents() == [chosen[1], "decoder"]
    page.locator("#tray").get_by_role("button", name="Clear").click()
    expect(page.locator("#tray")).to_be_hidden()


def test_all_models_are_listed(opened: NewPage, zoo: Path) -> None:
    page = opened("/models")
    with Engine.open(f"sqlite:///{zoo / 'zoo.db'}") as engine:
        expected = [model.name for model in engine.models()]
    listed = page.locator(".card").evaluate_all("all => all.map((card) => card.dataset.name)")
    assert listed == expected
    check_accessible(page)
    page.get_by_label("Sorted by").select_option("-created_at")
    page.wait_for_url("**sort=-created_at")
    assert page.locator(".card").first.get_attribute("data-name") == HOSTILE


def test_who_is_not_there(opened: NewPage) -> None:
    page = opened("/models/nobody", quiet=False)
    expect(page.get_by_role("alert")).to_contain_text("nobody")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")
    check_accessible(page)
    page.goto("/nowhere")
    expect(page.get_by_role("heading", level=1)).to_have_text("Not found")


# --- the map


def mapped(opened: NewPage) -> Page:
    """The map, drawn with its pictures."""
    page = opened("/explore")
    expect(page.locator("#sky")).to_have_attribute("data-frames", re.compile(r"[1-9]"))
    expect(page.locator("#count")).not_to_be_empty()
    page.wait_for_load_state("networkidle")
    return page


COLOURS_SHOWN = """() => {
  const sky = document.getElementById("sky");
  const { data } = sky.getContext("2d").getImageData(0, 0, sky.width, sky.height), seen = new Set();
  for (let i = 0; i < data.length; i += 4) seen.add(data[i] << 16 | data[i + 1] << 8 | data[i + 2]);
  return seen.size;
}"""


def test_the_map_shows_every_model_and_opens_them(opened: NewPage) -> None:
    page = mapped(opened)
    expect(page.locator("#count")).to_have_text("16 models, laid out by two principal components.")
    assert page.evaluate(COLOURS_SHOWN) > 20  # dots of a few colours, and pictures
    legend = page.locator("#legend button")
    assert sorted(legend.all_text_contents()) == ["diffusion5", "gan10", "onnx1"]
    check_accessible(page)
    keep(page, "explore")
    page.locator("#sky").focus()
    page.keyboard.press("Tab")
    chosen = page.locator("#over").inner_text().split(" · ")[0]
    assert chosen in {*COLOURS, "decoder", HOSTILE}
    keep(page, "explore-chosen")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/models/{quote(chosen, safe='')}")


def test_the_map_is_moved_and_clicked(opened: NewPage) -> None:
    page = mapped(opened)
    sky = page.locator("#sky")
    box = sky.bounding_box()
    assert box is not None
    spot = None
    for step in range(60 * 12):  # point at places until one is a model
        x, y = box["x"] + 250 + (step % 60) * 16, box["y"] + 20 + (step // 60) * 50
        page.mouse.move(x, y)
        if page.locator("#over").inner_text():
            spot = (x, y)
            break
    assert spot is not None
    name = page.locator("#over").inner_text().split(" · ")[0]
    frames = int(sky.get_attribute("data-frames") or 0)
    page.mouse.down()
    page.mouse.move(spot[0] + 80, spot[1] + 40, steps=4)
    page.mouse.up()
    assert urlsplit(page.url).path == "/explore"  # a drag opens nothing
    page.mouse.wheel(0, -300)
    page.wait_for_function("frames => +document.getElementById('sky').dataset.frames > frames", arg=frames)
    page.get_by_role("button", name="Show all").click()
    page.mouse.move(*spot)
    expect(page.locator("#over")).to_contain_text(name)
    page.mouse.click(*spot)
    page.wait_for_url(f"**/models/{quote(name, safe='')}")


def test_the_map_is_searched_and_coloured(opened: NewPage) -> None:
    page = mapped(opened)
    page.get_by_label("Colour by").select_option("tags")
    expect(page.locator("#legend button").first).to_have_text("disc15")
    page.locator("#legend button", has_text="noise").click()
    expect(page.locator("#legend button", has_text="noise")).to_have_attribute("aria-pressed", "true")
    page.locator("#sky").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#over")).to_contain_text("decoder")  # all that has the tag
    page.keyboard.press("Tab")
    page.locator("#legend button", has_text="noise").click()
    page.get_by_label("Find").fill("purp")
    page.locator("#sky").focus()
    page.keyboard.press("Tab")
    expect(page.locator("#over")).to_contain_text("purples")


def test_a_step_on_the_map_goes_by_what_was_typed_before_it(opened: NewPage) -> None:
    page = mapped(opened)
    page.evaluate("""() => {  // no frame is drawn between typing and the step
      const find = document.getElementById("find");
      find.value = "purp";
      find.dispatchEvent(new Event("input"));
      document.getElementById("sky").dispatchEvent(new KeyboardEvent("keydown", { key: "Tab" }));
    }""")
    expect(page.locator("#over")).to_contain_text("purples")


def test_the_map_without_scripts_leads_to_the_list(opened: NewPage) -> None:
    page = opened("/explore", scripts=False)
    page.get_by_role("link", name="Browse the list").click()
    page.wait_for_url("**/models")


# --- keys


def test_signing_in(opened: NewPage, zoo: Path) -> None:
    url = f"sqlite:///{zoo / 'zoo.db'}"
    with Engine.open(url) as engine:
        key, token = engine.keys.create("browser", ("read",))
    try:
        with served(url, "--auth", "keys") as address:
            page = opened("/models/blues", base=address, quiet=False)
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            check_accessible(page)
            page.get_by_label("Key").fill("ek_wrong")
            page.get_by_role("button", name="Sign in").click()
            expect(page.get_by_role("alert")).to_contain_text("not valid")
            page.get_by_label("Key").fill(token)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url("**/models/blues")
            page.goto("/")
            page.get_by_label("Describe what the model should draw").fill("a red circle")
            searched(page, lambda: page.keyboard.press("Enter"))
            assert names(page)
            assert page.evaluate("document.cookie") == ""  # scripts cannot read it
            deleted = page.evaluate("fetch('/v1/models/blues', {method: 'DELETE'}).then((answer) => answer.status)")
            assert deleted == 403  # nor may it write
            check_accessible(page)
            page.get_by_role("button", name="Sign out").click()
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            page.goto("/models/blues")
            expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")
            page.goto("/login?after=//evil.example/x")
            assert page.locator("[name=after]").input_value() == "/"
    finally:
        with Engine.open(url) as engine:
            engine.keys.revoke(key.id)


@pytest.mark.parametrize("path", ["/", "/models", "/models/blues", "/explore"])
def test_pages_may_run_nothing_but_their_own(opened: NewPage, path: str) -> None:
    page = opened(path)
    policy = page.request.get(path).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert page.locator("script:not([src]), [style], [onclick]").count() == 0
