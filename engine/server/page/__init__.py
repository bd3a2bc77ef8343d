"""The search page: templates, rendered here, and a little JavaScript that makes them quicker to use."""

from engine.server.page.failures import page_refusal
from engine.server.page.routes import add_page

__all__ = ["add_page", "page_refusal"]
