"""What a segmentation model finds in a file: a mask of each image, of the file's own size, and a picture with it."""

import io
import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image

from tff_vision import labels
from tff_vision.data.sources import decode, volumes
from tff_vision.export import exported
from tff_vision.report import class_colours

_OPACITY = 0.45


def found_in(model: exported.ExportedModel, opened: decode.Contents) -> np.ndarray:
  """Returns class numbers, uint8 [count, height, width] of the upright images in a file, its pages, frames or slices.

  Each pixel gets the class of the nearest pixel of the model's output; `labels.IGNORED` where the model sees nothing. A
  model that crops sees only the centre.

  Args:
    model: A segmentation model.
    opened: The file, as the model opens it.

  Raises:
    ValueError: An image in it is corrupt.
  """
  classes = [outputs.argmax(axis=-1).astype(np.uint8) for outputs in model.outputs_of(opened)]
  if model.facts.get('volumes'):
    classes = [classes[0][..., place] for place in volumes.nearest(classes[0].shape[2], opened.count)]
  return np.stack([_of_size(found, opened.native(number).shape[:2], model.facts.get('frame'))
                   for number, found in enumerate(classes)])


def _of_size(classes, size, frame):
  whole = np.full(tuple(frame or classes.shape), labels.IGNORED, np.uint8)
  top, left = ((outer - side) // 2 for outer, side in zip(whole.shape, classes.shape, strict=True))
  whole[top:top + classes.shape[0], left:left + classes.shape[1]] = classes
  rows, columns = (volumes.nearest(side, wanted) for wanted, side in zip(size, whole.shape, strict=True))
  return whole[rows[:, None], columns]


def shares(mask: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """Returns the share of the counted pixels that each class has."""
  counts = np.bincount(mask[mask != labels.IGNORED], minlength=len(class_names))
  return {str(name): float(count / max(counts.sum(), 1)) for name, count in zip(class_names, counts, strict=True)}


def write(folder: pathlib.Path, name: str, opened: decode.Contents, masks: np.ndarray,
          slice_axis: str) -> tuple[str, str]:
  """Writes the masks of a file and a picture of them, each atomically; returns both paths.

  NAME_mask.png has class numbers with a palette. Of a file with several images it is NAME_mask.tif, with a page for
  each; of a NIfTI volume NAME_mask.nii.gz, of the volume's shape and place. NAME_overlay.png shows the image on which
  most is found.

  Args:
    folder: Where they go.
    name: NAME.
    opened: The file.
    masks: The result of `found_in` for it.
    slice_axis: The axis along which a volume was cut.

  Raises:
    ValueError: A file cannot be written.
  """
  most = int(((masks != 0) & (masks != labels.IGNORED)).sum(axis=(1, 2)).argmax())
  if opened.kind == 'NIfTI':
    from tff_vision.data.sources import nifti  # Imported late: most images are in no such file.
    written, data = folder / f'{name}_mask.nii.gz', nifti.with_slices(opened.content, masks, slice_axis)
  else:
    written, data = folder / f'{name}_mask{".png" if len(masks) == 1 else ".tif"}', _as_picture(masks)
  picture = io.BytesIO()
  Image.fromarray(overlay(shown(opened.native(most)), masks[most])).save(picture, format='PNG')
  drawn = folder / f'{name}_overlay.png'
  for file, made in ((written, data), (drawn, picture.getvalue())):
    try:
      folder.mkdir(parents=True, exist_ok=True)
      part = file.with_name(file.name + '.part')
      part.write_bytes(made)
      os.replace(part, file)
    except OSError as error:
      raise ValueError(f'{file} cannot be written: {error.strerror}.') from None
  return str(written), str(drawn)


def _as_picture(masks):
  palette = class_colours.palette(256).ravel().tolist()
  pages = [Image.fromarray(mask, 'P') for mask in masks]
  for page in pages:
    page.putpalette(palette)
  data = io.BytesIO()
  if len(pages) == 1:
    pages[0].save(data, format='PNG')
  else:
    pages[0].save(data, format='TIFF', save_all=True, append_images=pages[1:], compression='tiff_deflate')
  return data.getvalue()


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Returns an image, uint8 [height, width, 3], with the colours of the classes other than 0 laid over it."""
  colours = class_colours.palette(256)[mask].astype(np.float32)
  covered = ((mask != 0) & (mask != labels.IGNORED))[..., None] * _OPACITY
  return np.round(image * (1 - covered) + colours * covered).astype(np.uint8)


def shown(image: np.ndarray) -> np.ndarray:
  """Returns an upright image as uint8 [height, width, 3]; images of more than 8 bits by their own range."""
  if image.dtype != np.uint8:
    low, high = float(image.min()), float(image.max())
    image = np.round(255 * (image.astype(np.float32) - low) / max(high - low, 1e-9)).astype(np.uint8)
  return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
