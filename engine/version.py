"""The version, in one place besides pyproject.toml; a test holds both equal."""

__version__ = "0.1.0"
