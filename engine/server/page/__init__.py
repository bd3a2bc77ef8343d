"""The search page: templates, rendered here, and a little JavaScript that makes them quicker to use."""

from engine.server.page.routes import add_page, page_refusal

__all__ = ["add_page", "page_refusal"]
