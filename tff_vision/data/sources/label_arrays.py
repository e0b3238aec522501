"""Labels that users give as arrays, brought to the types of `labels.Kind`."""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision import configs
from tff_vision import labels as labels_lib
from tff_vision.data.sources import label_values, mask_classes, naming
from tff_vision.data.sources import numbers as numbers_lib

_MOST_CLASSES = 1_000_000


def of_file(found: Mapping[str, np.ndarray], path: pathlib.Path, config: configs.DataConfig
            ) -> tuple[np.ndarray, np.ndarray | None, tuple[str, ...], list[str]]:
  """Returns training and test labels (or None), the class names, and notes.

  Args:
    found: The arrays of a file by name: y, and if there are any y_test and class_names.
    path: The file, for error messages.
    config: What the user has chosen.

  Raises:
    ValueError: Labels are no classes, findings, masks or numbers, or not of one kind.
  """
  both = [found['y'], found.get('y_test')]
  if ('x_test' in found) != (both[1] is not None):
    raise ValueError(f'{path} holds only one of x_test and y_test.')
  if config.target is not None:
    y, y_test = (None if part is None else numbers_lib.of_array(part, f'{path}: {config.target}') for part in both)
    return y, y_test, (config.target,), []
  names = tuple(str(name) for name in found['class_names']) if 'class_names' in found else None
  notes = []
  if any(part is not None and part.dtype.kind in 'US' for part in both):
    if odd := [part.dtype for part in both if part is not None and part.dtype.kind not in 'US']:
      raise ValueError(f'{path}: one of y and y_test holds texts, and the other {odd[0]}: both must be of one kind.')
    both = [None if part is None else _texts(part, f'{path}: {name}')
            for part, name in zip(both, ('y', 'y_test'), strict=True)]
    both, notes = _one_name_each(both, names, config)
    names = names or tuple(np.unique(np.concatenate([part.astype(str) for part in both if part is not None])).tolist())
    numbers = {name: number for number, name in enumerate(names)}
    for part in both:
      if part is not None and (unknown := set(part.astype(str).tolist()) - set(numbers)):
        raise ValueError(f'{path} has the class {sorted(unknown)[0]!r}, which class_names lacks.')
    both = [None if part is None else np.array([numbers[name] for name in part.astype(str)], np.int32)
            for part in both]
  if config.ignore_index is None:
    given = [part for part in both if part is not None]
    whole = iter(made := _with_white_as_class(given))
    if made is given:
      _refuse_two_whites(found, path)
    elif names is None:
      names, notes = (labels_lib.BACKGROUND, '1'), ['Masks of 0 and 255: 0 is the background, and 255 is class 1.']
    both = [None if part is None else next(whole) for part in both]
  y, y_test = (None if part is None else classes(part, f'{path}: {name}', config.ignore_index)
               for part, name in zip(both, ('y', 'y_test'), strict=True))
  known = [part for part in (y, y_test) if part is not None]
  if len({part.shape[1:] for part in known}) > 1:
    raise ValueError(f'{path}: y and y_test have labels of the shapes {y.shape[1:]} and {y_test.shape[1:]}.')
  number = num_classes(known)
  names = names or tuple(str(c) for c in range(number))
  if len(names) < number or (y.ndim == 2 and len(names) != number):
    raise ValueError(f'{path}: labels reach {number - 1}, but there are {len(names)} class_names.')
  return y, y_test, names, notes


def _texts(y, what):
  """Returns labels that are texts or bytes as [n] texts.

  Raises:
    ValueError: They have another shape, or are bytes that are no UTF-8.
  """
  if y.ndim == 2 and y.shape[1] == 1:
    y = y[:, 0]
  if y.ndim != 1:
    raise ValueError(f'{what} must be [n] names of classes, found {list(y.shape)}.')
  return np.array([label_values.of_bytes(each, what) if isinstance(each, bytes) else each for each in y.tolist()], str)


def _one_name_each(both, names, config):
  """Returns string labels without spaces around them and with one spelling of upper and lower case, and notes."""
  lengths = np.cumsum([len(part) for part in both if part is not None])
  flat, notes = naming.cleaned([label for part in both if part is not None for label in part.tolist()], 'labels')
  naming.refuse_empty(flat, f'data_dir={config.data_dir}: the label')
  if names is None:
    flat, more = naming.one_case(flat, config.label_case)
    notes = [*notes, *more]
  parts = iter(np.split(np.array(flat), lengths[:-1]))
  return [None if part is None else next(parts) for part in both], notes


