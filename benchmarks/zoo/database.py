"""The zoo's database, made ready: of this version, and of the encoder as it is now."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from engine import Engine
from engine.encoders import load_encoder

ENCODER = "compact"


def prepare_database(path: Path) -> str:
    """Create, upgrade or, when the encoder has changed since, begin anew; the database's URL."""
    url = f"sqlite:///{path}"
    if path.is_file():
        engine_command("db", "upgrade", "--database", url)
        with Engine.open(url) as eng:
            made_by = {identity.name: identity.fingerprint for identity in eng.encoders()}
        if made_by.get(ENCODER, "") not in ("", load_encoder(ENCODER).identity.fingerprint):
            print(f"{path.name} was made by an earlier {ENCODER} encoder: starting anew", file=sys.stderr)
            for old in path.parent.glob(f"{path.name}*"):
                if old.is_file():
                    old.unlink()
    engine_command("init", "--encoder", ENCODER, "--database", url)
    return url


def engine_command(*arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run the command line as a user would, showing the command."""
    shown: Sequence[str] = [f"'{argument}'" if " " in argument else argument for argument in arguments]
    print("\n$ engine " + " ".join(shown), flush=True)
    subprocess.run([sys.executable, "-m", "engine", *arguments], check=True, env=environment)
