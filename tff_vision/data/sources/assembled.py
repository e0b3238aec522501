"""Makes a pool of examples from a listing of encoded images: labels, clients, test set, shape and range of values."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data import images
from tff_vision.data.sources import files, heldout, listing, mask_files, mask_layout, naming, pool, store, volumes
from tff_vision.data.sources import numbers as numbers_lib


def pool_of(found: listing.Listing, root: pathlib.Path, config: configs.DataConfig) -> pool.Pool:
  """Returns the images of a listing as a pool. They are decoded when clients need them.

  Args:
    found: The images with their labels.
    root: The folder of the data; the digest of the data does not depend on it.
    config: What the user has chosen.

  Raises:
    ValueError: No image is usable; a file is corrupt; or labels, clients or splits are not possible.
  """
  encoded = found.images
  glances = files.survey(encoded, config.slice_axis)
  good, corrupt_notes = files.usable(encoded, glances, config.corrupt_images)
  kept = np.flatnonzero(good)
  if not len(kept):
    raise ValueError(f'data_dir={config.data_dir} holds no usable image.')
  # A row for each image: a file of several pages, frames or slices has several, unless it is one volume.
  held = [glances[place].images for place in kept]
  counts = held if config.volume_depth is None else [1] * len(held)
  places = np.repeat(kept, counts)
  numbers = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
  labels, clients, splits = ([column[place] for place in places] for column in (
      found.labels, found.clients, found.splits))
  y, class_names, notes, masks = _answers(found, labels, places, kept, held, root, config)
  shape, shape_notes = files.stored_shape(encoded, int(kept[0]), config)
  stored, pixel_notes = files.stored_pixels(encoded, kept.tolist(), [glances[place] for place in kept], config)
  patients = _patients(found, glances, places)
  notes = [*found.notes, *corrupt_notes, *notes, *shape_notes, *pixel_notes]
  owners, client_notes = _owners(config.client_by, clients, patients, places, glances, encoded)
  by = y if masks is None else labels_lib.rarest(masks.tags)
  is_train, is_test, is_validation, split_notes = _split(splits, by, owners, patients, places, encoded, config)
  notes += [*client_notes, *split_notes, *_copies(glances, places, is_train, is_test)]
  used = (is_train, is_test, is_validation)
  parts = [volumes.VolumeExamples(encoded, y[mine], shape, stored, places=places[mine]) if config.volume_depth else
           store.StoredExamples(encoded, y[mine], shape, stored, places=places[mine], numbers=numbers[mine])
           for mine in used]
  kept_labels = [found.labels[place] for place in kept]
  if masks is not None:
    parts = [mask_files.MaskedExamples(part, masks, np.flatnonzero(mine))
             for part, mine in zip(parts, used, strict=True)]
    kept_labels = [seen.digest.hex() for seen in files.survey([found.masks[place] for place in kept])]
  return pool.Pool(train=parts[0], test=parts[1], class_names=class_names,
                   validation=parts[2] if is_validation.any() else None,
                   validation_owners=None if owners is None or not is_validation.any() else owners[is_validation],
                   train_owners=None if owners is None else owners[is_train],
                   test_owners=None if owners is None else owners[is_test],
                   stored=stored, digest=_digest(encoded, kept, glances, kept_labels, root), notes=tuple(notes),
                   counted_classes=not found.classes_given,
                   deduced=(*files.told_by_clients(encoded, int(places[is_test][0]), shape, config),
                            *_told_by_clients(found, labels, is_test, config)))


def _answers(found, labels, places, kept, held, root, config):
  """Returns what a model is to say of each image, the names of classes, notes, and the masks or None."""
  if found.masks is None and config.ignore_index is not None:
    raise ValueError(f'ignore_index={config.ignore_index} is a value of masks, and {root} holds none: masks lie in a '
                     'folder masks beside images.')
  if found.numbers is not None:
    return found.numbers[places], (config.target,), [], None
  if found.masks is None and config.volume_depth is not None:
    raise ValueError(f'volume_depth={config.volume_depth} takes volumes with masks, and {root} holds no masks: they '
                     'lie in a folder masks beside images.')
  if found.masks is None:
    return *labelled(labels, found.separator, found.class_names, config), None
  # In the layout of MVTec AD, the folder of an image names the class of its mask.
  kinds = mask_layout.kinds(labels) if any(labels) else ()
  masks = mask_files.survey(
      [found.images.name(place) for place in kept.tolist()], [found.masks[place] for place in kept], held, root,
      kinds=kinds, kind_of=[found.labels[place] for place in kept], ignored=config.ignore_index,
      slice_axis=config.slice_axis, whole=config.volume_depth is not None,
      clients=[found.clients[place] for place in kept])
  return masks.tags, masks.classes.names, [images.Counted(note) for note in masks.classes.notes], masks


def _told_by_clients(found, labels, is_test, config):
  """Returns `deduced` of `images.FederatedImages` for labels that are findings only because of clients' ones."""
  if found.masks is not None or found.numbers is not None or found.separator or found.class_names is not None:
    return ()
  tested = [label for label, mine in zip(labels, is_test, strict=True) if mine]
  separator, by_tests = (naming.separator_of(part, config.finding_separator) for part in (labels, tested))
  return () if separator == by_tests else (
      f'that labels with {separator} inside are several findings: say it (finding_separator)',)


