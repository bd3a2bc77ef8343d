"""How quickly the page shows answers, and how smoothly its map moves, in headless Chromium without a graphics card.

    python -m benchmarks.page --zoo demo/zoo.db

*Answers*: from Enter to the answer's cards standing in the page, less what the server says encoding took; texts that
were never asked before, the server warm. *The map*: 10 000 models without pictures, moved by the mouse for some
seconds; how many frames a second the browser showed, and how long drawing one took.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import median
from typing import Any

import click
import numpy as np
from playwright.sync_api import Page, sync_playwright

from benchmarks.load import served, text_kinds
from benchmarks.screenshots import launched
from benchmarks.suite.tasks import ENCODER, names_of, opened
from engine.bench.data import clustered
from engine.bench.machine import machine

HERE = Path(__file__).resolve().parent
MODELS = 10_000
SEARCHES = 40
SECONDS = 4.0
WATCH = """() => new Promise((resolve) => {
  const began = performance.now(), before = document.querySelector("#results");
  new MutationObserver((_, watcher) => {
    const now = document.querySelector("#results");
    if (now === before || !now.querySelector(".card")) return;
    watcher.disconnect();
    requestAnimationFrame(() => resolve(performance.now() - began));
  }).observe(document.querySelector("#main"), { childList: true, subtree: true });
  document.getElementById("ask").requestSubmit();
})"""
FRAMES = """(seconds) => new Promise((resolve) => {
  const sky = document.getElementById("sky"), box = sky.getBoundingClientRect(), drawn = [], began = performance.now();
  const at = (type, x, y) => sky.dispatchEvent(new PointerEvent(type, { pointerId: 1, bubbles: true,
    clientX: box.left + x, clientY: box.top + y }));
  sky.setPointerCapture = () => {};
  let frames = 0, last = began;
  const gaps = [];
  at("pointerdown", 600, 300);
  const move = (now) => {
    const t = (now - began) / 1000;
    if (t > seconds) { at("pointerup", 600, 300); return resolve({ gaps, drawn }); }
    at("pointermove", 600 + 150 * Math.sin(3 * t), 300 + 90 * Math.cos(2 * t));
    gaps.push(now - last);
    last = now;
    drawn.push(+sky.dataset.drawn);
    requestAnimationFrame(move);
  };
  requestAnimationFrame(move);
})"""


def search_times(page: Page, texts: list[str]) -> list[float]:
    """Milliseconds from Enter to the cards, less the encoder's."""
    taken = []
    for text in texts:
        page.locator("#q").fill(text)
        shown = float(page.evaluate(WATCH))
        said = page.locator("#results .took").get_attribute("title") or ""
        encode = re.search(r"encode ([\d.]+) ms", said)
        assert encode is not None, said
        taken.append(shown - float(encode[1]))
    return taken


def map_collection(folder: Path) -> None:
    """So many means, laid out."""
    with opened(folder) as eng:
        if eng.page(limit=1).models:
            return
        means = np.concatenate(list(clustered(MODELS, np.random.default_rng(0))))
        tags = [[f"tag {i % 23}"] for i in range(MODELS)]
        eng.ingest_statistics(names_of(MODELS), means, encoder=ENCODER, samples=100, tags=tags)
        eng.build_map("pca")


def to_markdown(report: dict[str, Any]) -> str:
    """The table."""
    frames = report["map"]
    where = f"{report['machine']['cores']} cores of {report['machine']['cpu']}"
    return (
        f"Headless Chromium {report['browser']} without a graphics card, beside the server on {where}.\n\n"
        "| what | median | p95 |\n|---|--:|--:|\n"
        f"| from Enter to the cards of {report['models']} models' zoo, less the encoder, ms |"
        f" {report['search_ms']['p50']:.0f} | {report['search_ms']['p95']:.0f} |\n"
        f"| drawing a frame of the map, {MODELS:,} models, ms | {frames['draw_p50']:.1f} | {frames['draw_p95']:.1f} |\n"
        f"| between frames while it is moved, ms | {frames['gap_p50']:.1f} | {frames['gap_p95']:.1f} |\n\n"
        f"That is {frames['per_s']:.0f} frames a second. {SEARCHES} searches, 12 cards each.\n"
    )


@click.command(help=__doc__)
@click.option("--zoo", type=click.Path(path_type=Path, exists=True, dir_okay=False), default=Path("demo/zoo.db"))
@click.option("--data", type=click.Path(path_type=Path), default=HERE / ".cache", show_default=False)
@click.option("--out", type=click.Path(path_type=Path), default=HERE / "results", show_default=False)
def main(zoo: Path, data: Path, out: Path) -> None:
    """Measure, print, write."""
    folder = data / "page"
    map_collection(folder)
    _, texts = text_kinds(zoo)
    with sync_playwright() as playwright:
        browser = launched(playwright)
        with served(f"sqlite:///{zoo}") as address:
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(address)
            search_times(page, texts[-5:])
            taken = search_times(page, texts[:SEARCHES])
            count = len(page.request.get(f"{address}/explore.json").json()["ids"])
        with served(f"sqlite:///{folder / 'zoo.db'}", index=folder / "index") as address:
            page = browser.new_page(viewport={"width": 1280, "height": 860})
            page.goto(f"{address}/explore")
            page.wait_for_load_state("networkidle")
            page.evaluate(FRAMES, 1.0)
            found = page.evaluate(FRAMES, SECONDS)
        version = browser.version
        browser.close()
    gaps, drawn = np.array(found["gaps"][1:]), np.array(found["drawn"])
    report = {
        "browser": version, "models": count, "machine": machine(),
        "search_ms": {"p50": median(taken), "p95": float(np.percentile(taken, 95))},
        "map": {
            "gap_p50": float(np.median(gaps)), "gap_p95": float(np.percentile(gaps, 95)),
            "draw_p50": float(np.median(drawn)), "draw_p95": float(np.percentile(drawn, 95)),
            "per_s": len(gaps) / float(gaps.sum()) * 1e3,
        },
    }  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "page.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    (out / "page.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
