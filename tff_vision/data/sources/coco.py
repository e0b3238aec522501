"""Reads boxes in the format of COCO: JSON files with `images`, `annotations` and `categories`.

    root/train.json  root/test.json  root/images/...            splits by the names of the files
    root/annotations/instances_train2017.json  root/train2017/  the layout of COCO itself
    root/train/_annotations.coco.json  root/train/a.jpg         a folder for each split
    root/labels.json                                            no split: a share is held out

A client is the key `client` of an image, or else the folder in its `file_name`. Several files without a split, and
without clients in them, are one client each.
"""

import json
import math
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import configs
from tff_vision.data.sources import annotated, listing, naming, pool

_NOT_CLIENTS = ('images', 'image', 'imgs', 'data', 'jpegimages')
_WORDS = re.compile(r'instances|annotations?|coco|labels?', re.IGNORECASE)


def load(config: configs.DataConfig) -> pool.Pool:
  """Reads the annotations below `config.data_dir`; images are decoded when clients need them.

  Raises:
    ValueError: There are no annotations, or they are not in the format, or as in `annotated.build`.
  """
  root = annotated.folder_of(config)
  found = _annotations(root)
  names = _class_names(found)
  splits = {path: _split_of(path, root) for path in found}
  pictures = [one for path, content in found.items() for one in _pictures(path, content, splits[path], names, root)]
  if len(found) > 1 and not any(splits.values()) and all(one.client is None for one in pictures):
    pictures = [one for path, content in found.items()
                for one in _pictures(path, content, None, names, root, client=path.stem)]
  return annotated.build(pictures, list(names.values()), root, config, counted_classes=False, notes=())


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a folder."""
  if data_dir is not None and pathlib.Path(data_dir).expanduser().is_dir():
    return True, data_dir
  return False, 'your own images with boxes: --dataset=coco --data_dir=FOLDER'


def _annotations(root) -> dict[pathlib.Path, Mapping[str, Any]]:
  """Returns the content of the annotation files."""
  candidates = listing.with_suffix(root, '.json')
  # COCO's own folder also holds captions and keypoints of the same images.
  instances = [path for path in candidates if path.name.startswith('instances_')]
  found = {}
  for path in instances or candidates:
    try:
      content = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError) as error:
      raise ValueError(f'{path} cannot be read as JSON: {error}.') from None
    if isinstance(content, dict) and isinstance(content.get('images'), list):
      found[path] = content
  if not found:
    raise ValueError(f'{root} holds no COCO annotations: a .json file with images, annotations and categories.')
  for path, content in found.items():
    for part in ('annotations', 'categories'):
      if not isinstance(content.get(part), list):
        raise ValueError(f'{path} has images and no list of {part}.')
      if not all(isinstance(entry, dict) for entry in (*content[part], *content['images'])):
        raise ValueError(f'{path} has an entry of images or {part} that is no JSON object.')
    for entry in (*content['images'], *content['annotations']):
      for key in ('id', 'image_id', 'category_id'):
        if isinstance(entry.get(key), (list, dict)):
          raise ValueError(f'{path} has an entry with {key}={entry[key]}, which is no number.')
  return found


def _class_names(found) -> dict[Any, str]:
  """Returns the name of each category, in the order of their numbers; all files must agree."""
  names: dict[Any, str] = {}
  for path, content in found.items():
    for category in content['categories']:
      number, name = category.get('id'), str(category.get('name', '')).strip()
      if not isinstance(number, int) or not name:
        raise ValueError(f'{path} has a category without a whole number as id or without a name: {category}.')
      if names.setdefault(number, name) != name:
        raise ValueError(f'{path} calls category {number} {name!r}, which is called {names[number]!r} before: a number '
                         'has one name.')
  used = {one.get('category_id') for content in found.values() for one in content['annotations']}
  if 0 in names and 0 not in used and len(names) > 1 and len(names) - 1 == len(used & set(names)):
    del names[0]  # Some programs write a category 0 above all others, which no box has.
  if not names:
    raise ValueError(f'{next(iter(found))} names no category.')
  if (twice := naming.twice(names.values())) is not None:
    raise ValueError(f'two categories are called {twice!r}: give each its own name, or boxes of both one number.')
  return dict(sorted(names.items()))


def _split_of(path, root):
  """Returns the split that an annotation file's name says, or else the names of the folders above it."""
  places = [path.stem, *reversed(path.relative_to(root).parts[:-1])]
  return next((split for place in places if (split := listing.split_of(_WORDS.sub('', place)))), None)


def _pictures(path, content, split, names, root, client=None) -> Sequence[annotated.Picture]:
  boxes: dict[Any, list[annotated.Box]] = {}
  for entry in content['images']:
    if entry.get('id') in boxes:
      raise ValueError(f'{path} has two images of the id {entry["id"]}.')
    if not isinstance(entry.get('file_name'), str):
      raise ValueError(f'{path}: image {entry.get("id")} has no file_name.')
    boxes[entry.get('id')] = []
  for entry in content['annotations']:
    place = f'annotation {entry.get("id")} of {path}'
    if entry.get('image_id') not in boxes:
      raise ValueError(f'{place} is of image {entry.get("image_id")}, which is not among its images.')
    if entry.get('category_id') not in names:
      raise ValueError(f'{place} is of category {entry.get("category_id")}, which is not among its categories: '
                       f'{", ".join(f"{number} {name}" for number, name in list(names.items())[:12])}.')
    boxes[entry['image_id']].append(annotated.Box(
        place=place, edges=_edges(entry, place), label=names[entry['category_id']],
        ignored=_is_crowd(entry, place)))
  return [annotated.Picture(
      path=str(_image(entry['file_name'], path, root)), place=str(path), boxes=boxes[entry.get('id')],
      size=_size(entry), split=split, client=_client(entry) or client) for entry in content['images']]


def _is_crowd(entry, place):
  said = entry.get('iscrowd')
  known = {'none': False, '': False, '0': False, 'false': False, '1': True, 'true': True}
  if str(said).lower() not in known:
    raise ValueError(f'{place} has iscrowd={said!r}, which is neither 0 nor 1.')
  return known[str(said).lower()]


def _edges(entry, place):
  box = entry.get('bbox')
  if not isinstance(box, list) or len(box) != 4 or not all(
      isinstance(value, int | float) and not isinstance(value, bool) for value in box):
    raise ValueError(f'{place} needs a bbox of four numbers (left, top, width, height), found {box!r}.')
  left, top, width, height = map(float, box)
  return left, top, left + width, top + height


def _size(entry):
  sides = entry.get('height'), entry.get('width')
  known = all(isinstance(side, int | float) and math.isfinite(side) and side for side in sides)
  return tuple(int(side) for side in sides) if known else None


def _client(entry):
  if entry.get('client') is not None:
    return str(entry['client'])
  above = [part for part in pathlib.PurePosixPath(entry['file_name'].replace('\\', '/')).parts[:-1]
           if part.lower() not in _NOT_CLIENTS and listing.split_of(part) is None and part != '.']
  return above[0] if len(above) == 1 else None


def _image(name, path, root):
  """Returns the path of an image, which may be missing; `name` is relative to one of the usual folders."""
  name = pathlib.PurePosixPath(name.replace('\\', '/'))
  if name.is_absolute() or '..' in name.parts:
    raise ValueError(f'{path} names the image {name}: a file_name must lie below data_dir, without «..».')
  split = path.stem.removeprefix('instances_')
  folders = [path.parent, path.parent / 'images', root, root / 'images', path.parent / split, root / split,
             root / 'images' / split]
  return next((folder / name for folder in folders if (folder / name).is_file()), root / name)