def labelled(labels: Sequence[str], separator: str | None, class_names: Sequence[str] | None,
             config: configs.DataConfig) -> tuple[np.ndarray, tuple[str, ...], list[str]]:
  """Returns labels in the form that `images.Examples` requires, the names of classes or findings, and notes.

  Args:
    labels: [n] texts.
    separator: The text between findings, if it is known that there are any.
    class_names: All classes in their order; None: those of the labels.
    config: What the user has chosen.

  Raises:
    ValueError: Names of classes differ in case only, and nothing says what they are.
  """
  labels, notes = naming.cleaned(labels, 'labels')
  notes = [images.Counted(note) for note in notes]
  class_names = None if class_names is None else _cleaned_classes(class_names)
  separator = separator or ('' if class_names else naming.separator_of(labels, config.finding_separator))
  if separator:
    y, names, finding_notes = naming.findings(labels, separator, config.label_case, class_names)
    said = [] if separator not in naming.SEPARATOR else [
        f'Labels with {separator} inside are several findings: each image has any number of {len(names)}; '
        'finding_separator="" takes them as classes of their own.']
    return y, names, [*notes, *said, *finding_notes]
  naming.refuse_empty(labels, f'data_dir={config.data_dir}: the label')
  if class_names is None:
    labels, case_notes = naming.one_case(labels, config.label_case)
    class_names, notes = tuple(sorted(set(labels))), [*notes, *case_notes]
    notes += map(images.Counted, naming.same_numbers(labels))
    notes += map(images.Counted, naming.perhaps_findings(labels) if config.finding_separator is None else ())
  naming.refuse_unknown(labels, class_names)
  y = np.searchsorted(np.sort(class_names), np.array(labels))
  return np.argsort(class_names)[y].astype(np.int32), class_names, notes


def _cleaned_classes(class_names):
  """Returns the names of classes as `naming.cleaned` returns labels.

  Raises:
    ValueError: Two of them are the same then.
  """
  names = tuple(map(naming.one_spelling, class_names))
  if (twice := naming.twice(names)) is not None:
    raise ValueError(f'the class {twice!r} is named twice, apart from spaces and accents: give each class a name of '
                     'its own.')
  return names


def _patients(found, glances, places):
  """Returns the patient of each image, [n] of str, '' where none is named; None if none is named at all."""
  if found.patients is not None:
    return np.array([found.patients[place] or '' for place in places], str)
  patients = np.array([glances[place].patient for place in places], str)
  return patients if (patients != '').any() else None


def _owners(client_by, clients, patients, places, glances, encoded):
  """Returns the client of each image or None, and notes.

  Clients that are patients are numbered in the order of their files, so that no name or number of a patient is in a
  client's name, nor anything computed from it.
  """
  if client_by == 'patient':
    if patients is None or (patients == '').any():
      first = places[0 if patients is None else int(np.flatnonzero(patients == '')[0])]
      raise ValueError(f'{encoded.name(first)} names no patient, and client_by=patient needs one for each image.')
    numbers = _numbered(patients)
    width = len(str(numbers.max()))
    return np.array([f'patient_{number:0{width}d}' for number in numbers]), [images.Counted(
        f'Clients are the {numbers.max() + 1} patients, numbered in the order of their files.')]
  if client_by == 'institution':
    clients = [glances[place].institution for place in places]
    if '' in clients:
      raise ValueError(f'{encoded.name(places[clients.index("")])} names no institution, and client_by=institution '
                       'needs one for each image.')
  if clients[0] is None:
    return None, []
  names, notes = naming.cleaned(clients, 'names of clients')
  naming.refuse_empty(names, 'the name of the client')
  return np.array(names), list(map(images.Counted, [*notes, *naming.alike(names, 'Clients')]))


