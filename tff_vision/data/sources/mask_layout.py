"""Finds the mask of each image in folders.

    root/[split/][client/]images/a.jpg   root/[split/][client/]masks/a.png    or masks/a_mask.png
    root/[client/]imagesTr/a.nii.gz      root/[client/]labelsTr/a.nii.gz      as nnU-Net has them
    root/[client/]{train,test}/KIND/1.png   root/[client/]ground_truth/KIND/1_mask.png    as MVTec AD has them

The names of folders may be in upper or lower case. In the second layout, images of the kind `good` need no mask, and
the kinds are the classes.
"""

import collections
import os
import pathlib
from collections.abc import Iterator, Sequence

from tff_vision.data.sources import listing

_IMAGES = {'image', 'images', 'img', 'imgs', 'imagestr'}
_MASKS = {'mask', 'masks', 'label', 'labels', 'annotation', 'annotations', 'segmentation', 'segmentations', 'labelstr'}
_ZIPPED = '.nii.gz'
_TRUTH, GOOD = 'ground_truth', 'good'
_FIRST_CHANNEL = '_0000'  # At the end of an image's name in the layout of nnU-Net.
_SUFFIXES = ('', '_mask', '-mask', '_masks', '_label', '_labels', '_seg', '_segmentation', '_gt')


def mvtec(root: pathlib.Path, *, with_masks: bool) -> listing.Listing | None:
  """Lists the images of a folder in the layout of MVTec AD, or of such folders for several clients.

  Returns None if `root` has no such layout.

  Args:
    root: The folder.
    with_masks: Whether to list masks too. The training images of this layout are all good, so the split is not kept
      then: examples with defects are needed for training.

  Raises:
    ValueError: An image of a defect has no mask.
  """
  clients = _folders(root)
  if _TRUTH in clients:
    clients = {None: root}
  else:
    clients = {path.name: path for path in clients.values() if _TRUTH in _folders(path)}
  if not clients:
    return None
  rows = [row for client, folder in clients.items() for row in _rows(client, folder, with_masks)]
  paths, labels, owners, splits, masks = map(list, zip(*rows, strict=True))
  if not with_masks:
    return listing.Listing(paths=paths, labels=labels, clients=owners, splits=splits)
  note = ('Images and ground_truth are divided anew into training and test images (test_fraction), because the folder '
          'train of this layout holds good images only.')
  return listing.Listing(paths=paths, labels=labels, clients=owners, splits=[None] * len(paths), masks=masks,
                         notes=(note,))


def _rows(client, folder, with_masks) -> Iterator[tuple[str, str, str | None, str | None, str]]:
  """Yields path, kind, client, split and mask of each image in one folder of this layout."""
  parts = _folders(folder)
  truth = parts.pop(_TRUTH)
  if unknown := sorted(name for name in parts if not listing.split_of(name)):
    raise ValueError(f'{folder} holds ground_truth, and beside it only train and test can lie: found '
                     f'{", ".join(unknown)}.')
  known = _by_stem(listing.from_folders(truth)) if with_masks else {}
  for name, path in parts.items():
    found = listing.from_folders(path)
    for image, kind, owner in zip(found.paths, found.labels, found.clients, strict=True):
      mask = _mask_of(image, kind, known)
      if with_masks and mask is None and kind.lower() != GOOD:
        raise ValueError(f'{image} has no mask: {truth / kind} must hold {_stem(image)}_mask.png, or the image belongs '
                         f'to {GOOD}.')
      yield image, kind, client or owner, listing.split_of(name), mask or ''


def paired(found: listing.Listing) -> listing.Listing:
  """Returns the images of a listing with their masks, if it lists folders `images` and `masks`; else the listing.

  Raises:
    ValueError: An image has no mask or several, or there are other folders beside these.
  """
  kinds = {label: _kind(label) for label in set(found.labels)}
  if not {'images', 'masks'} <= set(kinds.values()):
    return found
  if others := sorted(label for label, kind in kinds.items() if kind is None):
    raise ValueError(f'beside images and masks lie folders of images: {", ".join(others[:6])}; move them away.')
  at = collections.defaultdict(lambda: collections.defaultdict(list))
  for path, label, place in zip(found.paths, found.labels, zip(found.splits, found.clients, strict=True), strict=True):
    if kinds[label] == 'masks':
      at[place][_stem(path)].append(path)
  kept, masks = [], []
  for i, (path, label) in enumerate(zip(found.paths, found.labels, strict=True)):
    if kinds[label] == 'images':
      kept.append(i)
      masks.append(_only_mask(path, at[found.splits[i], found.clients[i]]))
  notes = list(found.notes)
  if stray := sorted({path for folder in at.values() for own in folder.values() for path in own} - set(masks)):
    notes.append(f'{len(stray)} masks belong to no image, the first is {stray[0]}.')
  take = lambda column: [column[i] for i in kept]
  return listing.Listing(paths=take(found.paths), labels=[''] * len(kept), clients=take(found.clients),
                         splits=take(found.splits), masks=masks, notes=notes)


def _kind(name):
  lower = name.strip().lower()
  return 'images' if lower in _IMAGES else 'masks' if lower in _MASKS else None


def _only_mask(path, folder):
  stem = _stem(path)
  found = [mask for suffix in _SUFFIXES for mask in folder.get(stem + suffix, ())]
  if not found and stem.endswith(_FIRST_CHANNEL):
    found = list(folder.get(stem.removesuffix(_FIRST_CHANNEL), ()))
  if not found:
    raise ValueError(f'{path} has no mask: the folder masks beside its folder must hold {stem}.png or {stem}_mask.png; '
                     'an image without anything to find needs a mask that is black.')
  if len(found) > 1:
    raise ValueError(f'{path} has several masks, {found[0]} and {found[1]}: it needs one, with a class for each '
                     'pixel.')
  return found[0]


def _by_stem(found):
  return {(kind.lower(), _stem(path)): path for path, kind in zip(found.paths, found.labels, strict=True)}


def _mask_of(path, kind, known):
  return next((known[kind.lower(), _stem(path) + suffix] for suffix in _SUFFIXES[::-1]
               if (kind.lower(), _stem(path) + suffix) in known), None)


def _stem(path):
  name = os.path.basename(path)
  return name[:-len(_ZIPPED)] if name.lower().endswith(_ZIPPED) else os.path.splitext(name)[0]


def _folders(root) -> dict[str, pathlib.Path]:
  return {entry.name.lower(): entry for entry in sorted(root.iterdir())
          if entry.is_dir() and not listing.is_litter(entry.name)}


def kinds(labels: Sequence[str]) -> tuple[str, ...]:
  """Returns the names of the kinds other than `good`, in order."""
  return tuple(sorted({label for label in labels if label.lower() != GOOD}))
