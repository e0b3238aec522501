"""Turns images with boxes, as COCO or Pascal VOC files describe them, into a pool of examples.

Coordinates in pixels become shares of the image's height and width, so they hold for an image of any size. Each image
gets `max_boxes` rows of [top, left, bottom, right, class]; rows that are left over are padding.
"""

import concurrent.futures
import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tff_vision import configs, labels
from tff_vision.data import images
from tff_vision.data.sources import decode, files, heldout, naming, pillow_files, pool, store

_THREADS = 8
_ROUNDING = 1.0  # Programs round coordinates, or count them from 1: a box may exceed its image by so many pixels.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Box:
  """One object of an image.

  Attributes:
    place: Where it is written, for messages.
    edges: Left, top, right and bottom in pixels.
    label: The name of its class.
    ignored: Whether it is a region in which the class is neither wanted nor wrong.
  """
  place: str
  edges: tuple[float, float, float, float]
  label: str
  ignored: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Picture:
  """One image and its objects.

  Attributes:
    path: The image file, which may be missing.
    place: Where the image is named, for messages.
    size: (height, width) in pixels that the annotation states, or None.
    client: None if the images have no clients.
    split: `train`, `test`, `val`, or None.
  """
  path: str
  place: str
  boxes: Sequence[Box]
  size: tuple[int, int] | None = None
  client: str | None = None
  split: str | None = None


