"""A user's own arrays: an .npz file with x, y and, if the data has clients, client.

    x        [n, height, width] or [n, height, width, channels]; uint8 in 0..255, or floats
    y        [n] class numbers or names, or [n, findings] of 0 and 1
    client   [n] names or numbers, optional
    x_test, y_test, client_test   likewise, optional; without them a share of every class is held out
    class_names                   optional

Keras's own spelling, x_train and y_train, is understood too.
"""

import pathlib
import zipfile
from collections.abc import Collection

import numpy as np

from tff_vision import configs
from tff_vision.data import heldout, images, pool

_LARGEST_FLOAT = 30.0


def load(config: configs.DataConfig) -> pool.Pool:
  """Reads the .npz file that `config.data_dir` is or holds.

  Raises:
    ValueError: The file is missing or corrupt, or an array is not what it must be; it is named.
  """
  path = find(config.data_dir)
  if path is None:
    raise ValueError(f'dataset=npz needs data_dir, an .npz file or a folder with one; found {config.data_dir!r}.')
  found = read(path)
  names = {name.removesuffix('_train') if name.endswith('_train') else name for name in found}
  found = {name.removesuffix('_train'): array for name, array in found.items()}
  if missing := {'x', 'y'} - names:
    raise ValueError(f'{path} lacks the array {" and ".join(sorted(missing))}; it holds {", ".join(sorted(names))}.')
  y, y_test, class_names = _labels(found, path)
  x = pixels(found['x'], f'{path}: x')
  owners = found['client'].astype(str) if 'client' in found else None
  _same_length(path, {'x': x, 'y': y, 'client': owners})
  notes = [f'Arrays of {path} that are not read: {", ".join(sorted(unread))}.'] if (unread := names - {
      'x', 'y', 'client', 'x_test', 'y_test', 'client_test', 'class_names'}) else []
  if y_test is not None:
    x_test = pixels(found['x_test'], f'{path}: x_test')
    test_owners = found['client_test'].astype(str) if 'client_test' in found else None
    _same_length(path, {'x_test': x_test, 'y_test': y_test, 'client_test': test_owners})
    return pool.Pool(train=images.Examples(x, y), test=images.Examples(x_test, y_test), class_names=class_names,
                     train_owners=owners, test_owners=test_owners, notes=tuple(notes))
  return _with_held_out(images.Examples(x, y), owners, class_names, config, notes)


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns whether `data_dir` is or holds an .npz file."""
  path = find(data_dir)
  return (True, str(path)) if path else (False, 'your own arrays: --dataset=npz --data_dir=FILE.npz')


def find(data_dir: str | None) -> pathlib.Path | None:
  """Returns the .npz file that `data_dir` is or alone holds, or None."""
  if data_dir is None:
    return None
  path = pathlib.Path(data_dir).expanduser()
  if path.is_file():
    return path
  inside = list(path.glob('*.npz'))
  return inside[0] if len(inside) == 1 else None


def read(path: pathlib.Path, names: Collection[str] | None = None) -> dict[str, np.ndarray]:
  """Returns the arrays of an .npz file, or those of `names` that it holds; pickled objects are refused.

  Raises:
    ValueError: The file is corrupt, truncated, or holds objects.
  """
  try:
    with np.load(path, allow_pickle=False) as found:
      return {name: found[name] for name in found if names is None or name in names}
  except (OSError, EOFError, ValueError, AttributeError, zipfile.BadZipFile) as error:
    raise ValueError(f'{path} cannot be read as an .npz of plain arrays ({error}).') from error


def pixels(x: np.ndarray, what: str) -> np.ndarray:
  """Returns images as `images.Examples` wants them.

  Args:
    x: [n, height, width] or [n, height, width, 1 or 3] of any integer or float type.
    what: Names the array in errors.

  Raises:
    ValueError: Shape or range cannot be that of images.
  """
  if x.ndim == 3:
    x = x[..., np.newaxis]
  if x.ndim != 4 or x.shape[-1] not in (1, 3):
    hint = '; channels must come last' if x.ndim == 4 and x.shape[1] in (1, 3) else ''
    raise ValueError(f'{what} must be [n, height, width] or [n, height, width, 1 or 3], found {list(x.shape)}{hint}.')
  if x.dtype == np.uint8 or not x.size:
    return x if x.dtype == np.uint8 else x.astype(np.float32)
  if x.dtype.kind in 'iub':
    if x.min() < 0 or x.max() > 255:
      raise ValueError(f'{what} holds whole numbers in {x.min()}..{x.max()}; pixels are 0..255.')
    return x.astype(np.uint8)
  if x.dtype.kind != 'f' or not np.isfinite(x).all():
    raise ValueError(f'{what} must be finite numbers, found {x.dtype}'
                     f'{" with NaN or infinity" * (x.dtype.kind == "f")}.')
  if np.abs(x).max() > _LARGEST_FLOAT:
    raise ValueError(f'{what} holds floats up to {np.abs(x).max():g}: store 0..255 as uint8, or floats divided by 255.')
  return x.astype(np.float32)


def classes(y: np.ndarray, what: str) -> np.ndarray:
  """Returns labels as `images.Examples` wants them.

  Raises:
    ValueError: They are neither class numbers nor findings of 0 and 1.
  """
  if y.ndim == 2 and y.shape[1] == 1:
    y = y[:, 0]
  if y.ndim == 2 and np.isin(y, (0, 1)).all():
    if len(y) and (y.sum(axis=1) == 1).all():
      raise ValueError(f'{what} looks one-hot: give class numbers, [n]; [n, findings] is for images with any number '
                       'of findings.')
    return y.astype(np.float32)
  if y.ndim != 1 or y.dtype.kind not in 'iuf' or (y != np.floor(y)).any() or (y < 0).any():
    raise ValueError(f'{what} must be [n] class numbers from 0, or [n, findings] of 0 and 1; found {list(y.shape)} of '
                     f'{y.dtype}' + (f' down to {y.min()}.' if y.size and y.dtype.kind in 'iuf' else '.'))
  return y.astype(np.int32)


def _labels(found, path):
  """Returns training and test labels (or None) and the class names."""
  both = [found['y'], found.get('y_test')]
  if ('x_test' in found) != (both[1] is not None):
    raise ValueError(f'{path} holds only one of x_test and y_test.')
  names = tuple(str(name) for name in found['class_names']) if 'class_names' in found else None
  if both[0].dtype.kind in 'US':
    names = names or tuple(np.unique(np.concatenate([part.astype(str) for part in both if part is not None])).tolist())
    numbers = {name: number for number, name in enumerate(names)}
    for part in both:
      if part is not None and (unknown := set(part.astype(str).tolist()) - set(numbers)):
        raise ValueError(f'{path} has the class {sorted(unknown)[0]!r}, which class_names lacks.')
    both = [None if part is None else np.array([numbers[name] for name in part.astype(str)], np.int32)
            for part in both]
  y, y_test = (None if part is None else classes(part, f'{path}: {name}')
               for part, name in zip(both, ('y', 'y_test'), strict=True))
  known = [part for part in (y, y_test) if part is not None]
  if len({part.shape[1:] for part in known}) > 1:
    raise ValueError(f'{path}: y and y_test have {y.shape[1:]} and {y_test.shape[1:]} findings.')
  number = y.shape[1] if y.ndim == 2 else 1 + max(int(part.max(initial=0)) for part in known)
  names = names or tuple(str(c) for c in range(number))
  if len(names) < number or (y.ndim == 2 and len(names) != number):
    raise ValueError(f'{path}: labels reach {number - 1}, but there are {len(names)} class_names.')
  return y, y_test, names


def _with_held_out(everything, owners, class_names, config, notes):
  y = everything.y
  is_test = heldout.stratified(y.sum(axis=1) if y.ndim == 2 else y, config.test_fraction, owners)
  notes.append(images.Counted(f'There is no test set: {is_test.sum()} of {len(y)} images were held out '
                              f'(test_fraction={config.test_fraction}).'))
  train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
  return pool.Pool(train=everything.take(train), test=everything.take(test), class_names=class_names,
                   train_owners=None if owners is None else owners[train],
                   test_owners=None if owners is None else owners[test], notes=tuple(notes))


def _same_length(path, arrays):
  lengths = {name: len(array) for name, array in arrays.items() if array is not None}
  if len(set(lengths.values())) > 1:
    raise ValueError(f'{path}: lengths differ: ' + ', '.join(f'{name} {n}' for name, n in lengths.items()) + '.')
