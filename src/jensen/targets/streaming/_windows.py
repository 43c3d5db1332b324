"""The rows of one process, read from the blocks of a source: window by window, or all at once where they fit."""

import threading
from collections import OrderedDict

import numpy as np

from jensen.datasets.sources import Column, RowSource
from jensen.targets.streaming._order import EpochOrder, Words

Named = dict[str, np.ndarray]
KEPT = 2  # windows in memory: a feed may end in the one and begin in the other


class Windows:
    """Rows by their places in the windows of an epoch, in random order within each.

    `runs`: (first block, how many) of each block of the order. Where all rows take no more memory than `KEPT` windows
    they are read once and kept, and a window is but a list of numbers; the rows are the same ones either way. `width`:
    bytes of a row as it is kept.
    """

    def __init__(self, source: RowSource, runs: list[tuple[int, int]], order: EpochOrder, columns: dict[str, Column]):
        self._source, self._runs, self._order, self._columns = source, runs, order, columns
        self._begins = np.cumsum([0, *order.sizes])
        self.width = sum(c.dtype.itemsize * int(np.prod(c.shape, dtype=int)) for c in columns.values())
        longest = order.window * (order.rows // order.steps)
        numbers = np.dtype(np.int64).itemsize * longest
        self.fits = order.rows * self.width + KEPT * numbers <= KEPT * longest * self.width
        self._all: Named | None = None
        self._lock = threading.Lock()  # a pass over all rows may come while a thread reads ahead
        self._windows: OrderedDict[tuple[Words, int, int], Named | np.ndarray] = OrderedDict()

    def take(self, words: Words, epoch: int, window: int, low: int, high: int) -> Named:
        """Rows at the places low .. high - 1 of a window."""
        held = self._window(words, epoch, window)
        if isinstance(held, np.ndarray):
            return {name: values[held[low:high]] for name, values in self._whole().items()}
        return {name: values[low:high] for name, values in held.items()}

    def part(self, i: int, low: int, high: int) -> Named:
        """Rows low .. high - 1 of the i-th block of the order."""
        if self.fits:
            begin = self._begins[i]
            return {name: values[begin + low : begin + high] for name, values in self._whole().items()}
        first, count = self._runs[i]
        return self._source.read(first, low, high, count)

    def _whole(self) -> Named:
        with self._lock:
            if self._all is None:
                rows = self._empty(self._order.rows)
                for i, (first, count) in enumerate(self._runs):
                    for name, values in self._source.read(first, count=count).items():
                        rows[name][self._begins[i] : self._begins[i + 1]] = values
                self._all = rows
            return self._all

    def _empty(self, rows: int) -> Named:
        return {name: np.empty((rows, *column.shape), column.dtype) for name, column in self._columns.items()}

    def _window(self, words: Words, epoch: int, window: int) -> Named | np.ndarray:
        mark = (words, epoch, window)
        if mark in self._windows:
            self._windows.move_to_end(mark)
            return self._windows[mark]
        while len(self._windows) >= KEPT:
            self._windows.popitem(last=False)
        self._windows[mark] = self._read(words, epoch, window)
        return self._windows[mark]

    def _read(self, words: Words, epoch: int, window: int) -> Named | np.ndarray:
        order = self._order
        low, high = order.span(window)
        pieces, shuffle = order.pieces(words, epoch, low, high), order.shuffle(words, epoch, window)
        if self.fits:
            numbers = [np.arange(begin, end) + self._begins[i] for i, begin, end in pieces]
            return np.concatenate(numbers)[shuffle]
        # place i of the window gets row shuffle[i]: rows are scattered to where they belong as they are read
        places = np.empty(high - low, np.int64)
        places[shuffle] = np.arange(high - low)
        rows, at = self._empty(high - low), 0
        for i, begin, end in pieces:
            for name, values in self.part(i, begin, end).items():
                rows[name][places[at : at + end - begin]] = values
            at += end - begin
        return rows