def _split(splits, y, owners, patients, places, encoded, config):
  """Returns which images are for training, for testing and for validation, and notes.

  Raises:
    ValueError: One file is used for both; or no image can be held out.
  """
  file = np.array([encoded.identity(place) for place in places.tolist()])
  if splits[0] is None:
    return _held_out(y, owners, patients, file, config)
  splits = np.array(splits, object)
  is_train = splits == 'train'
  if not is_train.any():
    raise ValueError(f'data_dir={config.data_dir} holds images of the split {splits[0]} and none for training: the '
                     'train set holds no example.')
  if is_train.all():
    return _held_out(y, owners, patients, file, config)
  test_split = 'test' if 'test' in splits else 'val'
  is_test = splits == test_split
  trained = dict(zip(file[is_train], places[is_train], strict=True))
  for place, own in zip(places[is_test], file[is_test], strict=True):
    if own in trained:
      raise ValueError(f'{encoded.name(place)} is for tests and the same file as {encoded.name(trained[own])}, which '
                       'is trained on.')
  notes, is_validation = heldout.unread(config), ~is_train & ~is_test
  if is_validation.any():
    notes.append(f'{is_validation.sum()} images of the split val are used by select_best only, since there is a test '
                 'split.')
  if patients is not None and (both := set(patients[is_train]) & set(patients[is_test]) - {''}):
    notes.append(images.Counted(f'{len(both)} patients have training images and test images: the accuracy is too good '
                                'then.'))
  return is_train, is_test, is_validation, notes


def _held_out(y, owners, patients, file, config):
  """Holds out a share of every class. Images of one file or of one patient stay together."""
  classes = np.array([''.join(map(str, row.astype(int))) for row in y]) if y.ndim == 2 else y
  hold = numbers_lib.held_out if y.dtype == np.float32 and y.ndim == 1 else heldout.stratified
  together, notes = file, []
  if patients is not None and len(set(patients) - {''}) > 1:
    together = np.where(patients == '', file, patients)
  elif patients is not None:
    notes = ['All images name one patient, so that they were held out as if each were of another.']
  together = _numbered(together)
  groups = together.max() + 1
  is_test = hold(classes, config.test_fraction, owners, together)
  if not is_test.any() and groups < len(file):
    is_test = heldout.stratified(np.zeros(len(file), int), config.test_fraction, owners, together)
    notes = [*notes, 'There are too few patients or files to hold out a share of every class: a share of all was.']
  if not is_test.any():
    what = 'patients or files' if groups < len(file) else 'images'
    raise ValueError(f'test_fraction={config.test_fraction} of {groups} {what} holds out none of any class: raise it, '
                     'or give images a split.')
  notes = [*notes, images.Counted(heldout.note(is_test, config.test_fraction, owners))]
  if patients is not None and len(set(patients) - {''}) > 1:
    notes.append(images.Counted(f'Images of one patient are held out together or not at all: {len(set(patients))} '
                                'patients.'))
  return ~is_test, is_test, np.zeros_like(is_test), notes


def _numbered(names):
  """Returns a number for each name, in the order of first appearance, which is the same in every process."""
  _, firsts, each = np.unique(names, return_index=True, return_inverse=True)
  return np.argsort(np.argsort(firsts))[each]


def _copies(glances, places, is_train, is_test):
  """Returns a note with the number of test images that look byte-for-byte equal to training images."""
  trained = {glances[place].digest for place in places[is_train]}
  number = sum(glances[place].digest in trained for place in places[is_test])
  return [images.Counted(f'{number} of {is_test.sum()} test images seem to be copies of training images, by length, '
                         'beginning and end of their files: the accuracy is too good then.')] if number else []


def _digest(encoded, kept, glances, labels, root):
  """Returns a digest that changes when a file or its label changes, and does not depend on the folder's location."""
  return store.digest(f'{encoded.relative_name(place, os.fspath(root))}\0{label}\0{glances[place].digest.hex()}'
                      for place, label in zip(kept.tolist(), labels, strict=True))
