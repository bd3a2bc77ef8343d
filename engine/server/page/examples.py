"""What an empty bar suggests: queries made of what the collection holds."""

from __future__ import annotations

from dataclasses import dataclass

from engine import Engine
from engine.records import Model
from engine.server.page.query_url import Asked, to_chip

TEXTS, NEWEST = 4, 8


@dataclass(frozen=True)
class Example:
    """A query, and what to call it."""

    label: str
    url: str


def collection_to_examples(engine: Engine) -> tuple[list[Example], list[Model]]:
    """Suggested queries, and the models that came last."""
    newest = engine.page(sort="-created_at", limit=NEWEST).models
    tags = [tag for tag, _ in engine.facets(2 * TEXTS + 1)["tag"]]
    examples = [Example(f"“{text}”", Asked(text).url()) for text in (tag.replace("-", " ") for tag in tags[1::2])]
    if newest:
        examples.append(Example(f"models like {newest[0].name}", Asked(model=newest[0].name).url()))
    if tags:
        examples.append(Example(f"everything tagged {tags[0]}", Asked(chips=(to_chip("tag", tags[0]),)).url()))
    return examples, newest
