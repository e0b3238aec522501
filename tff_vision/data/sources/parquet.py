"""Reads Parquet files with a column of encoded images, as Hugging Face distributes image data sets.

    train-00000-of-00002.parquet   image: bytes, or a struct of bytes and path; label; client (optional)

Images may also be written in base64, or as names of files beside the table. Names of classes are taken from the
description that Hugging Face's `datasets` writes into the schema. Labels and clients are read at once; images when they
are needed, one row group after the other.
"""

import base64
import collections
import dataclasses
import json
import pathlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from tff_vision import configs
from tff_vision.data.sources import assembled, formats, label_values, listing, naming, pool, store

_CLIENTS = ('client', 'client_id')
_LABELS = ('label', 'labels')
_KEPT_BYTES = 256 << 20  # Row groups up to this size together stay in memory.
_BATCH = 64
_BASE64 = re.compile(rb'\s*(?:[A-Za-z0-9+/]\s*){32}')  # How such a text begins; no format of images does.


def load(config: configs.DataConfig) -> pool.Pool:
  """Lists the rows of the Parquet files that `config.data_dir` names or contains.

  Raises:
    ValueError: There is no such file; a column is missing or cannot be told; or a row has no label.
  """
  root, paths = listing.find_files(config.data_dir, '.parquet', 'parquet')
  with _open(paths[0]) as first:
    columns = _columns(first, paths[0], config)
  tables, metadata = [], []
  for path in paths:
    with _open(path) as file:
      tables.append(_labels_and_clients(file, path, columns))
      metadata.append(file.metadata)
  rows = Rows(paths, metadata, columns.image)
  splits = listing.splits_of_files(paths, root)
  labels = label_values.texts([value for table in tables for value in table[0]], columns.class_names, rows.name)
  clients = [label_values.client(value, rows.name(place)) for place, value in enumerate(
      value for table in tables for value in table[1])]
  if None in clients and set(clients) != {None}:
    raise ValueError(f'{rows.name(clients.index(None))} has no {columns.client}.')
  found = listing.Listing(
      store=rows, clients=clients,
      splits=[split for split, table in zip(splits, tables, strict=True) for _ in table[0]],
      notes=[f'Images are in the column {columns.image}, labels in {columns.label}, ' + (
          f'clients in {columns.client}.' if columns.client else 'and no column names clients.')],
      **dataclasses.asdict(labels))
  return assembled.pool_of(found, root, config)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is or contains a Parquet file."""
  try:
    root, paths = listing.find_files(data_dir, '.parquet', 'parquet')
  except ValueError:
    return False, 'your own Parquet files: --dataset=parquet --data_dir=FOLDER'
  return True, str(paths[0] if len(paths) == 1 else root)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Columns:
  image: str
  label: str
  client: str | None
  class_names: Sequence[str] | None


class Rows(store.Store):
  """The images in a column of Parquet files. Row groups that were read last stay in memory, up to 256 MB of them."""

  def __init__(self, paths: Sequence[pathlib.Path], metadata: Sequence[parquet.FileMetaData], column: str):
    self._paths, self._column = paths, column
    self._groups: list[tuple[int, int, int, int]] = []  # File, group in it, first row in it, size in bytes.
    self._place: list[tuple[int, int]] = []  # Group, row in it.
    for number, file in enumerate(metadata):
      first = 0
      for group in range(file.num_row_groups):
        facts = file.row_group(group)
        size = sum(facts.column(i).total_uncompressed_size for i in range(facts.num_columns)
                   if facts.column(i).path_in_schema.split('.')[0] == column)
        self._place += [(len(self._groups), row) for row in range(facts.num_rows)]
        self._groups.append((number, group, first, size))
        first += facts.num_rows
    self._kept: collections.OrderedDict[int, pa.ChunkedArray] = collections.OrderedDict()
    self._lock = threading.Lock()

  def __len__(self) -> int:
    return len(self._place)

  def name(self, place: int) -> str:
    group, row = self._place[place]
    file, _, first, _ = self._groups[group]
    return f'{self._paths[file]} row {first + row}'

  def read(self, places: Sequence[int]) -> Iterator[tuple[int, Callable[[], bytes]]]:
    wanted: dict[int, dict[int, int]] = {}
    for place in places:
      group, row = self._place[place]
      wanted.setdefault(group, {})[row] = place
    for group, rows in wanted.items():
      for row, value in self._values(group, sorted(rows)):
        yield rows[row], lambda value=value, place=rows[row]: self._content(value, place)

  def _values(self, group, rows) -> Iterator[tuple[int, Any]]:
    number, within, _, size = self._groups[group]
    if size <= _KEPT_BYTES:
      column = self._column_of(group)
      for row in rows:
        yield row, column[row].as_py()
      return
    first, rows = 0, set(rows)
    with _open(self._paths[number]) as file:
      for batch in file.iter_batches(_BATCH, row_groups=[within], columns=[self._column]):
        for row in range(first, first + len(batch)):
          if row in rows:
            yield row, batch.column(0)[row - first].as_py()
        first += len(batch)

  def _column_of(self, group):
    with self._lock:
      if group not in self._kept:
        number, within, _, _ = self._groups[group]
        with _open(self._paths[number]) as file:
          self._kept[group] = file.read_row_group(within, columns=[self._column]).column(0)
      self._kept.move_to_end(group)
      while sum(self._groups[kept][3] for kept in self._kept) > _KEPT_BYTES and len(self._kept) > 1:
        self._kept.popitem(last=False)
      return self._kept[group]

  def _content(self, value, place):
    if isinstance(value, Mapping):
      value = value.get('bytes') if value.get('bytes') is not None else value.get('path')
    if value is not None and (content := _of_base64(value)):
      return content
    if isinstance(value, str):  # A file beside the table.
      file = self._paths[self._groups[self._place[place][0]][0]].parent / value
      try:
        return file.read_bytes()
      except OSError as error:
        raise ValueError(f'{self.name(place)} names the file {value[:60]!r}, which cannot be read '
                         f'({error.strerror}).') from error
    return b'' if value is None else value


def _of_base64(value):
  """Returns the image that base64, also as a `data:` URI, stands for; None if the value is something else."""
  text = value.encode(errors='replace') if isinstance(value, str) else value
  if text.startswith(b'data:'):
    text = text.partition(b',')[2]
  if not _BASE64.match(text):
    return None
  try:
    content = base64.b64decode(b''.join(text.split()), validate=True)
  except ValueError:
    return None
  return content if formats.kind_of(content) else None


def _open(path):
  try:
    return parquet.ParquetFile(path)
  except (OSError, pa.ArrowException) as error:
    raise ValueError(f'{path} cannot be read as Parquet ({error}).') from error


def _columns(file, path, config) -> _Columns:
  schema = file.schema_arrow
  if (twice := naming.twice(schema.names)) is not None:
    raise ValueError(f'{path} has two columns {twice}: leave one out, or name it otherwise.')
  features = _features(schema)
  images = [name for name, feature in features.items() if feature.get('_type') == 'Image'] or [
      field.name for field in schema if _holds_bytes(field.type)]
  named = [name for name, feature in features.items() if _class_names(feature)]
  image = _chosen(config.image_column, 'image_column', images, ('image', 'img'), schema, path)
  label = _chosen(config.label_column, 'label_column', named if len(named) == 1 else [], _LABELS, schema, path)
  client = config.client_column or next((name for name in _CLIENTS if name in schema.names), None)
  if client is not None and client not in schema.names:
    raise ValueError(f'{path} has no column {client} (client_column); it has {", ".join(schema.names)}.')
  return _Columns(image=image, label=label, client=client, class_names=_class_names(features.get(label, {})))


def _chosen(wanted, field, candidates, usual, schema, path):
  """Returns the column that the user names, the only candidate, or one with a usual name."""
  if wanted is not None:
    if wanted not in schema.names:
      raise ValueError(f'{path} has no column {wanted} ({field}); it has {", ".join(schema.names)}.')
    return wanted
  if len(candidates) == 1:
    return candidates[0]
  for name in usual:
    if name in schema.names:
      return name
  raise ValueError(f'{path} has the columns {", ".join(schema.names)}: choose one with {field}.')


def _holds_bytes(kind):
  if pa.types.is_struct(kind):
    return kind.get_field_index('bytes') >= 0
  return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _holds_files(kind):
  """Whether values of a type are contents or names of files."""
  if pa.types.is_dictionary(kind):
    kind = kind.value_type
  if pa.types.is_struct(kind):
    return kind.get_field_index('bytes') >= 0 or kind.get_field_index('path') >= 0
  return any(is_kind(kind) for is_kind in (
      pa.types.is_binary, pa.types.is_large_binary, pa.types.is_fixed_size_binary, pa.types.is_binary_view,
      pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _features(schema) -> Mapping[str, Mapping[str, Any]]:
  """Returns the description of columns by Hugging Face's `datasets`; empty if there is none."""
  try:
    found = json.loads((schema.metadata or {})[b'huggingface'])['info']['features']
    return {name: feature if isinstance(feature, Mapping) else {'feature': feature[0]}
            for name, feature in found.items()}
  except (KeyError, ValueError, TypeError, IndexError):
    return {}


def _class_names(feature):
  if feature.get('_type') == 'ClassLabel':
    return tuple(map(str, feature.get('names') or ())) or None
  inner = feature.get('feature')
  return _class_names(inner) if isinstance(inner, Mapping) else None


def _labels_and_clients(file, path, columns):
  wanted = [name for name in (columns.image, columns.label, columns.client) if name]
  if missing := [name for name in wanted if name not in file.schema_arrow.names]:
    raise ValueError(f'{path} has no column {missing[0]}, which other files have.')
  kind = file.schema_arrow.field(columns.image).type
  if not _holds_files(kind):
    raise ValueError(f'{path} has {kind} in the column {columns.image}, where image files (bytes, or texts that name '
                     'them) should be; image_column chooses another. Arrays of pixels are read from .npz.')
  if (names := _class_names(_features(file.schema_arrow).get(columns.label, {}))) != columns.class_names:
    raise ValueError(f'{path} names the classes {names}, and other files {columns.class_names}.')
  table = file.read(columns=wanted[1:])
  labels = table.column(columns.label).to_pylist()
  return labels, table.column(columns.client).to_pylist() if columns.client else [None] * len(labels)
