"""The IDX format of MNIST and its relatives (http://yann.lecun.com/exdb/mnist, «file format»), plain or gzipped."""

import gzip
import pathlib
import struct
import zlib

import numpy as np

from tff_vision.data import images

_UNSIGNED_BYTE = 0x08


def read(path: pathlib.Path) -> np.ndarray:
  """Returns the uint8 array in an IDX file.

  Raises:
    ValueError: The file is missing or truncated, or has another format.
  """
  try:
    raw = gzip.open(path, 'rb').read() if path.suffix == '.gz' else path.read_bytes()
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(f'{path} cannot be read ({error}).') from error
  if len(raw) < 4 or raw[:2] != b'\0\0' or raw[2] != _UNSIGNED_BYTE:
    raise ValueError(f'{path} is no IDX file of unsigned bytes: it begins with {raw[:4].hex() or "nothing"}.')
  rank = raw[3]
  header = 4 + 4 * rank
  if len(raw) < header:
    raise ValueError(f'{path} is truncated within its header.')
  shape = struct.unpack(f'>{rank}I', raw[4:header])
  expected = int(np.prod(shape, dtype=np.int64))
  if len(raw) - header != expected:
    raise ValueError(f'{path} announces {expected:,} bytes of data (shape {list(shape)}) and holds '
                     f'{len(raw) - header:,}: it is truncated or corrupt.')
  return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def find(folder: pathlib.Path, name: str) -> pathlib.Path | None:
  """Returns the file `name` in `folder` under one of its usual spellings, or None."""
  for spelling in (name, name.replace('-idx', '.idx')):
    for suffix in ('', '.gz'):
      if (path := folder / (spelling + suffix)).is_file():
        return path
  return None


def read_split(folder: pathlib.Path, split: str) -> images.Examples:
  """Returns the `train` or `t10k` images and labels of an MNIST-like folder.

  Raises:
    ValueError: A file is missing, or images and labels do not match.
  """
  found = []
  for name in (f'{split}-images-idx3-ubyte', f'{split}-labels-idx1-ubyte'):
    path = find(folder, name)
    if path is None:
      raise ValueError(f'{folder} holds no {name} or {name}.gz.')
    found.append((path, read(path)))
  (image_path, pixels), (label_path, labels) = found
  if pixels.ndim != 3 or labels.ndim != 1 or len(pixels) != len(labels):
    raise ValueError(f'{image_path} of shape {list(pixels.shape)} does not fit {label_path} of shape '
                     f'{list(labels.shape)}.')
  return images.Examples(pixels[..., np.newaxis], labels.astype(np.int32))