def classes(y: np.ndarray, what: str, ignored: int | None = None) -> np.ndarray:
  """Returns labels in the form that `images.Examples` requires.

  Raises:
    ValueError: They are neither class numbers, nor findings of 0 and 1, nor masks of class numbers; or only `ignored`
      says that they are masks.
  """
  if y.ndim in (3, 4) and (y.ndim == 3 or y.shape[3] == 1):
    return masks(y.reshape(y.shape[:3]), what, ignored)
  if ignored is not None:
    raise ValueError(f'ignore_index={ignored} is a value of masks, [n, height, width], and {what} is {list(y.shape)}.')
  if y.ndim == 2 and y.shape[1] == 1:
    y = y[:, 0]
  if y.ndim == 2 and np.isin(y, (0, 1)).all():
    if len(y) and (y.sum(axis=1) == 1).all():
      raise ValueError(f'{what} looks one-hot: give class numbers, [n]; [n, findings] is for images with any number '
                       'of findings.')
    return y.astype(np.float32)
  if y.ndim != 1 or y.dtype.kind not in 'iuf' or (y != np.floor(y)).any() or (y < 0).any():
    raise ValueError(f'{what} must be [n] class numbers from 0, [n, findings] of 0 and 1, or masks [n, height, width]; '
                     f'found {list(y.shape)} of {y.dtype}' + (
                         f' down to {y.min()}.' if y.size and y.dtype.kind in 'iuf' else '.'))
  if len(y) and y.max() >= _MOST_CLASSES:
    raise ValueError(f'{what} has class numbers up to {y.max():g}: number the classes from 0 without gaps, or give '
                     'their names.')
  return y.astype(np.int32)


def _with_white_as_class(parts):
  """Returns masks with 255 as class 1, if all hold 0 and 255 only; other labels as they are."""
  if not all(part.ndim in (3, 4) and part.dtype.kind in 'biuf' for part in parts):
    return parts
  white = [part == labels_lib.IGNORED for part in parts]
  whole = all((one | (part == 0)).all() for part, one in zip(parts, white, strict=True))
  return white if whole and any(map(np.any, white)) and not all(map(np.all, white)) else parts


def _refuse_two_whites(found, path):
  """Refuses masks of which 255 may be a class or may not count, as `mask_classes` says.

  Raises:
    ValueError: With two masks or two clients.
  """
  given = [(name, found[name], owners) for name, owners in (('y', 'client'), ('y_test', 'client_test'))
           if name in found]
  if not all(y.ndim in (3, 4) and y.dtype.kind in 'iuf' for _, y, _ in given) or not any(
      (y == labels_lib.IGNORED).any() for _, y, _ in given):
    return
  names, held, clients = [], [], []
  for name, y, owners in given:
    names += [f'{path}: mask {number} of {name}' for number in range(len(y))]
    held += [set(np.unique(mask).tolist()) for mask in y]
    clients += found[owners].tolist() if owners in found and len(found[owners]) == len(y) else [None] * len(y)
  mask_classes.refuse_two_whites(names, held, clients)


def masks(y: np.ndarray, what: str, ignored: int | None = None) -> np.ndarray:
  """Returns masks, [n, height, width] of class numbers, as uint8; `labels.IGNORED` marks pixels that do not count.

  Args:
    y: The masks.
    what: Their name in errors.
    ignored: Another value of pixels that do not count.

  Raises:
    ValueError: A value is no whole number in 0..255.
  """
  if ignored is not None:
    y = np.where(y == ignored, labels_lib.IGNORED, y)
  if y.dtype.kind not in 'biuf' or (y.dtype.kind == 'f' and (y != np.floor(y)).any()) or y.size and (
      y.min() < 0 or y.max() > labels_lib.IGNORED):
    raise ValueError(f'{what} must be masks of class numbers in 0..{labels_lib.MOST_MASK_CLASSES - 1}, and '
                     f'{labels_lib.IGNORED} for pixels that do not count; found {y.dtype}' + (
                         f' in {y.min():g}..{y.max():g}.' if y.size and y.dtype.kind in 'iuf' else '.'))
  return y.astype(np.uint8)  # `labels.IGNORED` stays what it is.


def num_classes(parts: Sequence[np.ndarray]) -> int:
  """Returns how many classes or findings the labels of several parts need at least."""
  if labels_lib.kind_of(parts[0]) is labels_lib.Kind.FINDINGS:
    return parts[0].shape[1]
  ignored = labels_lib.IGNORED if labels_lib.kind_of(parts[0]) is labels_lib.Kind.MASK else -1
  return 1 + max(int(part.max(initial=0, where=part != ignored)) for part in parts)
