"""What a segmentation model finds in an image file: a mask of the file's own size, and the image with it."""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from tff_vision import labels
from tff_vision.data.sources import decode
from tff_vision.export import exported
from tff_vision.report import class_colours

_OPACITY = 0.45


def found_in(model: exported.ExportedModel, path: pathlib.Path | str) -> np.ndarray:
  """Returns class numbers, uint8 [height, width] of the upright image; `labels.IGNORED` where the model sees nothing.

  Each pixel gets the class of the nearest pixel of the model's output. A model that crops sees only the centre.

  Raises:
    ValueError: The file is missing, is not an image, or is corrupt.
  """
  classes = model.outputs(path).argmax(axis=-1).astype(np.uint8)
  frame = np.full(tuple(model.facts.get('frame', classes.shape)), labels.IGNORED, np.uint8)
  top, left = ((whole - side) // 2 for whole, side in zip(frame.shape, classes.shape, strict=True))
  frame[top:top + classes.shape[0], left:left + classes.shape[1]] = classes
  size = decode.native(path).shape[:2]
  rows, columns = ((2 * np.arange(wanted) + 1) * side // (2 * wanted)
                   for wanted, side in zip(size, frame.shape, strict=True))
  return frame[rows[:, None], columns]


def shares(mask: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
  """Returns the share of the counted pixels that each class has."""
  counts = np.bincount(mask[mask != labels.IGNORED], minlength=len(class_names))
  return {str(name): float(count / max(counts.sum(), 1)) for name, count in zip(class_names, counts, strict=True)}


def write(folder: pathlib.Path, name: str, path: pathlib.Path | str, mask: np.ndarray) -> tuple[str, str]:
  """Writes NAME_mask.png, class numbers with a palette, and NAME_overlay.png, atomically; returns both paths.

  Raises:
    ValueError: A file cannot be written.
  """
  from PIL import Image
  palette = class_colours.palette(256)
  indexed = Image.fromarray(mask, 'P')
  indexed.putpalette(palette.ravel().tolist())
  made = {folder / f'{name}_mask.png': indexed,
          folder / f'{name}_overlay.png': Image.fromarray(overlay(_shown(path), mask))}
  for file, image in made.items():
    try:
      folder.mkdir(parents=True, exist_ok=True)
      part = file.with_name(file.name + '.part')
      image.save(part, format='PNG')
      os.replace(part, file)
    except OSError as error:
      raise ValueError(f'{file} cannot be written: {error.strerror}.') from None
  mask_file, overlay_file = map(str, made)
  return mask_file, overlay_file


def overlay(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
  """Returns an image, uint8 [height, width, 3], with the colours of the classes other than 0 laid over it."""
  colours = class_colours.palette(256)[mask].astype(np.float32)
  covered = ((mask != 0) & (mask != labels.IGNORED))[..., None] * _OPACITY
  return np.round(image * (1 - covered) + colours * covered).astype(np.uint8)


def _shown(path):
  """Returns the upright image as uint8 [height, width, 3]; images of more than 8 bits by their own range."""
  image = decode.native(path)
  if image.dtype != np.uint8:
    low, high = float(image.min()), float(image.max())
    image = np.round(255 * (image.astype(np.float32) - low) / max(high - low, 1e-9)).astype(np.uint8)
  return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image