def folder_of(config: configs.DataConfig) -> pathlib.Path:
  """Returns the folder `data_dir`.

  Raises:
    ValueError: It is not given, or is no folder.
  """
  if config.data_dir is None:
    raise ValueError(f'dataset={config.dataset} needs data_dir, the folder with the images and their annotations.')
  root = pathlib.Path(config.data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(f'data_dir={config.data_dir} is no folder.')
  return root


def build(found: Sequence[Picture], class_names: Sequence[str], root: pathlib.Path, config: configs.DataConfig, *,
          counted_classes: bool, notes: Sequence[str]) -> pool.Pool:
  """Returns the pool of these images.

  Args:
    found: The images; their labels are in `class_names`.
    counted_classes: Whether class names were collected from labels.

  Raises:
    ValueError: There is no image; an image is missing, corrupt or of another size than stated; or a box is no box of
      its image. With `corrupt_images=skip` such images and boxes are left out and counted, except for the size.
  """
  said: list[str] = list(notes)
  skip = config.corrupt_images == 'skip'
  found = _existing(found, skip, said)
  paths = np.array([one.path for one in found], object)
  glances = files.survey(paths)
  good, corrupt_notes = files.usable(paths, glances, config.corrupt_images)
  found, glances = ([one for one, usable in zip(column, good, strict=True) if usable] for column in (found, glances))
  if not found:
    raise ValueError(f'data_dir={config.data_dir} holds no usable image.')
  paths = paths[good]
  with concurrent.futures.ThreadPoolExecutor(_THREADS) as threads:
    sizes = list(threads.map(_size, paths))
  _refuse_shares(found, sizes)
  y = _rows(found, sizes, class_names, config.max_boxes, skip, said)
  encoded = store.Files(paths)
  shape, shape_notes = files.stored_shape(encoded, 0, config)
  stored, pixel_notes = files.stored_pixels(encoded, range(len(paths)), glances, config)
  owners = _owners(found, said)
  is_train, is_test, split_notes = _split(found, y, owners, paths, config, len(class_names))
  parts = [files.FileExamples(paths[mine], y[mine], shape, stored) for mine in (is_train, is_test)]
  return pool.Pool(
      train=parts[0], test=parts[1], class_names=tuple(class_names),
      train_owners=None if owners is None else owners[is_train],
      test_owners=None if owners is None else owners[is_test],
      stored=stored, digest=_digest(paths, glances, y, root), counted_classes=counted_classes,
      deduced=files.told_by_clients(encoded, int(np.flatnonzero(is_test)[0]), shape, config),
      notes=(*said, *corrupt_notes, *shape_notes, *pixel_notes, *split_notes))


def _existing(found, skip, notes):
  missing = [one for one in found if not os.path.isfile(one.path)]
  if missing and not skip:
    raise ValueError(f'{missing[0].place} names the image {missing[0].path}, and there is no such file '
                     f'({len(missing)} of {len(found)} are missing); corrupt_images=skip leaves such images out.')
  if missing:
    notes.append(images.Counted(f'{len(missing)} of {len(found)} annotated images are missing and left out, the first '
                                f'is {missing[0].path}.'))
  return [one for one in found if os.path.isfile(one.path)]


def _size(path):
  """Returns (height, width) of an image file as it is shown, if possible without decoding its pixels."""
  from PIL import Image
  try:
    with Image.open(path) as image:
      return pillow_files.size(image)
  except Exception:  # Formats that Pillow does not read, and broken tags.
    return decode.native(path).shape[:2]


def _refuse_shares(found, sizes):
  """Refuses boxes whose edges are shares of width and height, of which all would lie in the first pixel.

  Raises:
    ValueError: All boxes do.
  """
  boxes = [box for one in found for box in one.boxes]
  if boxes and max(map(max, sizes)) > 2 and all(max(box.edges) <= 1 for box in boxes):
    raise ValueError(f'{boxes[0].place} and all other boxes lie in the first pixel of their images, as shares of width '
                     'and height do: give them in pixels.')


def _rows(found, sizes, class_names, max_boxes, skip, notes):
  """Returns the labels of images, [n, max_boxes, 5]."""
  number_of, wrong = {name: number for number, name in enumerate(class_names)}, []
  y = labels.no_boxes(len(found), max_boxes)
  for one, size, rows in zip(found, sizes, y, strict=True):
    if one.size is not None and tuple(one.size) != tuple(size):
      raise ValueError(f'{one.path} has {size[1]}x{size[0]} pixels, and {one.place} says {one.size[1]}x{one.size[0]}: '
                       'the boxes are of another image, or of the image before it was resized or turned.')
    complaints = [_complaint(box, size) for box in one.boxes]
    wrong += [complaint for complaint in complaints if complaint]
    if wrong and not skip:
      raise ValueError(f'{wrong[0]}; mend it, or leave such boxes out with corrupt_images=skip.')
    boxes = [box for box, complaint in zip(one.boxes, complaints, strict=True) if not complaint]
    if len(boxes) > max_boxes:
      raise ValueError(f'{one.path} has {len(boxes)} boxes, and max_boxes={max_boxes} leaves room for {max_boxes}: '
                       f'say max_boxes={len(boxes)} or more.')
    for row, box in zip(rows, boxes, strict=False):
      row[:] = _row(box, size, number_of[box.label])
  if wrong:
    notes.append(images.Counted(f'{len(wrong)} boxes are left out, the first because {wrong[0]}.'))
  if ignored := sum(box.ignored for one in found for box in one.boxes):
    notes.append(images.Counted(f'{ignored} boxes are marked as crowds or as difficult: they are not trained on, and a '
                                'detection in them counts neither as right nor as wrong.'))
  return y


def _complaint(box, size):
  """Returns what is wrong with a box, or ''."""
  left, top, right, bottom = box.edges
  if not all(map(math.isfinite, box.edges)):
    return f'{box.place} has a box whose numbers are not finite'
  if right <= left or bottom <= top:
    return f'{box.place} has a box of {right - left:g}x{bottom - top:g} pixels'
  height, width = size
  if min(left, top) < -_ROUNDING or right > width + _ROUNDING or bottom > height + _ROUNDING:
    return (f'{box.place} has a box from ({left:g}, {top:g}) to ({right:g}, {bottom:g}), outside its image of '
            f'{width}x{height} pixels')
  if min(right, width) <= max(left, 0) or min(bottom, height) <= max(top, 0):
    return f'{box.place} has a box that lies on the edge of its image and shows nothing of it'
  return ''


def _row(box, size, number):
  height, width = size
  left, top, right, bottom = np.clip(np.array(box.edges) / [width, height, width, height], 0, 1)
  return top, left, bottom, right, labels.ignored_box(number) if box.ignored else number


def _owners(found, notes):
  clients = [one.client for one in found]
  if all(client is None for client in clients):
    return None
  if None in clients:
    lacking = found[clients.index(None)]
    raise ValueError(f'{lacking.place} gives {lacking.path} no client, and other images have one.')
  names, changed = naming.cleaned(clients, 'names of clients')
  notes += map(images.Counted, [*changed, *naming.alike(names, 'Clients')])
  return np.array(names)


def _split(found, y, owners, paths, config, num_classes):
  """Returns which images are for training and which are for testing, and notes."""
  status = [os.stat(path) for path in paths]
  file = np.array([f'{each.st_dev}:{each.st_ino}' for each in status])
  splits = np.array([one.split or '' for one in found])
  if not (splits != '').any():
    return _held_out(y, owners, file, config, num_classes)
  if not (splits != '').all() or 'train' not in splits:
    odd = found[int(np.flatnonzero(splits == '')[0])] if (splits == '').any() else found[0]
    raise ValueError(f'{odd.place} is in no split or none is for training, and other images are in '
                     f'{", ".join(sorted(set(splits) - {""}))}: give every image a split, and name one train.')
  is_train, is_test = splits == 'train', splits == ('test' if 'test' in splits else 'val')
  if not is_test.any():  # Only a training set is given.
    return _held_out(y, owners, file, config, num_classes)
  trained = dict(zip(file[is_train], paths[is_train], strict=True))
  for path, own in zip(paths[is_test], file[is_test], strict=True):
    if own in trained:
      raise ValueError(f'{path} is for tests and the same file as {trained[own]}, which is trained on.')
  unused = int((~is_train & ~is_test).sum())
  notes = [f'{unused} images of the split val are not used, since there is a test split.'] if unused else []
  return is_train, is_test, [*heldout.unread(config), *notes]


def _held_out(y, owners, file, config, num_classes):
  """Holds out a share of the images, stratified by the rarest class that each shows; one image at least."""
  shown = labels.tags(y, num_classes) > 0
  rarity = np.where(shown, shown.sum(axis=0), len(y) + 1)
  strata = np.where(shown.any(axis=1), rarity.argmin(axis=1), -1)
  is_test = heldout.stratified(strata, config.test_fraction, owners, file)
  if not is_test.any():
    is_test = heldout.stratified(np.zeros(len(y), int), max(config.test_fraction, 1 / len(y)), owners, file)
  return ~is_test, is_test, [images.Counted(heldout.note(is_test, config.test_fraction, owners))]


def _digest(paths, glances, y, root):
  """Returns a digest that changes when a file or its boxes change, and does not depend on the folder's location."""
  rows = sorted(f'{os.path.relpath(path, root)}\0{rows.tobytes().hex()}\0{seen.digest.hex()}'
                for path, seen, rows in zip(paths, glances, y, strict=True))
  return hashlib.blake2b('\n'.join(rows).encode('utf-8', 'surrogateescape'), digest_size=32).hexdigest()
