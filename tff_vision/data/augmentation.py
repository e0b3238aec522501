"""Random changes of training images, as settings; `tff_vision.data.transforms` carries them out in a client's graph."""

import dataclasses

from tff_vision import configs

# Half of the images lose a rectangle; the others stay whole.
ERASED_SHARE = 0.5


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
  """How training images vary; evaluations and exported models never do. Zero leaves a change out.

  What is drawn for an image depends on the seed, the client, the round and the image's place in the order of the round.

  Attributes:
    rotation: The largest rotation about the centre, in degrees, to either side.
    translation: The largest shift, as a share of height and width, in each direction.
    scale: Images are enlarged or shrunk by a factor of up to 1 -+ this.
    brightness: The largest shift of all pixels, as a share of the range from black to white.
    contrast: The distance of pixels from their image's mean is multiplied by a factor of up to 1 -+ this.
    erasing: Half of the images lose one rectangle of up to this share of their area; it gets the image's mean colour.
    mixup: Each batch is mixed with itself in another order; the share of the first image is drawn from Beta(mixup,
      mixup), once a batch, and the loss is the mean of the losses for both labels with these shares.
    black: The value of black before `images.Preprocessing.pixels`; None: not known.
    white: The value of white.
  """
  rotation: float = 0.0
  translation: float = 0.0
  scale: float = 0.0
  brightness: float = 0.0
  contrast: float = 0.0
  erasing: float = 0.0
  mixup: float = 0.0
  black: float | None = 0.0
  white: float | None = 1.0

  @property
  def moves(self) -> bool:
    """Whether pixels change their places, so that masks and boxes have to follow."""
    return bool(self.rotation or self.translation or self.scale)

  @property
  def shades(self) -> bool:
    """Whether pixels change their values in a way that depends on the range from black to white."""
    return bool(self.brightness or self.contrast)

  @property
  def changes(self) -> bool:
    """Whether anything changes."""
    return bool(self.moves or self.shades or self.erasing or self.mixup)

  def words(self) -> list[str]:
    """Returns one phrase for each kind of change."""
    said = [(self.rotation, f'rotated by up to {self.rotation:g} degrees'),
            (self.translation, f'shifted by up to {100 * self.translation:g} % of a side'),
            (self.scale, f'scaled by 1 -+ {self.scale:g}'),
            (self.brightness, f'brightness changed by up to {100 * self.brightness:g} % of the range'),
            (self.contrast, f'contrast multiplied by 1 -+ {self.contrast:g}'),
            (self.erasing, f'half of the images lose a rectangle of up to {100 * self.erasing:g} % of their area'),
            (self.mixup, f'batches mixed with themselves by shares of Beta({self.mixup:g}, {self.mixup:g})')]
    return [phrase for value, phrase in said if value]


def of(config: configs.DataConfig) -> Augmentation:
  """Returns the augmentation that a config asks for, with the range of pixels in 0..1."""
  return Augmentation(**{field.name: getattr(config, f'augment_{field.name}')
                         for field in dataclasses.fields(Augmentation) if field.name not in ('black', 'white')})
