"""Ten seconds of hostile requests to every route: ``python -m tests.server.fuzz`` sends them for longer."""

from __future__ import annotations

from pathlib import Path

from tests.server.fuzz import Fuzzer, app_to_targets, served


def test_hostile_requests_are_refused_in_so_many_words(tmp_path: Path) -> None:
    with served(tmp_path) as (port, app):
        targets = app_to_targets(app)
        paths = {one.path for one in targets}
        assert paths >= {"/mosaics/{model_id}/{version}", "/login", "/v1/search", "/openapi.json"}
        fuzzer = Fuzzer("127.0.0.1", port, targets)
        fuzzer.run(8)
    assert not fuzzer.faults, "\n".join(fuzzer.faults[:5])
    assert sum(fuzzer.statuses.values()) > 50
    assert fuzzer.statuses[200]
