"""Run by the tests in a process of its own: ingest a folder slowly enough to be killed, saying how far it is.

python ingest_child.py DATABASE FOLDER [PAUSE]
"""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from small_encoder import ProjectionEncoder

from engine import Engine, Settings


def main() -> None:
    database, folder = sys.argv[1:3]
    pause = float(sys.argv[3]) if len(sys.argv) > 3 else 0.0
    settings = Settings(batch_size=16, checkpoint_samples=32, kept_features=50)
    with Engine.open(database, create=True, encoder="compact", settings=settings) as eng:
        encoder = ProjectionEncoder()
        eng.services.session.use_encoder(encoder.identity.name, encoder)

        def progress(done: int, total: int, bad: int) -> None:
            print(done, flush=True)
            time.sleep(pause)

        eng.ingest(folder, name="model", encoder=encoder.identity.name, on_progress=progress)


if __name__ == "__main__":
    main()
