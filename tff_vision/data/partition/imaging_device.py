"""A simulated imaging device: rotation, sharpness, tone and noise, the same for all images of a client."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from tff_vision import labels, seeds
from tff_vision.data import boxes, images


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
  """How a device's images differ from the originals.

  Attributes:
    degrees: Rotation about the centre; areas from outside the image are filled by repeating its border.
    contrast: Factor on the distance of a pixel from middle grey.
    noise: Standard deviation of additive Gaussian noise, as a share of full intensity.
    seed: Seed of the noise.
    gamma: Exponent of a pixel as a share of full intensity; above 1 middle tones are darker.
    blur: Standard deviation of a Gaussian blur, in pixels.
    brightness: Added to a pixel, as a share of full intensity.
    name: The name of the kind of device; empty: it has none.
  """
  degrees: float
  contrast: float
  noise: float
  seed: int
  gamma: float = 1.0
  blur: float = 0.0
  brightness: float = 0.0
  name: str = ''

  def apply(self, examples: images.Examples, *, split: str) -> images.Examples:
    """Returns the device's images: a pure function of (self, examples in this order, split).

    Args:
      examples: Full intensity is 255 for uint8 and 1 for float32.
      split: Selects the noise, so that a client's training and test images have different noise.
    """
    from scipy import ndimage  # Imported late: only one partition needs it.
    full = 255 if examples.x.dtype == np.uint8 else 1.0
    x, y = examples.x.astype(np.float32) / full, examples.y
    if self.degrees:
      x = ndimage.rotate(x, self.degrees, axes=(1, 2), reshape=False, order=1, mode='nearest')
      if labels.kind_of(y) is labels.Kind.BOXES:
        y = boxes.rotated(y, self.degrees, examples.shape[:2])
      elif labels.kind_of(y).is_spatial:
        y = ndimage.rotate(y, self.degrees, axes=(1, 2), reshape=False, order=0, mode='nearest')
    if self.blur:
      x = ndimage.gaussian_filter(x, (0, self.blur, self.blur, 0), mode='nearest')
    if self.gamma != 1:
      x = np.clip(x, 0, 1) ** np.float32(self.gamma)
    x = 0.5 + self.contrast * (x - 0.5)
    if self.brightness:
      x = x + np.float32(self.brightness)
    noise = np.random.default_rng(seeds.derive(self.seed, 'noise', split)).standard_normal(x.shape, np.float32)
    x = full * np.clip(x + self.noise * noise, 0, 1)
    return images.Examples((np.rint(x) if full == 255 else x).astype(examples.x.dtype), y)

  def words(self) -> str:
    """Returns in words how its images differ from the originals."""
    changes = [(self.degrees, 0.0, f'turned by {self.degrees:.1f} degrees'), (self.blur, 0.0, f'blur {self.blur:.2f}'),
               (self.gamma, 1.0, f'gamma {self.gamma:.2f}'), (self.contrast, 1.0, f'contrast {self.contrast:.2f}'),
               (self.brightness, 0.0, f'brightness {self.brightness:+.2f}'),
               (self.noise, 0.0, f'noise {self.noise:.2f}')]
    said = ', '.join(text for value, neutral, text in changes if value != neutral) or 'unchanged'
    return f'{self.name} ({said})' if self.name else said


@dataclasses.dataclass(frozen=True)
class DeviceClients(images.ClientImages):
  """Clients whose training images are changed by their own device; the changes are computed when images are read."""
  clients: images.ClientImages
  devices: Sequence[Device]

  @property
  def client_ids(self) -> Sequence[str]:
    return self.clients.client_ids

  def num_examples(self, client: int) -> int:
    return self.clients.num_examples(client)

  def examples(self, client: int) -> images.Examples:
    return self.devices[client].apply(self.clients.examples(client), split='train')
