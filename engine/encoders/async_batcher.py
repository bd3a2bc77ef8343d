"""One encoder for many threads: what they ask at once is encoded together, and texts are remembered."""

from __future__ import annotations

import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.encoders.protocol import Encoder
from engine.records import EncoderIdentity

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class _Asked:
    """Rows to encode: texts, or prepared images ``(n, c, h, w)``."""

    rows: Any
    answer: Future[Float32]

    @property
    def key(self) -> object:
        """What can be encoded in one batch has the same."""
        return "text" if isinstance(self.rows, list) else self.rows.shape[1:]


class BatchingEncoder:
    """Another encoder, asked by one thread of its own: the calls that wait while it works make up its next batch.

    Nobody waits for a batch to fill, so a single caller loses nothing but the hand-over. Not for ingesting: how
    features are batched shows in their last bits, and statistics must not depend on who else was asking.
    """

    def __init__(self, inner: Encoder, *, most: int = 32, remembered: int = 4096) -> None:
        """``most`` rows make a batch; ``remembered`` texts keep their features."""
        self._inner = inner
        self._most = most
        self._remembered = remembered
        self._texts: OrderedDict[str, Float32] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        self._waiting: queue.SimpleQueue[_Asked | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="encode", daemon=True)
        self._thread.start()
        self.batches = 0
        """How often the inner encoder was asked."""

    @property
    def identity(self) -> EncoderIdentity:
        """The inner encoder's."""
        return self._inner.identity

    def prepare(self, image: Image.Image) -> Float32:
        """As the inner encoder, in the calling thread."""
        return self._inner.prepare(image)

    def prepared_to_features(self, batch: Float32) -> Float32:
        """As the inner encoder."""
        return self._ask(np.asarray(batch))

    def texts_to_features(self, texts: Sequence[str]) -> Float32:
        """As the inner encoder; texts that were asked lately are not encoded again."""
        with self._lock:
            known = {text: self._texts[text] for text in texts if text in self._texts}
            for text in known:
                self._texts.move_to_end(text)
        missing = list(dict.fromkeys(text for text in texts if text not in known))
        if missing:
            known.update(zip(missing, self._ask(missing), strict=True))
            with self._lock:
                self._texts.update((text, known[text]) for text in missing)
                while len(self._texts) > self._remembered:
                    self._texts.popitem(last=False)
        return np.stack([known[text] for text in texts])

    def close(self) -> None:
        """Encode what has been asked, and end the thread; whoever asks later is answered one by one."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        self._thread.join()

    def _ask(self, rows: Any) -> Float32:
        asked = _Asked(rows, Future())
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.put(asked)
        if closed:
            self._answer([asked])
        return asked.answer.result()

    def _work(self) -> None:
        ahead: _Asked | None = None
        ended = False
        while not ended:
            first = ahead if ahead is not None else self._waiting.get()
            ahead = None
            if first is None:
                return
            batch, count = [first], len(first.rows)
            while count < self._most:
                try:
                    following = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    ended = True
                    break
                if following.key != first.key or count + len(following.rows) > self._most:
                    ahead = following
                    break
                batch.append(following)
                count += len(following.rows)
            self._answer(batch)
        if ahead is not None:
            self._answer([ahead])

    def _answer(self, batch: list[_Asked]) -> None:
        texts = batch[0].key == "text"
        encode: Callable[[Any], Float32] = self._inner.texts_to_features if texts else self._inner.prepared_to_features
        try:
            self.batches += 1
            rows = [row for asked in batch for row in asked.rows] if texts else np.concatenate([a.rows for a in batch])
            features = encode(rows)
        except BaseException as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for asked in batch:  # one caller's bad input is not the others' error
                self._answer([asked])
            return
        start = 0
        for asked in batch:
            asked.answer.set_result(features[start : start + len(asked.rows)])
            start += len(asked.rows)
