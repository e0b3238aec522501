"""Caches generated data sets on disk."""

import contextlib
import pathlib
import zipfile
from collections.abc import Callable, Mapping

import numpy as np

from tff_vision.data.sources import fetch


def load_or_make(name: str, make: Callable[[], Mapping[str, np.ndarray]],
                 data_dir: str | None = None) -> Mapping[str, np.ndarray]:
  """Returns the arrays of `name`.npz in the cache. The first time, `make` draws them.

  Args:
    name: Contains everything the arrays depend on: generator, its version, parameters, seed.
    make: Draws the arrays. It is deterministic, so two processes that draw at the same time write the same file.
    data_dir: The folder to use instead of the cache. If it cannot be written, the next start draws the arrays again.
  """
  path = pathlib.Path(fetch.cache_dir(data_dir)) / f'{name}.npz'
  # A file that cannot be read is drawn again and replaced.
  with contextlib.suppress(OSError, ValueError, EOFError, zipfile.BadZipFile), np.load(path) as stored:
    return dict(stored)
  arrays = make()
  with contextlib.suppress(OSError):
    path.parent.mkdir(parents=True, exist_ok=True)
    fetch.write_atomically(path, lambda out: np.savez_compressed(out, **arrays))
  return arrays


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns (True, how): generated data is available on every machine."""
  return True, f'generated; kept in {fetch.cache_dir(data_dir)}'
