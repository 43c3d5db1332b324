"""The order in which streamed rows are seen: a function of key, epoch and place, with nothing as long as the data."""

import dataclasses
from functools import lru_cache

import numpy as np

Words = tuple[int, ...]  # of the key of a run's stream of batches

BLOCKS, OFFSET, WINDOW = range(3)  # what randomness is for


@dataclasses.dataclass(frozen=True)
class EpochOrder:
    """An epoch of `steps` batches of rows that lie in blocks of these `sizes`.

    The blocks stand in random order, one after the other, and the circle that they make is entered at a uniformly
    random row. So each row is at each place with probability 1/N, however unequal the blocks are. Windows of
    `window` batches are cut from this order, and the rows of each window are put in uniformly random order.
    """

    sizes: tuple[int, ...]
    steps: int
    window: int
    process: int = 0

    @property
    def rows(self) -> int:
        """N."""
        return sum(self.sizes)

    def place(self, step: int) -> int:
        """The first place of the batch `step` of an epoch: batches differ in length by one row at most."""
        return step * self.rows // self.steps

    def span(self, window: int) -> tuple[int, int]:
        """First place of a window, and the one after its last."""
        return self.place(window * self.window), self.place(min((window + 1) * self.window, self.steps))

    def pieces(self, words: Words, epoch: int, low: int, high: int) -> list[tuple[int, int, int]]:
        """(block, first row, row after the last) of all that stands at the places low .. high - 1."""
        blocks, ends, offset = _circle(self.sizes, words, self.process, epoch)
        out, left = [], high - low
        at = (low + offset) % self.rows
        while left:
            i = int(np.searchsorted(ends, at, side="right"))
            begin = int(ends[i]) - self.sizes[blocks[i]]
            count = min(left, int(ends[i]) - at)
            out.append((int(blocks[i]), at - begin, at - begin + count))
            left, at = left - count, (at + count) % self.rows
        return out

    def shuffle(self, words: Words, epoch: int, window: int) -> np.ndarray:
        """The random order of a window's rows."""
        low, high = self.span(window)
        return _permutation(_bits(words, WINDOW, self.process, epoch, window), high - low)


@lru_cache(maxsize=4)
def _circle(sizes: tuple[int, ...], words: Words, process: int, epoch: int) -> tuple[np.ndarray, np.ndarray, int]:
    blocks = _permutation(_bits(words, BLOCKS, process, epoch), len(sizes))
    ends = np.cumsum(np.asarray(sizes, np.int64)[blocks])
    return blocks, ends, int(_bits(words, OFFSET, process, epoch).random_raw()) % int(ends[-1])


def _bits(words: Words, *purpose: int) -> np.random.Philox:
    return np.random.Philox(np.random.SeedSequence([*words, *purpose]))


def _permutation(bits: np.random.Philox, n: int) -> np.ndarray:
    # by sorting raw bits, which NumPy promises never to change, as it does not for its own permutations
    return np.argsort(bits.random_raw(n), kind="stable")
