"""Reads WebDataset shards: tar files in which the files of one sample have the same name up to the first dot.

    train-000000.tar   000017.jpg  000017.cls  000017.json ({"client": "St. Mary"})

The image is the file with the suffix of an image. The label is the text of `.cls`, or a field of `.json`; the client
a field of `.json`. If labels are numbers, `classnames.txt` beside the shards may name the classes, one in a line. Only
positions are kept in memory.
"""

import dataclasses
import json
import os
import pathlib
import re
import tarfile
from collections.abc import Callable, Iterator, Sequence

from tff_vision import configs
from tff_vision.data.sources import assembled, formats, label_values, listing, pool, store, text_files

_NAME = re.compile(r'^((?:.*/)?[^./]+)\.([^/]+)$')
_CLIENTS = ('client', 'client_id')
_BLOCK, _LONGEST_END = 512, 1 << 16
_CLASS_NAMES = ('classnames.txt', 'classes.txt')


@dataclasses.dataclass(frozen=True)
class _Member:
  shard: int
  name: str
  start: int
  size: int


def load(config: configs.DataConfig) -> pool.Pool:
  """Lists the samples of the tar files that `config.data_dir` names or contains.

  Raises:
    ValueError: There is no such file, one is corrupt, or a sample has no image or no label.
  """
  root, paths = listing.find_files(config.data_dir, '.tar', 'webdataset')
  members, labels, clients, splits = [], [], [], []
  for number, (path, split) in enumerate(zip(paths, listing.splits_of_files(paths, root), strict=True)):
    for key, sample in _samples(path, number):
      image = _image(sample, f'{path}: {key}')
      label, client = _described(sample, paths, f'{path}: {key}', config)
      members.append(image)
      labels.append(label)
      clients.append(client)
      splits.append(split)
  if not members:
    raise ValueError(f'{paths[0]} holds no sample.')
  shards = Shards(paths, members)
  if None in clients and set(clients) != {None}:
    raise ValueError(f'{shards.name(clients.index(None))} names no client, and other samples do.')
  names = _class_names(root)
  found = label_values.texts(_numbers(labels), names, shards.name)
  return assembled.pool_of(listing.Listing(store=shards, clients=clients, splits=splits, **dataclasses.asdict(found)),
                           root, config)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is or contains a tar file."""
  try:
    root, paths = listing.find_files(data_dir, '.tar', 'webdataset')
  except ValueError:
    return False, 'your own tar files of samples: --dataset=webdataset --data_dir=FOLDER'
  return True, str(paths[0] if len(paths) == 1 else root)


class Shards(store.Store):
  """Images in tar files, by their positions."""

  def __init__(self, paths: Sequence[pathlib.Path], members: Sequence[_Member]):
    self._paths, self._members = paths, members

  def __len__(self) -> int:
    return len(self._members)

  def name(self, place: int) -> str:
    member = self._members[place]
    return f'{self._paths[member.shard]}: {member.name}'

  def size(self, place: int) -> int:
    return self._members[place].size

  def read(self, places: Sequence[int]) -> Iterator[tuple[int, Callable[[], bytes]]]:
    file, shard = None, -1
    try:
      for place in sorted(places, key=lambda place: (self._members[place].shard, self._members[place].start)):
        member = self._members[place]
        if member.shard != shard:
          if file is not None:
            file.close()
          file, shard = open(self._paths[member.shard], 'rb'), member.shard
        content = _at(file, member)
        yield place, lambda content=content: content
    finally:
      if file is not None:
        file.close()


def _at(file, member):
  file.seek(member.start)
  return file.read(member.size)


def _samples(path, shard) -> Iterator[tuple[str, dict[str, _Member]]]:
  """Yields (key, suffix -> member) of each sample; the members of a sample follow each other."""
  size, end = os.path.getsize(path), 0
  key, sample = None, {}
  try:
    with tarfile.open(path, 'r:') as archive:
      for member in archive:
        archive.members = []  # Otherwise all members stay in memory.
        named = _NAME.match(member.name)
        end = member.offset_data + -(-member.size // _BLOCK) * _BLOCK
        if end > size:
          raise ValueError(f'{path} is truncated: {member.name} is not whole.')
        if not member.isfile() or named is None:
          continue
        if named[1] != key:
          if sample:
            yield key, sample
          key, sample = named[1], {}
        if named[2].lower() in sample:
          raise ValueError(f'{path} holds {member.name} twice.')
        sample[named[2].lower()] = _Member(shard, member.name, member.offset_data, member.size)
  except (tarfile.TarError, OSError, EOFError) as error:
    raise ValueError(f'{path} cannot be read as a tar file without compression ({error}).') from error
  _check_end(path, end)
  if sample:
    yield key, sample


def _check_end(path, end):
  """Refuses a tar file without the zeros that end it, or with something behind them."""
  with open(path, 'rb') as file:
    file.seek(end)
    rest = file.read(_LONGEST_END)
  if len(rest) < _BLOCK:
    raise ValueError(f'{path} is truncated: it lacks its end.')
  if any(rest):
    raise ValueError(f'{path} holds something behind its end, as tar files that were joined do: give them singly.')


def _image(sample, where):
  found = [suffix for suffix in sample if formats.is_image_name('.' + suffix)]
  if len(found) > 1:
    found = [suffix for suffix in found if '.' not in suffix] or found
  if len(found) != 1:
    what = f'several images ({", ".join(found)})' if found else f'no image (it has {", ".join(sample)})'
    raise ValueError(f'{where} holds {what}; a sample has one.')
  return sample[found[0]]


def _described(sample, paths, where, config):
  """Returns the label and the client of a sample."""
  fields = {}
  if 'json' in sample:
    try:
      fields = json.loads(_text(sample['json'], paths))
    except ValueError as error:
      raise ValueError(f'{where}.json cannot be read ({error}).') from error
    if not isinstance(fields, dict):
      raise ValueError(f'{where}.json holds no object.')
  client = next((fields[name] for name in ((config.client_column,) if config.client_column else _CLIENTS)
                 if fields.get(name) is not None), None)
  if config.client_column and client is None:
    raise ValueError(f'{where}.json has no field {config.client_column} (client_column).')
  wanted = config.label_column or 'label'
  if 'cls' in sample and config.label_column is None:
    return _text(sample['cls'], paths).strip(), label_values.client(client, where)
  if fields.get(wanted) is None:
    raise ValueError(f'{where} has no label: neither a .cls file nor a .json file with the field {wanted} '
                     f'(label_column); it has {", ".join(sample)}.')
  return fields[wanted], label_values.client(client, where)


def _text(member, paths):
  with open(paths[member.shard], 'rb') as file:
    return label_values.of_bytes(_at(file, member), f'{paths[member.shard]}: {member.name}')


def _numbers(labels):
  """Returns labels as whole numbers, if all of them are written so, and each number in one way."""
  if not all(isinstance(label, str) and re.fullmatch(r'-?\d+', label) for label in labels):
    return labels
  numbers = list(map(int, labels))
  return numbers if len(set(numbers)) == len(set(labels)) else labels


def _class_names(root):
  for name in _CLASS_NAMES:
    if (root / name).is_file():
      return tuple(line.strip() for line in text_files.read(root / name)[0].splitlines() if line.strip())
  return None
