"""What every data source delivers: the images of each client, a test set, and names.

Arrays stay numpy on the host that holds them; `tff_vision.tasks` turns a client's examples into the `tf.data`
dataset that a TFF computation receives.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from tff_vision import configs


class ExamplePool(Protocol):
  """Examples that can be read by position: `Examples` in memory, or a file that is read as needed.

  Attributes:
    y: All labels, as in `Examples`; a file may need one pass for them.
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
    x: [n, height, width, channels]; uint8 in 0..255, or float32 (kept as it is, no rescaling).
    y: [n] int32 class numbers, or [n, findings] float32 of 0 and 1 for multi-label data.
  """
  x: np.ndarray
  y: np.ndarray

  def __post_init__(self):
    if self.x.ndim != 4 or self.x.dtype not in (np.uint8, np.float32):
      raise ValueError(f'images must be [n, height, width, channels] of uint8 or float32, found '
                       f'{list(self.x.shape)} of {self.x.dtype}.')
    if len(self.x) != len(self.y):
      raise ValueError(f'{len(self.x)} images have {len(self.y)} labels.')
    if (self.y.dtype, self.y.ndim) not in ((np.int32, 1), (np.float32, 2)):
      raise ValueError(f'labels must be [n] int32 or [n, findings] float32, found {list(self.y.shape)} of '
                       f'{self.y.dtype}.')

  def __len__(self) -> int:
    return len(self.y)

  def __repr__(self) -> str:
    """Says how many, never which: logs are read by others."""
    return f'Examples({len(self)} images of {"x".join(map(str, self.shape))}, {self.x.dtype})'

  @property
  def shape(self) -> tuple[int, int, int]:
    return self.x.shape[1:]

  def take(self, indices: np.ndarray) -> 'Examples':
    """Returns the examples at `indices`, in that order."""
    return Examples(self.x[indices], self.y[indices])


class ClientImages(abc.ABC):
  """The training examples of each client, in a fixed order; clients are addressed by position."""

  @property
  @abc.abstractmethod
  def client_ids(self) -> Sequence[str]:
    """Unique names."""

  @abc.abstractmethod
  def num_examples(self, client: int) -> int:
    """The size of one client, without loading it."""

  @abc.abstractmethod
  def examples(self, client: int) -> Examples:
    """Loads one client."""

  def __len__(self) -> int:
    return len(self.client_ids)

  def __repr__(self) -> str:
    return f'{type(self).__name__}({len(self)} clients)'


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class ArrayClients(ClientImages):
  """Clients as index arrays into one pool of examples, in memory or read from its files as needed."""
  pool: ExamplePool
  indices: Sequence[np.ndarray]
  client_ids: Sequence[str] = ()

  def __post_init__(self):
    if len(self.client_ids) != len(self.indices):
      raise ValueError(f'{len(self.client_ids)} client ids for {len(self.indices)} clients.')

  def num_examples(self, client: int) -> int:
    return len(self.indices[client])

  def examples(self, client: int) -> Examples:
    return self.pool.take(self.indices[client])


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class CountedClients(ClientImages):
  """Clients who train on files of their own, of which this machine knows the sizes, and has copies that may differ.

  Attributes:
    copies: What is here; `examples` returns these.
    counts: The number of examples of each client in its own file.
  """
  copies: ClientImages
  counts: Sequence[int]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.copies.client_ids

  def num_examples(self, client: int) -> int:
    return self.counts[client]

  def examples(self, client: int) -> Examples:
    return self.copies.examples(client)


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class HeldOut:
  """Examples for evaluation, with the positions that belong to each client (some may have none)."""
  examples: Examples
  clients: Sequence[np.ndarray]

  def __repr__(self) -> str:
    return f'HeldOut({self.examples!r} of {len(self.clients)} clients)'


@dataclasses.dataclass(frozen=True, kw_only=True)
class StoredPixels:
  """What the black and the white of an image file are among a data set's stored pixels.

  Attributes:
    black: The value of black.
    white: The value of white. None of both: no file can be brought to the set's range, which is not known.
    window: Values of files of more than 8 bits that become black and white; None: the set has 8 bits.
    eight_bit: The same of 8-bit files, where there is a `window`; None: the set has none, and they are refused, since
      nothing tells how they were made of more bits.
    clips: Whether values outside of the window become black or white; otherwise they are refused.
  """
  black: float | None = 0.0
  white: float | None = 255.0
  window: tuple[float, float] | None = None
  eight_bit: tuple[float, float] | None = (0.0, 255.0)
  clips: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preprocessing:
  """How stored pixels become model input; the same for training, evaluation and the exported model.

  The steps run in the order of the attributes; `tff_vision.data.preprocess` carries them out.

  Attributes:
    scale: uint8 pixels are multiplied by this; float32 pixels are taken as they are.
    channels: 1 turns colour to grey (Rec. 601 luma), 3 repeats grey; None keeps what is stored.
    size: Height and width to resize to, bilinear with antialiasing; None keeps what is stored.
    crop: Height and width to crop to: anywhere in training, the centre in evaluation; None crops nothing.
    flip: Whether training mirrors every other image left to right.
    pixels: `raw` changes nothing, `none` neither, and goes with a `scale` of 1; `invert` is 1 - x;
      `standardize` subtracts `mean` and divides by `std`;
      `per_image` gives every image mean 0 and deviation 1 (`tf.image.per_image_standardization`).
    mean: One for each channel, after `scale`. Read by `standardize` only.
    std: One for each channel, after `scale`. Read by `standardize` only.
    measured: Whether mean and std were computed from the clients' own examples, which the model then tells.
  """
  scale: float = 1 / 255
  channels: int | None = None
  size: int | None = None
  crop: int | None = None
  flip: bool = False
  pixels: str = 'raw'
  mean: tuple[float, ...] = ()
  std: tuple[float, ...] = ()
  measured: bool = False


class Counted(str):
  """A note that tells what was counted or measured in the clients' own examples: not for readers of a private run."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
  """By which settings images were loaded: others that load with these get the same.

  Attributes:
    config: The section `data` of an experiment.
    seed: Root seed of the partition.
  """
  config: configs.DataConfig
  seed: int


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False, eq=False)
class FederatedImages:
  """One data set, split over clients.

  Attributes:
    name: The data set's name.
    class_names: One for each class number (or finding).
    train: The clients.
    test: The global test set; `test.clients[i]` are the positions that belong to training client i.
    unseen: Test examples of clients that never train, or None.
    preprocessing: What the model's input is.
    stored: What the black and white of files are among stored pixels; None: as the type of pixels says, 255 for white
      of uint8 and 1 of floats.
    fingerprint: Digests that tell this data from any other, by what they are of.
    notes: Sentences a user must see: licence, examples left out and why; those that tell of training examples are
      `Counted`.
    counted_classes: Whether `class_names` were gathered from labels, those of the clients included.
    origin: Of images that `data.load` gave and nobody changed since.
  """
  name: str
  class_names: Sequence[str]
  train: ClientImages
  test: HeldOut
  unseen: HeldOut | None = None
  preprocessing: Preprocessing = Preprocessing()
  stored: StoredPixels | None = None
  fingerprint: Mapping[str, str] = dataclasses.field(default_factory=dict)
  notes: Sequence[str] = ()
  counted_classes: bool = False
  # No argument, so that `dataclasses.replace`, which changes images, forgets it.
  origin: Origin | None = dataclasses.field(default=None, init=False)

  def loaded_by(self, origin: Origin) -> 'FederatedImages':
    """Returns the same images, which know that `origin` loads them."""
    found = dataclasses.replace(self)
    object.__setattr__(found, 'origin', origin)
    return found

  def __repr__(self) -> str:
    """Says how many, never which: logs are read by others."""
    height, width, channels = self.test.examples.shape
    return (f'FederatedImages({self.name!r}: {len(self.train)} clients, {len(self.test.examples)} test images of '
            f'{height}x{width}x{channels}, {len(self.class_names)} classes)')

  @property
  def told_by_clients(self) -> Sequence[str]:
    """The classes or findings that are known from the clients' labels alone, and that the model's outputs tell."""
    if not self.counted_classes:
      return ()
    y = self.test.examples.y
    shown = np.bincount(y, minlength=len(self.class_names)) if y.ndim == 1 else y.sum(axis=0)
    return [str(name) for name, number in zip(self.class_names, shown, strict=True) if not number]

  @property
  def stored_pixels(self) -> StoredPixels:
    """What the black and white of files are among stored pixels."""
    return self.stored or StoredPixels(white=255.0 if self.test.examples.x.dtype == np.uint8 else 1.0)

  @property
  def multi_label(self) -> bool:
    return self.test.examples.y.ndim == 2

  def describe(self) -> dict[str, object]:
    """Returns what config.json says of images that were given as an object; nothing of any client's examples."""
    return {'name': self.name, 'clients': len(self.train), 'class_names': list(self.class_names),
            'image_shape': list(self.test.examples.shape), 'preprocessing': dataclasses.asdict(self.preprocessing),
            **({} if self.origin is None else {'loaded_by': dataclasses.asdict(self.origin)})}
