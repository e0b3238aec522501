"""Reads images from folders of classes, folders of clients, or a manifest.

    root/[split/]client/class/image.png    clients of its own: partition=natural
    root/[split/]class/image.png           no clients: any other partition
    root/manifest.csv                      path,label[,client][,split], or a column of numbers in place of label
    root/[split/][client/]images/image.png and .../masks/image.png: see `mask_layout`

where split is train, test or val, in upper or lower case (val is the test set if there is no other). The split folder
may also be below client or class.
"""

import dataclasses
import hashlib
import os
import pathlib

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data import images
from tff_vision.data.sources import files, heldout, listing, manifest, mask_files, mask_layout, naming, numbers, pool

MEDICAL_MNIST_CLASSES = ('AbdomenCT', 'BreastMRI', 'ChestCT', 'CXR', 'Hand', 'HeadCT')


def load(config: configs.DataConfig) -> pool.Pool:
  """Lists the images below `config.data_dir`. They are decoded when clients need them; the test set is decoded at once.

  Raises:
    ValueError: There are no images, their folders do not follow one single layout, or a file is corrupt.
  """
  root = _root(config)
  table = manifest.find(root)
  if table:
    return _pool(manifest.read(table, config.target), root, config)
  if config.target is not None:
    return _pool(_named_by_numbers(root, config.target), root, config)
  found = mask_layout.mvtec(root, with_masks=config.normal_class is None)
  return _pool(found or mask_layout.paired(listing.from_folders(root)), root, config)


def _named_by_numbers(root, target):
  """Returns the images in folders whose names are numbers.

  Raises:
    ValueError: The target is something else, or a folder's name is no number.
  """
  if target.strip().lower() != 'folder':
    raise ValueError(f'target={target} names a column of {manifest.NAME}, and {root} holds none; target=folder takes '
                     'the names of folders as numbers.')
  found = listing.from_folders(root)
  places = [f'{os.path.dirname(path)}, the name of the folder' for path in found.paths]
  return dataclasses.replace(found, numbers=numbers.parsed([label.strip() for label in found.labels], places))


def load_medical_mnist(config: configs.DataConfig) -> pool.Pool:
  """Returns the Medical MNIST set, 58,954 JPEG of 64x64 in six class folders, as it is distributed.

  Raises:
    ValueError: A class folder is missing, or there is an additional one.
  """
  root = _root(config)
  found = {entry.name for entry in root.iterdir() if entry.is_dir() and not listing.is_litter(entry.name)}
  missing, extra = set(MEDICAL_MNIST_CLASSES) - found, found - set(MEDICAL_MNIST_CLASSES)
  if missing or extra:
    said = [f'{what} {", ".join(sorted(names))}'
            for what, names in (('lacks', missing), ('also holds', extra)) if names]
    raise ValueError(f'{root} is not the Medical MNIST set: it {" and ".join(said)}. For other classes use '
                     'dataset=folder.')
  return _pool(listing.from_folders(root), root, config, MEDICAL_MNIST_CLASSES)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is a folder."""
  if data_dir is not None and pathlib.Path(data_dir).expanduser().is_dir():
    return True, data_dir
  return False, 'your own images: --dataset=folder --data_dir=FOLDER'


def locate_medical_mnist(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` contains the six class folders."""
  if data_dir is not None:
    root = pathlib.Path(data_dir).expanduser()
    if all((root / name).is_dir() for name in MEDICAL_MNIST_CLASSES):
      return True, data_dir
  return False, (f'a folder with {", ".join(MEDICAL_MNIST_CLASSES)} of 64x64 JPEG (Kaggle: andrewmvd/medical-mnist): '
                 '--data_dir=FOLDER; --dataset=synthetic_chest needs no download')


def _root(config):
  if config.data_dir is None:
    raise ValueError(f'dataset={config.dataset} needs data_dir, the folder with the images.')
  root = pathlib.Path(config.data_dir).expanduser()
  if not root.is_dir():
    raise ValueError(f'data_dir={config.data_dir} is no folder.')
  return root


