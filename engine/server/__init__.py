"""The HTTP API: it validates, calls one public function of ``Engine``, and renders what that returns."""

from engine.server.app import create_app
from engine.server.limits import Limits

__all__ = ["Limits", "create_app"]
