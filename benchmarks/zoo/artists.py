"""The emoji artists whose pictures the samplers and decoders are made of, with their licences."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Artist:
    """One set of drawings: an npm package of ``@iconify-json``, who drew it, and on what terms."""

    package: str
    author: str
    license: str
    link: str


UNSEEN = "streamline"
"""Drawings that are in no model and in no training set: only queries are made of them."""

ARTISTS = {
    "noto": Artist("noto", "Google", "Apache-2.0", "https://github.com/googlefonts/noto-emoji"),
    "fluent": Artist("fluent-emoji", "Microsoft", "MIT", "https://github.com/microsoft/fluentui-emoji"),
    "fluent-flat": Artist("fluent-emoji-flat", "Microsoft", "MIT", "https://github.com/microsoft/fluentui-emoji"),
    "twemoji": Artist("twemoji", "Twitter", "CC-BY-4.0", "https://github.com/jdecked/twemoji"),
    "fxemoji": Artist("fxemoji", "Mozilla", "Apache-2.0", "https://github.com/mozilla/fxemoji"),
    "streamline": Artist(
        "streamline-emojis", "Streamline", "CC-BY-4.0", "https://github.com/webalys-hq/streamline-vectors"
    ),
    "emojitwo": Artist("emojione", "EmojiTwo", "CC-BY-4.0", "https://github.com/EmojiTwo/emojitwo"),
}