def _pool(found, root, config, class_names=None):
  glances = files.survey(found.paths)
  good, corrupt_notes = files.usable(found.paths, glances, config.corrupt_images)
  kept = np.flatnonzero(good)
  if not len(kept):
    raise ValueError(f'data_dir={config.data_dir} holds no usable image.')
  paths, labels, clients, splits = (np.array(column, object)[kept] for column in (
      found.paths, found.labels, found.clients, found.splits))
  glances = [glances[place] for place in kept]
  class_names_are_counted = class_names is None
  masks = None
  if found.masks is None and config.ignore_index is not None:
    raise ValueError(f'ignore_index={config.ignore_index} is a value of masks, and {root} holds none: masks lie in a '
                     'folder masks beside images.')
  if found.numbers is not None:
    y, class_names, notes = found.numbers[kept], (config.target,), []
  elif found.masks is None:
    y, class_names, notes = _labelled(labels.tolist(), found.separator, config, class_names)
  else:
    masks = _masks(paths, [found.masks[place] for place in kept], labels.tolist(), root, config)
    y, class_names, notes = masks.tags, masks.classes.names, [images.Counted(note) for note in masks.classes.notes]
    labels = [seen.digest.hex() for seen in files.survey(masks.paths)]
  shape, shape_notes = files.stored_shape(paths[0], config)
  stored, pixel_notes = files.stored_pixels(paths, glances, config.numeric_pixel_range)
  notes = [*found.notes, *corrupt_notes, *notes, *shape_notes, *pixel_notes]
  owners = None
  if clients[0] is not None:
    names, client_notes = naming.cleaned(clients.tolist(), 'names of clients')
    more = map(images.Counted, [*client_notes, *naming.alike(names, 'Clients')])
    owners, notes = np.array(names), [*notes, *more]
  by = y if masks is None else labels_lib.rarest(masks.tags)
  is_train, is_test, is_validation, split_notes = _split(splits, by, owners, paths, config)
  notes += [*split_notes, *_copies(glances, is_train, is_test)]
  used = (is_train, is_test, is_validation)
  parts = [files.FileExamples(paths[mine], y[mine], shape, stored) for mine in used]
  if masks is not None:
    parts = [mask_files.MaskedExamples(part, masks, np.flatnonzero(mine))
             for part, mine in zip(parts, used, strict=True)]
  return pool.Pool(train=parts[0], test=parts[1], class_names=class_names,
                   validation=parts[2] if is_validation.any() else None,
                   validation_owners=None if owners is None else owners[is_validation],
                   train_owners=None if owners is None else owners[is_train],
                   test_owners=None if owners is None else owners[is_test],
                   stored=stored, digest=_digest(paths, glances, labels, root), notes=tuple(notes),
                   counted_classes=class_names_are_counted)


def _masks(paths, masks, labels, root, config):
  """Reads all masks; in the layout of MVTec AD, the folder of an image names the class of its mask."""
  kinds = mask_layout.kinds(labels) if any(labels) else ()
  return mask_files.survey(paths, masks, root, kinds=kinds, kind_of=labels, ignored=config.ignore_index)


def _labelled(labels, separator, config, class_names):
  """Returns labels in the form that `images.Examples` requires, the names of classes or findings, and notes."""
  labels, notes = naming.cleaned(labels, 'labels')
  notes = [images.Counted(note) for note in notes]
  separator = separator or naming.separator_of(labels, config.finding_separator)
  if separator and class_names is None:
    y, names, finding_notes = naming.findings(labels, separator, config.label_case)
    said = [] if separator not in naming.SEPARATOR else [
        f'Labels with {separator} inside are several findings: each image has any number of {len(names)}; '
        'finding_separator="" takes them as classes of their own.']
    return y, names, [*notes, *said, *finding_notes]
  if class_names is None:
    labels, case_notes = naming.one_case(labels, config.label_case)
    class_names, notes = tuple(sorted(set(labels))), [*notes, *case_notes]
  y = np.searchsorted(np.sort(class_names), np.array(labels))
  return np.argsort(class_names)[y].astype(np.int32), class_names, notes


def _split(splits, y, owners, paths, config):
  """Returns which images are for training, for testing and for validation, and notes.

  Raises:
    ValueError: One file is used for both.
  """
  status = [os.stat(path) for path in paths]
  file = np.array([f'{each.st_dev}:{each.st_ino}' for each in status])
  if splits[0] is None:
    classes = np.array([''.join(map(str, row.astype(int))) for row in y]) if y.ndim == 2 else y
    if y.dtype == np.float32 and y.ndim == 1:
      classes = numbers.strata(y)
    is_test = heldout.stratified(classes, config.test_fraction, owners, file)
    nothing = np.zeros_like(is_test)
    return ~is_test, is_test, nothing, [images.Counted(heldout.note(is_test, config.test_fraction, owners))]
  is_train = splits == 'train'
  test_split = 'test' if 'test' in splits else 'val'
  is_test = splits == test_split
  trained = dict(zip(file[is_train], paths[is_train], strict=True))
  for path, own in zip(paths[is_test], file[is_test], strict=True):
    if own in trained:
      raise ValueError(f'{path} is for tests and the same file as {trained[own]}, which is trained on.')
  is_validation = ~is_train & ~is_test
  return is_train, is_test, is_validation, [
      f'{is_validation.sum()} images of the split val are used by select_best only, since there is a test split.'
  ] if is_validation.any() else []


def _copies(glances, is_train, is_test):
  """Returns a note with the number of test images that look byte-for-byte equal to training images."""
  trained = {glances[place].digest for place in np.flatnonzero(is_train)}
  number = sum(glances[place].digest in trained for place in np.flatnonzero(is_test))
  return [images.Counted(f'{number} of {is_test.sum()} test images seem to be copies of training images, by length, '
                         'beginning and end of their files: the accuracy is too good then.')] if number else []


def _digest(paths, glances, labels, root):
  """Returns a digest that changes when a file or its label changes, and does not depend on the folder's location."""
  rows = sorted(f'{os.path.relpath(path, root)}\0{label}\0{seen.digest.hex()}'
                for path, seen, label in zip(paths, glances, labels, strict=True))
  return hashlib.blake2b('\n'.join(rows).encode('utf-8', 'surrogateescape'), digest_size=32).hexdigest()
