"""Hands rows to the training program: all at once where they fit into memory, else block by block from disk.

Both ways give the same rows in the same batches, so a streamed run ends with the same numbers as one in memory.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

Block = tuple[tf.Tensor, tf.Tensor, np.ndarray]  # x, y, and in which order they are wanted


@dataclass(frozen=True)
class Streamed:
    """Rows that are read and encoded when they are wanted."""

    read: Callable[[np.ndarray], np.ndarray]  # row numbers -> encoded rows (rows, ...)
    numbers: np.ndarray  # of the rows, as `read` knows them
    block: int  # how many rows may be in memory at a time; two blocks are, since the next is read while one is used

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.numbers)


class Feed:
    """Rows and their labels, for epoch after epoch."""

    def __init__(self, x: np.ndarray | Streamed, y: np.ndarray, batch: int):
        """Keep the rows as tensors if they are an array; a streamed block is a whole number of batches."""
        self._y = y
        self._streamed = x if isinstance(x, Streamed) else None
        if self._streamed is None:
            self._whole = tf.constant(x), tf.constant(y)
        else:
            self._rows = max(self._streamed.block // batch, 1) * batch

    def blocks(self, order: np.ndarray) -> Iterator[Block]:
        """Yield the rows in the given order (numbers from 0), all in one block or in several."""
        if self._streamed is None:
            yield *self._whole, order
            return
        parts = [order[start : start + self._rows] for start in range(0, len(order), self._rows)]
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._read, parts[0])
            for part in parts[1:]:
                block = ahead.result()
                ahead = reader.submit(self._read, part)
                yield block
                del block
            yield ahead.result()

    def straight(self) -> Iterator[tuple[tf.Tensor, tf.Tensor]]:
        """Yield all rows and labels in their own order, in one block or in several."""
        for x, y, wanted in self.blocks(np.arange(len(self._y), dtype=np.int32)):
            yield (x, y) if self._streamed is None else (tf.gather(x, wanted), tf.gather(y, wanted))

    def _read(self, part: np.ndarray) -> Block:
        """Read in the order of the file, which is faster on a disk, and say how to put the rows into order."""
        assert self._streamed is not None
        numbers = self._streamed.numbers[part]
        as_in_file = np.argsort(numbers, kind="stable")
        wanted = np.empty(len(part), np.int32)
        wanted[as_in_file] = np.arange(len(part), dtype=np.int32)
        return tf.constant(self._streamed.read(numbers[as_in_file])), tf.constant(self._y[part[as_in_file]]), wanted
