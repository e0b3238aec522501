"""Draws boxes on images: found boxes in the colour of their class with their scores, true boxes in white."""

import io
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw

_COLOURS = ('#e6194b', '#3cb44b', '#4363d8', '#f58231', '#911eb4', '#42d4f4', '#f032e6', '#bfef45', '#fabed4',
            '#469990', '#dcbeff', '#9a6324')
_TRUE, _AROUND_TRUE = '#ffffff', '#000000'
_LETTERS = 12


def drawn(pixels: np.ndarray, found: Sequence[Mapping], class_names: Sequence[str], *, true: np.ndarray | None = None,
          side: int | None = None) -> Image.Image:
  """Returns the image with its boxes.

  Args:
    pixels: [height, width, 1 or 3] uint8.
    found: The boxes that a model found, as `boxes_of` returns them.
    true: Labels, [boxes, 5]; None: true boxes are not known.
    side: The length of the longer side of the result; None: as the image has it.
  """
  image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).convert('RGB')
  if side is not None:
    scale = side / max(image.size)
    image = image.resize(tuple(max(1, round(scale * length)) for length in image.size), Image.Resampling.NEAREST)
  pen = ImageDraw.Draw(image)
  for row in (() if true is None else true[true[:, 4] != -1]):
    edges = _edges(row[:4], image.size)
    pen.rectangle([edges[0] - 1, edges[1] - 1, edges[2] + 1, edges[3] + 1], outline=_AROUND_TRUE)
    pen.rectangle(edges, outline=_TRUE)
  for one in reversed(found):  # The best are on top.
    colour, edges = _COLOURS[one['number'] % len(_COLOURS)], _edges(one['edges'], image.size)
    pen.rectangle(edges, outline=colour, width=max(1, max(image.size) // 300))
    pen.text((edges[0] + 2, max(0, edges[1] - 11)), f'{class_names[one["number"]][:_LETTERS]} {one["score"]:.2f}',
             fill=colour, stroke_width=1, stroke_fill=_AROUND_TRUE)
  return image


def boxes_of(found: Mapping[str, np.ndarray], place: int, least_score: float) -> list[dict]:
  """Returns the boxes of one image with a score of at least `least_score`, best first: `number`, `score`, `edges`.

  Args:
    found: The decoded boxes of several images, as `objectives.detection.decoded` returns them.
    place: The position of the image.
  """
  return [{'number': int(number), 'score': float(score), 'edges': edges.tolist()} for number, score, edges in zip(
      found['classes'][place], found['scores'][place], found['boxes'][place], strict=True) if score >= least_score]


def sheet(pictures: Sequence[Image.Image], columns: int) -> bytes:
  """Returns one PNG with all pictures side by side, `columns` in a row."""
  width, height = (max(lengths) + 6 for lengths in zip(*(picture.size for picture in pictures), strict=True))
  whole = Image.new('RGB', (width * min(columns, len(pictures)), height * -(-len(pictures) // columns)), '#808080')
  for place, picture in enumerate(pictures):
    whole.paste(picture, (place % columns * width + 3, place // columns * height + 3))
  return png(whole)


def png(picture: Image.Image) -> bytes:
  """Returns the picture as a PNG file."""
  buffer = io.BytesIO()
  picture.save(buffer, format='PNG')
  return buffer.getvalue()


def write(path: pathlib.Path, picture: Image.Image) -> None:
  """Writes the picture as a PNG file.

  Raises:
    ValueError: The file cannot be written.
  """
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(png(picture))
  except OSError as error:
    raise ValueError(f'picture {str(path)!r} cannot be written: {error.strerror}.') from None


def _edges(shares, size):
  """Returns left, top, right and bottom in pixels that are within the picture."""
  top, left, bottom, right = shares
  places = [left * size[0], top * size[1], right * size[0] - 1, bottom * size[1] - 1]
  left, top = (min(max(0, round(place)), length - 1) for place, length in zip(places[:2], size, strict=True))
  return [left, top, max(left, min(round(places[2]), size[0] - 1)), max(top, min(round(places[3]), size[1] - 1))]
