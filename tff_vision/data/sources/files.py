"""Finds out what encoded images are like before a run begins: which can be read, their shape and range of values."""

import dataclasses
import hashlib
import json
import os
from collections.abc import Sequence

import numpy as np

from tff_vision import configs
from tff_vision.data import images, pixel_ranges
from tff_vision.data.sources import decode, fetch, formats, pillow_files
from tff_vision.data.sources import store as store_lib

_LARGEST_WITHOUT_IMAGE_SIZE = 512
_SAMPLE = 64
_TAIL = 4096
_OF_BOXES = ('HEIC', 'AVIF')
_SEVERAL = ('TIFF', 'DICOM', 'NIfTI')  # Formats with several images in a file, or more than 8 bits.


class FileExamples(store_lib.StoredExamples):
  """Image files with labels, one image in each, as an `ExamplePool` that keeps only the file names in memory."""

  def __init__(self, paths: Sequence[str], y: np.ndarray, shape: tuple[int, int, int],
               stored: images.StoredPixels = images.StoredPixels()):  # noqa: B008  Frozen.
    """Takes [n] `paths`, `y` as in `images.Examples`, and the shape and range to which every image is converted."""
    super().__init__(store_lib.Files(paths), y, shape, stored)


def survey(store: store_lib.Store | Sequence[str], slice_axis: str = 'axial') -> list[formats.Glance]:
  """Returns what is known of each place from its first and last bytes, and from the headers of some formats."""
  store = store_lib.of(store)
  glances = store.glances()
  places = [place for place, seen in enumerate(glances) if seen.kind in (*_SEVERAL, *_OF_BOXES)]
  for place, seen in zip(places, store_lib.each(lambda place: _with_header(store, place, glances[place], slice_axis),
                                                places), strict=True):
    glances[place] = seen
  return glances


def _with_header(store, place, seen, slice_axis):
  try:
    with store.open(place) as file:
      if seen.kind == 'TIFF':
        return dataclasses.replace(seen, images=pillow_files.pages(file))
      size = store.size(place)
      if seen.kind in _OF_BOXES:
        return dataclasses.replace(seen, whole=pillow_files.has_all_boxes(file, size))
      file.seek(max(0, size - _TAIL))
      tail = file.read()
      file.seek(0)
      if seen.kind == 'NIfTI':
        from tff_vision.data.sources import nifti  # Imported late: most data sets have no such files.
        count, whole, unread = nifti.header(file, size, tail, slice_axis)
        return dataclasses.replace(seen, images=count, whole=whole, unread=unread)
      from tff_vision.data.sources import dicom
      found = dicom.header(file, tail, size)
      return dataclasses.replace(seen, images=found.images, whole=found.whole, unread=found.unread,
                                 patient=found.patient, institution=found.institution)
  except (OSError, ValueError):
    other = ''
    if seen.kind == 'TIFF':
      with store.open(place) as file:
        other = pillow_files.unread_tiff(file)
    return dataclasses.replace(seen, whole=False, unread=other)


