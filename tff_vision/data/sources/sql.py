"""The SQLite files of `tff.simulation.datasets`, read by row number instead of by `SqlDataset`.

TensorFlow's `SqlDataset` builds its query by string concatenation (a quote in a client id breaks it), needs 25 to
50 ms a client, and scans the whole file for each client if the file has no index. Here one query, or one pass whose
result is stored beside the file, finds the rows of every client. A client is then read by row number and parsed in
one batch.
"""

import contextlib
import dataclasses
import pathlib
import sqlite3
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import fetch

_ROWS_A_QUERY = 5000
_COLUMNS = {'examples': {'split_name', 'client_id', 'serialized_example_proto'},
            'client_metadata': {'split_name', 'client_id', 'num_examples'}}


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowFormat:
  """The features of one serialized `tf.train.Example`.

  Attributes:
    image: Key of the image feature.
    shape: (height, width, channels).
    floats: Whether pixels are stored as floats; if not, as integers in 0..255.
    label: Key of the class feature.
    num_classes: Number of classes; they are 0..num_classes - 1.
  """
  image: str
  shape: tuple[int, int, int]
  floats: bool
  label: str
  num_classes: int


class SqlExamples:
  """Rows of an `examples` table as an `ExamplePool`; only row numbers are kept in memory."""

  def __init__(self, path: pathlib.Path, rows: np.ndarray, row_format: RowFormat):
    """Reads `rows`, [n] int64 row numbers, of the database at `path`."""
    self._path = path
    self._rows = rows
    self._format = row_format
    self._labels = {}
    self._threads = threading.local()

  def __len__(self) -> int:
    return len(self._rows)

  @property
  def shape(self) -> tuple[int, int, int]:
    return self._format.shape

  @property
  def y(self) -> np.ndarray:
    """[n] int32; the first call reads the whole table."""
    return self.labels(self._format.label)

  def labels(self, name: str) -> np.ndarray:
    """Returns the integer feature `name` of all rows, [n] int32; the first call reads the whole table."""
    if name not in self._labels:
      import tensorflow as tf  # Imported late: --help and the doctor do not need it.
      spec = {name: tf.io.FixedLenFeature((), tf.int64)}
      parts = [tf.io.parse_example(rows, spec)[name].numpy() for rows in self._read(np.arange(len(self)))]
      self._labels[name] = np.concatenate(parts).astype(np.int32)
    return self._labels[name]

  def take(self, indices: np.ndarray) -> images.Examples:
    import tensorflow as tf
    row = self._format
    spec = {row.image: tf.io.FixedLenFeature(row.shape, tf.float32 if row.floats else tf.int64),
            row.label: tf.io.FixedLenFeature((), tf.int64)}
    x = [np.zeros((0, *row.shape), np.float32 if row.floats else np.uint8)]
    y = [np.zeros(0, np.int32)]
    for rows in self._read(indices):
      try:
        parsed = tf.io.parse_example(rows, spec)
      except tf.errors.InvalidArgumentError as error:
        raise ValueError(f'{self._path} holds examples without {row.image} of {row.shape} and {row.label}: '
                         f'{error.message}') from error
      x.append(parsed[row.image].numpy().astype(x[0].dtype, copy=False))
      y.append(parsed[row.label].numpy().astype(np.int32))
      if wrong := [label for label in y[-1] if not 0 <= label < row.num_classes]:
        raise ValueError(f'{self._path} holds the label {wrong[0]}, outside 0..{row.num_classes - 1}.')
    return images.Examples(np.concatenate(x), np.concatenate(y))

  def _read(self, indices) -> Iterator[list[bytes]]:
    """Yields the serialized examples at `indices`, in that order, in bounded batches."""
    for start in range(0, len(indices), _ROWS_A_QUERY):
      rows = self._rows[indices[start:start + _ROWS_A_QUERY]].tolist()
      query = f'SELECT rowid, serialized_example_proto FROM examples WHERE rowid IN ({",".join(map(str, rows))})'
      with _database_errors(self._path):
        found = dict(self._connection().execute(query))
      if len(found) != len(set(rows)):
        raise ValueError(f'{self._path} has lost rows since it was opened.')
      yield [found[row] for row in rows]

  def _connection(self):
    """Returns this thread's connection: an SQLite connection can be used by one thread only."""
    if not hasattr(self._threads, 'connection'):
      self._threads.connection = connect(self._path)
    return self._threads.connection


