"""``make screenshots``: the page on a real collection, as a browser shows it.

python -m benchmarks.screenshots --database sqlite:///demo/zoo.db --out docs/screenshots
"""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import click
from PIL import Image
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

from benchmarks.load import served

ARGUMENTS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
COLOURS = 255
"""Of the pictures that are written: a page has few, and so the files stay small."""


class Shot(NamedTuple):
    """A picture of the page: its file's name, the address, and how the window is."""

    name: str
    path: str
    width: int = 1280
    height: int = 860
    dark: bool = False


SHOTS = (
    Shot("search", "/?q=flowers&model=noto-birds"),
    Shot("model", "/models/fluent-sea-animals", dark=True),
    Shot("explore", "/explore"),
    Shot("phone", "/?q=a+sad+face", width=390, height=844),
)


def launched(playwright: Playwright) -> Browser:
    """The system's Chromium, headless.

    Raises:
        click.ClickException: there is none.
    """
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        raise click.ClickException("this needs Chromium: make browser")
    return playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))


def wait(page: Page) -> None:
    """Until every picture of it has come."""
    page.wait_for_load_state("networkidle")
    page.evaluate("Promise.all([...document.images].filter((one) => !one.complete && one.loading !== 'lazy')"
                  ".map((one) => one.decode().catch(() => null)))")  # fmt: skip
    page.wait_for_timeout(500)


@click.command(help=__doc__)
@click.option("--database", default="sqlite:///demo/zoo.db", show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/screenshots"))
def main(database: str, out: Path) -> None:
    """Serve, look, write."""
    out.mkdir(parents=True, exist_ok=True)
    with served(database) as address, sync_playwright() as playwright:
        browser = launched(playwright)
        for shot in SHOTS:
            context = browser.new_context(
                viewport={"width": shot.width, "height": shot.height}, base_url=address,
                color_scheme="dark" if shot.dark else "light",
            )  # fmt: skip
            page = context.new_page()
            answer = page.goto(shot.path)
            if answer is None or answer.status != 200:
                raise click.ClickException(f"{shot.path} does not show: {answer and answer.status}")
            wait(page)
            path = out / f"{shot.name}.png"
            picture = Image.open(BytesIO(page.screenshot())).convert("RGB")
            picture.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
            context.close()
            print(path)
        browser.close()


if __name__ == "__main__":
    main()