def usable(store: store_lib.Store | Sequence[str], glances: Sequence[formats.Glance], corrupt_images: str
           ) -> tuple[np.ndarray, list[str]]:
  """Finds corrupt images and those of unsupported formats before a run begins.

  Args:
    store: [n] encoded images, or paths of files.
    glances: The result of `survey` for them.
    corrupt_images: `refuse` checks the first and last bytes of each, which finds truncated files; `skip` decodes
      each once, since a client's size must be known, and stores the result in the cache.

  Returns:
    [n] bool, which are usable; and notes with the numbers of the others.

  Raises:
    ValueError: With `refuse`: a file is corrupt or of an unsupported format.
  """
  store = store_lib.of(store)
  good = np.array([not seen.unread for seen in glances], bool)
  # Cameras write kilobytes after the image: a file that looks truncated may be complete.
  doubtful = [place for place in np.flatnonzero(good).tolist() if corrupt_images == 'skip' or not glances[place].whole]
  good[doubtful] = _decoded_once(store, glances, doubtful) if corrupt_images == 'skip' else _decode(store, doubtful)
  bad = np.flatnonzero(~good)
  if not len(bad):
    return good, []
  foreign = [place for place in bad if glances[place].unread]
  if corrupt_images == 'refuse':
    first = bad[0]
    (_, content), = store.read([first])
    try:
      content()
    except ValueError as error:  # It cannot even be opened.
      raise ValueError(f'{error} corrupt_images=skip leaves such files out.') from error
    if glances[first].unread:
      raise ValueError(f'{store.name(first)} is a file of the format {glances[first].unread}, which is not read '
                       f'({len(foreign)} of {len(store)} files are): save such files as {formats.READ}, or leave them '
                       'out with corrupt_images=skip.')
    raise ValueError(f'{store.name(first)} is corrupt or no image ({len(bad)} of {len(store)} files are); mend it, or '
                     'leave such files out with corrupt_images=skip.')
  notes = []
  if broken := [place for place in bad if not glances[place].unread]:
    notes.append(images.Counted(
        f'{len(broken)} corrupt of {len(store)} image files left out, the first is {store.name(broken[0])}.'))
  if foreign:
    kinds = ', '.join(sorted({glances[place].unread for place in foreign}))
    notes.append(images.Counted(
        f'{len(foreign)} of {len(store)} files are of a format that is not read ({kinds}) and left out, the first is '
        f'{store.name(foreign[0])}.'))
  return good, notes


def stored_shape(store: store_lib.Store, place: int, config: configs.DataConfig
                 ) -> tuple[tuple[int, int, int], list[str]]:
  """Returns the (height, width, channels) that images are resized to, from the options or from the image at `place`.

  Raises:
    ValueError: The image is too large to be a model's input, unless the user asks for this size.
  """
  height, width, channels = _shape_by(store, place, config)
  if config.image_size is not None:
    return (height, width, channels), []
  if max(height, width) > _LARGEST_WITHOUT_IMAGE_SIZE:
    raise ValueError(f'{store.name(place)} has {height}x{width} pixels: choose what to resize to with image_size.')
  said = ('volumes are brought to {}x{}x{}, height and width of the first and volume_depth; image_size chooses another '
          'height and width.' if config.volume_depth else
          'images are brought to {}x{}x{}, the shape of the first; image_size and image_channels choose another.')
  return (height, width, channels), ['All ' + said.format(height, width, channels)]


def told_by_clients(store: store_lib.Store, place: int, shape: tuple[int, int, int], config: configs.DataConfig
                    ) -> tuple[str, ...]:
  """Returns `deduced` of `images.FederatedImages`: empty if the test image at `place` would have given `shape` too."""
  if shape == _shape_by(store, place, config):
    return ()
  unset = [name for name in ('image_size', 'image_channels') if getattr(config, name) is None]
  return (f'that all images are brought to {"x".join(map(str, shape))}: say it ({", ".join(unset)})',)


def _shape_by(store, place, config):
  height, width, channels = _first(store, place, images.StoredPixels(slice_axis=config.slice_axis)).shape
  size = config.image_size
  return size or height, size or width, config.volume_depth or config.image_channels or channels


