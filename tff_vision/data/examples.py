"""Images with labels as they are stored, and what one of them is: its shape, type, classes and range of values."""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision import seeds


class ExamplePool(Protocol):
  """Examples that can be read by position: `Examples` in memory, or a file that is read as needed.

  Attributes:
    y: All labels, as in `Examples`; for a file, reading them may need one pass over it.
    shape: (height, width, channels) of every image.
  """

  @property
  def y(self) -> np.ndarray: ...

  @property
  def shape(self) -> tuple[int, int, int]: ...

  def __len__(self) -> int: ...

  def take(self, indices: np.ndarray) -> 'Examples':
    """Returns the examples at `indices`, in that order."""


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class Examples:
  """Images with labels.

  Attributes:
    x: [n, height, width, channels]; uint8 in 0..255, or float32 (kept as it is, no rescaling). The channels of a volume
      are its slices.
    y: [n] int32 class numbers; [n, findings] float32 of 0 and 1; [n, height, width] uint8 masks, of class numbers
      and `labels.IGNORED`, of volumes [n, height, width, slices]; or [n, boxes, 5] float32, where rows of class -1 are
      no boxes.
  """
  x: np.ndarray
  y: np.ndarray

  def __post_init__(self):
    if self.x.ndim != 4 or self.x.dtype not in (np.uint8, np.float32):
      raise ValueError(f'images must be [n, height, width, channels] of uint8 or float32, found '
                       f'{list(self.x.shape)} of {self.x.dtype}.')
    if len(self.x) != len(self.y):
      raise ValueError(f'{len(self.x)} images have {len(self.y)} labels.')
    if self.labels.is_spatial and self.y.shape[1:] != self.x.shape[1:self.y.ndim]:
      raise ValueError(f'masks are {list(self.y.shape[1:])}, and their images {list(self.x.shape[1:])}.')
    if self.labels is labels_lib.Kind.BOXES and self.y.shape[2] != labels_lib.BOX_WIDTH:
      raise ValueError(f'boxes have {self.y.shape[2]} numbers each, and need {labels_lib.BOX_WIDTH}: top, left, bottom '
                       'and right as shares of height and width, and the class.')

  def __len__(self) -> int:
    return len(self.y)

  def __repr__(self) -> str:
    """Gives the number of examples and never their content, because other people read logs."""
    return f'Examples({len(self)} images of {"x".join(map(str, self.shape))}, {self.x.dtype})'

  @property
  def shape(self) -> tuple[int, int, int]:
    return self.x.shape[1:]

  @property
  def dtype(self) -> np.dtype:
    """The type of pixels."""
    return self.x.dtype

  @property
  def labels(self) -> labels_lib.Kind:
    """The kind of label that an image has."""
    return labels_lib.kind_of(self.y)

  @property
  def label_shape(self) -> tuple[int, ...]:
    """The shape of one label, as in `ImageSpec`."""
    return self.y.shape[1:]

  @property
  def label_dtype(self) -> np.dtype:
    return self.y.dtype

  def take(self, indices: np.ndarray) -> 'Examples':
    """Returns the examples at `indices`, in that order."""
    return Examples(self.x[indices], self.y[indices])


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredPixels:
  """The stored pixel values of a data set that stand for the black and the white of an image file.

  Attributes:
    black: The value of black.
    white: The value of white. If both are None, the set's range is not known, and no file can be brought to it.
    window: In files of more than 8 bits, the values that become black and white; None: the set has 8 bits.
    eight_bit: The same for 8-bit files, where there is a `window`; None: the set has no 8-bit files, and they are
      refused, since nothing tells how they were made from more bits.
    clips: Whether values outside the window become black or white; otherwise they are refused.
    slice_axis: The axis along which volumes are cut into images.
    deduced: Black and white as they were stored, if nothing but the values of the pixels told them; None: the type of
      pixels, each file or the user did.
  """
  black: float | None = 0.0
  white: float | None = 255.0
  window: tuple[float, float] | None = None
  eight_bit: tuple[float, float] | None = (0.0, 255.0)
  clips: bool = True
  slice_axis: str = 'axial'
  deduced: tuple[float | None, float | None] | None = dataclasses.field(default=None, compare=False)

  def facts(self) -> dict[str, object]:
    """Returns what a model's files say of them."""
    return {name: value for name, value in dataclasses.asdict(self).items() if name != 'deduced'}

  @property
  def chosen(self) -> tuple[float, float] | None:
    """The window, if the user has chosen it (pixel_range). It then replaces the windows that files name."""
    return tuple(self.window) if self.window is not None and self.clips else None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ImageSpec:
  """Shape, type and meaning of one stored image and its label, known without reading any image.

  Attributes:
    shape: (height, width, channels) of an image.
    dtype: Type of its pixels, uint8 or float32.
    class_names: One name for each class number, or for each finding.
    labels: The kind of label that an image has.
    max_boxes: The number of rows of a label of boxes; 0 for other labels.
    stored: The stored values of the black and white of files. May be omitted if they follow from the type of pixels,
      and white is 255 for uint8 and 1 for floats; it is never None afterwards.
  """
  shape: tuple[int, int, int]
  dtype: np.dtype
  class_names: Sequence[str]
  labels: labels_lib.Kind = labels_lib.Kind.CLASS
  max_boxes: int = 0
  stored: StoredPixels = None  # type: ignore[assignment]  # Set in `__post_init__`.

  def __post_init__(self):
    # The class is frozen. The fields are set here, so that they have the declared types whatever equal value was given.
    object.__setattr__(self, 'shape', tuple(int(side) for side in self.shape))
    object.__setattr__(self, 'dtype', np.dtype(self.dtype))
    object.__setattr__(self, 'class_names', tuple(self.class_names))
    if len(self.shape) != 3 or min(self.shape) < 1:
      raise ValueError(f'an image has the shape (height, width, channels), found {self.shape}.')
    if self.dtype not in (np.uint8, np.float32):
      raise ValueError(f'pixels must be uint8 or float32, found {self.dtype}.')
    if self.stored is None:
      object.__setattr__(self, 'stored', StoredPixels(white=255.0 if self.dtype == np.uint8 else 1.0))

  @classmethod
  def of(cls, examples: Examples, class_names: Sequence[str] = (), *, stored: StoredPixels | None = None
         ) -> 'ImageSpec':
    """Returns the specification of images like `examples`, which may be empty."""
    return cls(shape=examples.shape, dtype=examples.dtype, class_names=class_names,
               labels=examples.labels, stored=stored,  # type: ignore[arg-type]
               max_boxes=examples.y.shape[1] if examples.labels is labels_lib.Kind.BOXES else 0)

  @property
  def label_shape(self) -> tuple[int, ...]:
    """The shape of one label, as `labels.Kind.shape` says."""
    return self.labels.shape(self.shape, len(self.class_names), self.max_boxes)

  @property
  def label_dtype(self) -> np.dtype:
    """The type of labels: int32 for class numbers, float32 for findings and boxes, uint8 for masks."""
    return self.labels.dtype

  @property
  def multi_label(self) -> bool:
    """Whether an image has findings rather than one class, a mask or boxes."""
    return self.labels is labels_lib.Kind.FINDINGS

  def no_examples(self) -> Examples:
    """Returns an empty set of examples of this kind."""
    return Examples(np.zeros((0, *self.shape), self.dtype), np.zeros((0, *self.label_shape), self.label_dtype))

  def drawn(self, count: int) -> np.ndarray:
    """Returns `count` images of random pixels in the range of values, always the same ones: stored [count, h, w, c]."""
    rng = np.random.default_rng(seeds.derive(0, 'drawn images'))
    black, white = self.stored.black, self.stored.white
    unit = rng.random((count, *self.shape))
    pixels = unit if black is None or white is None else black + unit * (white - black)
    return (np.round(pixels) if self.dtype == np.uint8 else pixels).astype(self.dtype)

  def difference(self, examples: Examples) -> str:
    """Returns how `examples` differ from this kind, as text for an error message; '' if they do not differ."""
    if not isinstance(examples, Examples):
      return f'the type {type(examples).__name__}, and not Examples'
    for what, other, own in (('the shape', list(examples.shape), list(self.shape)),
                             ('pixels of', examples.dtype, self.dtype),
                             ('labels of the shape', list(examples.label_shape), list(self.label_shape)),
                             ('labels of', examples.label_dtype, self.label_dtype)):
      if other != own:
        return f'{what} {other}, and not {own}'
    classes = len(self.class_names)
    return f'labels outside of 0..{classes - 1}, and not within' if len(labels_lib.outside(examples.y, classes)) else ''
