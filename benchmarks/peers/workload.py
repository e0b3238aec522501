"""What every system trains on: the same images, batches and local steps. Needs numpy only."""

import dataclasses

import numpy as np

KINDS = ('emnist', 'cifar', 'silo', 'dp')


@dataclasses.dataclass(frozen=True)
class Workload:
  """One round: every client makes one pass over its examples in batches of `batch_size`, with plain SGD.

  Attributes:
    kind: `emnist`: the CNN of 1,206,590 parameters on 28x28 pixels; `cifar`: ResNet-18 with GroupNorm on 32x32x3;
      `silo`: the CNN with few large clients; `dp`: the CNN with example-level DP-SGD (clip 1, noise 1).
  """
  kind: str
  clients: int
  examples: int
  batch_size: int = 20
  learning_rate: float = 0.05
  clip_norm: float = 1.0
  noise_multiplier: float = 1.0

  @property
  def name(self) -> str:
    return ('' if self.kind == 'emnist' else f'{self.kind}:') + f'{self.clients}x{self.examples}'

  @property
  def images(self) -> int:
    """The number of training images in a round."""
    return self.clients * self.examples

  @property
  def shape(self) -> tuple[int, int, int]:
    return (32, 32, 3) if self.kind == 'cifar' else (28, 28, 1)

  @property
  def classes(self) -> int:
    return 10 if self.kind == 'cifar' else 62

  def data(self) -> tuple[np.ndarray, np.ndarray]:
    """Returns (uint8 images, int32 labels), the clients one after the other."""
    rng = np.random.default_rng(0)
    return (rng.integers(0, 256, (self.images, *self.shape), np.uint8),
            rng.integers(0, self.classes, self.images).astype(np.int32))

  def clients_data(self) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns each client's (float32 images in 0..1, labels), for systems that keep model inputs."""
    x, y = self.data()
    x = x.astype(np.float32) / 255
    return [(x[i:i + self.examples], y[i:i + self.examples]) for i in range(0, self.images, self.examples)]


def parse(text: str) -> Workload:
  """Returns the workload of `[KIND:]CLIENTSxEXAMPLES`.

  Raises:
    ValueError: The text is not a workload.
  """
  kind, _, size = text.rpartition(':')
  clients, _, examples = size.partition('x')
  if kind not in ('', *KINDS) or not (clients.isdecimal() and examples.isdecimal() and int(clients) and int(examples)):
    raise ValueError(f'workloads are [KIND:]CLIENTSxEXAMPLES with a kind of {", ".join(KINDS)}, found {text!r}.')
  return Workload(kind or 'emnist', int(clients), int(examples))