def connect(path: pathlib.Path) -> sqlite3.Connection:
  """Returns a read-only connection to a file in TFF's format.

  Raises:
    ValueError: The file is not such a database.
  """
  with _database_errors(path):
    connection = sqlite3.connect(f'{path.resolve().as_uri()}?mode=ro', uri=True)
    for table, columns in _COLUMNS.items():
      found = {row[1] for row in connection.execute(f'PRAGMA table_info({table})')}
      if missing := columns - found:
        raise ValueError(f'{path} is not in the format of tff.simulation.datasets: the table {table} lacks '
                         f'{", ".join(sorted(missing))}.')
  return connection


def rows_of_split(path: pathlib.Path, split: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
  """Finds the rows of one split and their clients, without reading an image.

  Returns:
    Row numbers, [n] int64 ascending; their client ids, [n] str; and notes for the user.

  Raises:
    ValueError: The file is corrupt, has no such split, or its tables contradict each other.
  """
  notes = []
  with contextlib.closing(connect(path)) as connection, _database_errors(path):
    announced = _announced(connection, path, split)
    if (index := _index(connection)) is not None:
      # The index is enough to answer this. Without INDEXED BY, SQLite would read all images in the order of rows.
      found = connection.execute(f'SELECT rowid, client_id FROM examples INDEXED BY "{index}" WHERE split_name = ?',
                                 (split,)).fetchall()
      rows = np.array([row for row, _ in found], np.int64)
      order = np.argsort(rows)
      rows, owners = rows[order], np.array([owner for _, owner in found], str)[order]
    else:
      rows, owners = _rows_without_index(connection, path, split)
      notes.append(f'{path} has no index on (client_id, split_name), so its rows were listed in one pass; '
                   'CREATE INDEX by_client ON examples (client_id, split_name) makes other readers fast too.')
  counted = Counter(owners.tolist())
  for client, number in announced.items():
    if counted.pop(client, 0) != number:
      raise ValueError(f'{path} announces {number} examples of client {client!r} in {split} and holds another '
                       'number: it is incomplete.')
  if counted:
    raise ValueError(f'{path} holds examples of client {next(iter(counted))!r} in {split}, which its client_metadata '
                     'does not list.')
  if empty := sum(number == 0 for number in announced.values()):
    notes.append(images.Counted(f'{empty} client{"s" * (empty > 1)} of {split} without an example left out.'))
  return rows, owners, notes


def _announced(connection, path, split):
  """Returns {client id: number of examples} from the metadata."""
  listed = connection.execute('SELECT client_id, num_examples FROM client_metadata WHERE split_name = ?',
                              (split,)).fetchall()
  if not listed:
    raise ValueError(f'{path} has no split {split}.')
  announced = dict(listed)
  if len(announced) != len(listed):
    client = Counter(client for client, _ in listed).most_common(1)[0][0]
    raise ValueError(f'{path} lists the client {client!r} twice in {split}.')
  return announced


def _index(connection):
  """Returns the name of an index that finds the rows of a client in a split, or None."""
  for _, name, *_ in connection.execute('PRAGMA index_list(examples)').fetchall():
    columns = {row[0] for row in connection.execute('SELECT name FROM pragma_index_info(?)', (name,))}
    if {'client_id', 'split_name'} <= columns and '"' not in name:
      return name
  return None


def _rows_without_index(connection, path, split):
  """Lists all rows once; the list is stored beside the file, or in the cache if the file's folder is read-only."""
  status = path.stat()
  stamp = np.array([status.st_size, status.st_mtime_ns])
  places = [path.with_name(f'.{path.name}.rows.npz'), fetch.cache_dir() / f'{path.name}-{status.st_ino}.rows.npz']
  for place in places:
    with contextlib.suppress(OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
      with np.load(place, allow_pickle=False) as kept:
        if np.array_equal(kept['stamp'], stamp):
          mine = kept['splits'] == split
          return kept['rows'][mine], kept['owners'][mine]
  listed = connection.execute('SELECT rowid, client_id, split_name FROM examples ORDER BY rowid').fetchall()
  rows = np.array([row for row, _, _ in listed], np.int64)
  owners, splits = (np.array([row[column] for row in listed], str) for column in (1, 2))
  for place in places:
    with contextlib.suppress(OSError):
      place.parent.mkdir(parents=True, exist_ok=True)
      fetch.write_atomically(place, lambda out: np.savez_compressed(out, stamp=stamp, rows=rows, owners=owners,
                                                                    splits=splits))
      break
  mine = splits == split
  return rows[mine], owners[mine]


@contextlib.contextmanager
def _database_errors(path):
  try:
    yield
  except sqlite3.Error as error:
    raise ValueError(f'{path} cannot be read as an SQLite database ({error}): it is truncated, corrupt or another '
                     'file. Delete it and fetch it again.') from error
