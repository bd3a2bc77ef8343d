"""The command line: each command parses, calls one public function of the library, and renders.

Nothing heavy is imported before a command runs, so that ``engine --help`` answers at once.
"""

from engine.cli.app import app, main

__all__ = ["app", "main"]
