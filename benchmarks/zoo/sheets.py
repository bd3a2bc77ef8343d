"""Contact sheets: a query at the left, the models that answer it at the right, each with a mosaic of its samples."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

Answer = tuple[str, float, str, Sequence[Image.Image]]
"""A model's name, its score, its kind, and pictures that it drew."""

CELL = 69
MOSAIC = 3
SEAM = 4
"""Between the pictures of a mosaic, so that each can be told from its neighbours."""
TILE = CELL * MOSAIC + SEAM * (MOSAIC - 1)
MARGIN = 28
GAP = 20
QUERY = 240
HEADER = 44
FOOTER = 58
INK, SOFT, LINE, PAPER = "#1f2430", "#6b7280", "#e5e7eb", "#ffffff"
KINDS = {"procedural": "#7c3aed", "sampler": "#0891b2", "pca": "#d97706", "vae": "#db2777"}


def contact_sheet(caption: str, query: Image.Image | None, answers: Sequence[Answer]) -> Image.Image:
    """One sheet, RGB. ``query`` is the picture asked with, if any; ``answers`` come best first."""
    width = MARGIN * 2 + QUERY + GAP * 2 + len(answers) * (TILE + GAP) - GAP
    height = MARGIN * 2 + HEADER + TILE + FOOTER
    sheet = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    _query(sheet, pen, caption, query)
    x = MARGIN + QUERY + GAP
    pen.line((x, MARGIN, x, height - MARGIN), fill=LINE, width=2)
    pen.text((x + GAP, MARGIN), "best matching models", font=_font(17), fill=SOFT)
    for rank, answer in enumerate(answers, 1):
        _answer(sheet, pen, x + GAP + (rank - 1) * (TILE + GAP), MARGIN + HEADER, rank, answer)
    return sheet


def _query(sheet: Image.Image, pen: ImageDraw.ImageDraw, caption: str, query: Image.Image | None) -> None:
    pen.text((MARGIN, MARGIN), "query", font=_font(17), fill=SOFT)
    top = MARGIN + HEADER
    across, down = (20, 6) if query is None else (28, 3)
    lines = textwrap.wrap(caption, across, break_on_hyphens=False, max_lines=down, placeholder=" …")
    if query is None:
        size = 21
        top += max(0, (TILE - len(lines) * (size + 8)) // 2)
    else:
        shown = _fit(query, TILE)
        sheet.paste(shown, (MARGIN + (QUERY - TILE) // 2, top))
        pen.rectangle(
            (MARGIN + (QUERY - TILE) // 2, top, MARGIN + (QUERY + TILE) // 2 - 1, top + TILE - 1), outline=LINE
        )
        top += TILE + 8
        size = 15
    for number, line in enumerate(lines):
        pen.text((MARGIN + QUERY / 2, top + number * (size + 6)), line, font=_font(size), fill=INK, anchor="ma")


def _answer(sheet: Image.Image, pen: ImageDraw.ImageDraw, x: int, y: int, rank: int, answer: Answer) -> None:
    name, score, kind, pictures = answer
    for place in range(MOSAIC * MOSAIC):
        if place < len(pictures):
            corner = (x + place % MOSAIC * (CELL + SEAM), y + place // MOSAIC * (CELL + SEAM))
            sheet.paste(_fit(pictures[place], CELL), corner)
            pen.rectangle((*corner, corner[0] + CELL - 1, corner[1] + CELL - 1), outline=LINE)
    shown = name if len(name) <= 24 else name[:23] + "…"
    pen.text((x, y + TILE + 8), f"{rank}  {shown}", font=_font(16), fill=INK)
    pen.text((x, y + TILE + 32), kind, font=_font(14), fill=KINDS.get(kind, SOFT))
    pen.text((x + TILE, y + TILE + 32), f"{score:.2f}", font=_font(14), fill=SOFT, anchor="ra")


def _fit(image: Image.Image, side: int) -> Image.Image:
    """The whole picture on a white square."""
    small = image.convert("RGB").copy()
    scale = side / max(small.size)
    small = small.resize(
        (max(1, round(small.width * scale)), max(1, round(small.height * scale))), Image.Resampling.LANCZOS
    )
    square = Image.new("RGB", (side, side), PAPER)
    square.paste(small, ((side - small.width) // 2, (side - small.height) // 2))
    return square


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)
