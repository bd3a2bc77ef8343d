"""A served collection of real pictures, and a headless Chromium that looks at it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from benchmarks.load import served
from benchmarks.screenshots import launched
from engine import Engine
from tests.samples.test_generator_onnx import linear
from tests.server.conftest import picture, to_bytes

COLOURS = {
    "reds": (200, 30, 30), "greens": (30, 170, 60), "blues": (40, 60, 200), "greys": (120, 120, 120),
    "yellows": (230, 210, 40), "purples": (130, 40, 160), "browns": (110, 70, 40), "pinks": (240, 130, 180),
    "oranges": (240, 140, 20), "cyans": (40, 200, 210), "olives": (110, 120, 20), "navies": (20, 25, 80),
    "limes": (150, 230, 40), "teals": (0, 120, 120),
}  # fmt: skip
HOSTILE = '<b id="bold">bold</b> & "quoted"/é'
"""A model's name that would show if it were not escaped, with a slash in it."""
PATIENCE = 20_000
"""Milliseconds within which a page does what is expected of it, on a machine that is busy with other tests."""
SCREENSHOTS = Path(os.environ.get("ENGINE_SCREENSHOTS", Path(__file__).resolve().parents[2] / "test-screenshots"))


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``zoo.db``: a model a colour, one that can draw, one that is only numbers and is named to harm."""
    folder = tmp_path_factory.mktemp("page")
    with Engine.open(f"sqlite:///{folder / 'zoo.db'}", create=True, encoder="compact") as engine:
        for number, (name, colour) in enumerate(COLOURS.items()):
            (folder / name).mkdir()
            for i in range(10):
                picture(colour, i).save(folder / name / f"{i}.png")
            engine.ingest(
                folder / name, tags=["disc", "warm" if colour[0] > colour[2] else "cold"],
                kind="gan" if number % 3 else "diffusion", author="Ada L" if number % 2 else "Grace",
                description=f"Discs, all {name}.", license="CC0-1.0",
            )  # fmt: skip
        engine.ingest(linear(folder / "decoder.onnx"), name="decoder", samples=12, tags=["noise"])
        engine.ingest(
            folder / "reds", name=HOSTILE, tags=["two words", "disc"], kind="gan",
            links={"bad": "javascript:alert(1)", "good": "https://example.org/x"},
            description="<script>alert(2)</script>",
        )  # fmt: skip
        engine.build_map("pca")
    return folder


@pytest.fixture(scope="session")
def address(zoo: Path) -> Iterator[str]:
    """Where it is served."""
    with served(f"sqlite:///{zoo / 'zoo.db'}") as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The system's Chromium, headless. Playwright runs an event loop in this thread: others' tests want their own."""
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        yield browser
        browser.close()


NewPage = Callable[..., Page]


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[NewPage]:
    """Opens pages: ``opened(path, width=…, height=…, dark=…, scripts=…)``; what a page complains of fails the test."""
    contexts: list[BrowserContext] = []
    complaints: list[str] = []

    def new(
        path: str = "/", *, width: int = 1280, height: int = 900, dark: bool = False, touch: bool = False,
        scripts: bool = True, base: str = address, quiet: bool = True,
    ) -> Page:  # fmt: skip
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", has_touch=touch,
            base_url=base, java_script_enabled=scripts,
        )  # fmt: skip
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        if quiet:
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
        page.goto(path)
        return page

    yield new
    for context in contexts:
        context.close()
    assert complaints == []


def names(page: Page) -> list[str]:
    """Names on the cards, in order."""
    return page.locator("#results .card").evaluate_all("cards => cards.map((card) => card.dataset.name)")  # type: ignore[no-any-return]


def searched(page: Page, act: Callable[[], Any]) -> None:
    """Do something that searches, and wait for the answers."""
    with page.expect_response(lambda answer: re.search(r"/(\?|$)", answer.url) is not None):
        act()
    expect(page.locator("#results")).to_have_attribute("aria-busy", "false")


def check_accessible(page: Page) -> None:
    """No violation that axe finds."""
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def keep(page: Page, name: str) -> None:
    """A screenshot, to look at afterwards."""
    SCREENSHOTS.mkdir(exist_ok=True)
    name = re.sub(r"[^\w-]+", "-", name).strip("-")
    page.screenshot(path=SCREENSHOTS / f"{name}.png")


BLUE = to_bytes(picture(COLOURS["blues"], 99))