def stored_pixels(store: store_lib.Store, places: Sequence[int], glances: Sequence[formats.Glance],
                  config: configs.DataConfig) -> tuple[images.StoredPixels, list[str]]:
  """Returns how the values of files become pixels, and notes.

  If files have more than 8 bits, up to 64 of them are decoded. The smallest number of bits that holds all values
  determines white, because sensors of 10, 12 or 14 bits write files of 16 bits. Files that tell their own brightness
  need no such window.

  Args:
    store: Encoded images.
    places: [n] those of them that are used.
    glances: [n] the result of `survey` for them.
    config: Holds the values of black and white, if the user has given them, and how volumes are cut.

  Raises:
    ValueError: Black and white cannot be determined from the values of float or signed images.
  """
  axis, pixel_range = config.slice_axis, config.numeric_pixel_range
  deep = [place for place, seen in zip(places, glances, strict=True) if seen.deep or seen.kind in _SEVERAL]
  notes = _volume_notes(glances, axis)
  if pixel_range is not None:
    said = f'Values {pixel_range[0]:g}..{pixel_range[1]:g} of image files become 0..1 (pixel_range).'
    eight = pixel_range if len(deep) < len(places) or pixel_range[1] <= 255 else None
    return images.StoredPixels(white=1.0, window=pixel_range, eight_bit=eight, slice_axis=axis), [*notes, said]
  sample = [deep[place] for place in np.unique(np.linspace(0, len(deep) - 1, min(len(deep), _SAMPLE)).astype(int))]
  found, shown = [], 0
  for place in sample:
    opened = _opened(store, place, images.StoredPixels(slice_axis=axis))
    image = opened.native(opened.count // 2)
    if image.dtype == np.float32 and opened.brightness:
      shown += 1
    elif image.dtype != np.uint8:
      found.append((image.min(), image.max(), image.dtype, store.name(place)))
  if shown:
    notes.append(images.Counted(
        f'{shown} of {len(sample)} files looked at tell which of their values are black and white (the window of a '
        'DICOM file, the range of a volume), and each is shown so; pixel_range=BLACK,WHITE chooses one for all.'))
  if not found:
    if shown:
      return images.StoredPixels(white=1.0, window=(0.0, 1.0), clips=False, slice_axis=axis), notes
    return images.StoredPixels(slice_axis=axis), notes
  low, high = min(each[0] for each in found), max(each[1] for each in found)
  if any(each[2] != np.uint16 for each in found):
    if not (low >= 0 and high <= 1):
      raise ValueError(f'{found[0][3]} holds values in {low:g}..{high:g}, and nothing tells which are black and white: '
                       'say pixel_range=BLACK,WHITE.')
    window, deduced = (0.0, 1.0), None
  else:
    window = deduced = (0.0, pixel_ranges.white_of_depth(high))
  eight = (0.0, 255.0) if len(deep) < len(places) or len(found) < len(sample) else None
  stored = images.StoredPixels(white=1.0, window=window, eight_bit=eight, clips=False, slice_axis=axis, deduced=deduced)
  return stored, [*notes, images.Counted(
      f'{len(deep)} files have more than 8 bits; {len(found)} of them hold values in {low:g}..{high:g}. Of such '
      f'files {window[0]:g}..{window[1]:g} become 0..1; pixel_range=BLACK,WHITE chooses another window.')]


def _volume_notes(glances, slice_axis):
  volumes = [seen for seen in glances if seen.kind == 'NIfTI']
  several = sum(seen.images > 1 for seen in glances if seen.kind != 'NIfTI')
  notes = []
  if volumes:
    seen_from = {'axial': 'anterior is at the top and the patient\'s right at the left',
                 'coronal': 'superior is at the top and the patient\'s right at the left',
                 'sagittal': 'superior is at the top and anterior at the left'}[slice_axis]
    notes += [f'Volumes are cut into {slice_axis} slices, in which {seen_from}; slice_axis chooses another axis.',
              images.Counted(f'{len(volumes)} volumes have {sum(seen.images for seen in volumes)} slices.')]
  if several:
    notes.append(images.Counted(f'{several} files have several pages or frames, and each counts as an image.'))
  return notes


def _opened(store, place, stored):
  (_, content), = store.read([place])
  return decode.contents(content(), store.name(place), stored)


def _first(store, place, stored):
  return _opened(store, place, stored).native(0)


def _decoded_once(store, glances, places):
  names = json.dumps([[store.name(place), glances[place].digest.hex(), _changed(store.name(place))]
                      for place in places])
  kept = fetch.cache_dir() / f'decodes-{hashlib.sha256(names.encode()).hexdigest()[:16]}.npy'
  if kept.is_file():
    return np.load(kept, allow_pickle=False)
  good = _decode(store, places)
  kept.parent.mkdir(parents=True, exist_ok=True)
  fetch.write_atomically(kept, lambda out: np.save(out, good))
  return good


def _changed(name):
  return os.stat(name).st_mtime_ns if os.path.exists(name) else None  # A link may be broken.


def _decode(store, places):
  """Returns which places can be decoded, all images of each."""
  def decodes(found):
    place, content = found
    try:
      opened = decode.contents(content(), store.name(place))
      for number in range(opened.count):
        opened.native(number)
    except ValueError:
      return place, False
    return place, True
  good = dict(store_lib.each(decodes, store.read(places)))
  return np.array([good[place] for place in places], bool)
