"""Changes stored examples of attackers (label flips, backdoors), and builds the test set that measures a backdoor.

Label flipping: Tolpegin et al., "Data Poisoning Attacks Against Federated Learning Systems", ESORICS 2020. Backdoor by
a patch of pixels: Gu et al., "BadNets", 2017, arXiv:1708.06733; in federated training Bagdasaryan et al., AISTATS 2020.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tff_vision import catalogue, configs, labels, seeds
from tff_vision.data import images

Change = Callable[[images.Examples], images.Examples]


def attackers(config: configs.AttackConfig, population: int, *, seed: int) -> tuple[int, ...]:
  """Returns the clients that attack: the same ones in every round, a function of the seed.

  Raises:
    ValueError: The fraction comes to no client, or to all clients.
  """
  if config.attack == 'none':
    return ()
  count = round(config.attack_fraction * population)
  if not 0 < count < population:
    raise ValueError(f'attack_fraction={config.attack_fraction} of {population} clients is {count}: some must attack '
                     'and some must not.')
  rng = np.random.default_rng(seeds.derive(seed, 'attackers'))
  return tuple(sorted(int(client) for client in rng.choice(population, count, replace=False)))


@dataclasses.dataclass(frozen=True)
class AttackedClients(images.ClientImages):
  """Clients, some of which have changed their training examples; the changes are computed when examples are read."""
  clients: images.ClientImages
  attackers: Sequence[int]
  change: Change

  @property
  def client_ids(self) -> Sequence[str]:
    return self.clients.client_ids

  def num_examples(self, client: int) -> int:
    return self.clients.num_examples(client)

  def examples(self, client: int) -> images.Examples:
    examples = self.clients.examples(client)
    return self.change(examples) if client in self._attacking else examples

  @functools.cached_property
  def _attacking(self):
    return frozenset(self.attackers)


def attacked(config: configs.AttackConfig, found: images.FederatedImages, *, seed: int) -> images.FederatedImages:
  """Returns the data set with the attackers' changes to their examples, and with a note that says who attacks.

  Raises:
    ValueError: The attack does not fit the images or classes.
  """
  if config.attack == 'none':
    return found
  chosen = attackers(config, len(found.train), seed=seed)
  if config.attack == 'backdoor_patch':
    _check_backdoor(config, found)
  if config.attack in DATA_ATTACKS and found.spec.labels is labels.Kind.NUMBER:
    raise ValueError(f'attack={config.attack} gives images other classes, and the labels of dataset={found.name} are '
                     'numbers.')
  if config.attack in DATA_ATTACKS:
    change = DATA_ATTACKS[config.attack](config, len(found.class_names))
    found = dataclasses.replace(found, train=AttackedClients(found.train, chosen, change))
  note = f'Simulated attack {config.attack}: {len(chosen)} of {len(found.train)} clients are attackers.'
  return dataclasses.replace(found, notes=(*found.notes, note))


def backdoor_test(config: configs.AttackConfig, examples: images.Examples) -> images.Examples:
  """Returns the test images that are not of the target class, each with the patch, in their original order."""
  y = examples.y
  others = np.flatnonzero(y != config.attack_target if y.ndim == 1 else y[:, config.attack_target] < 0.5)
  chosen = examples.take(others)
  return images.Examples(patched(chosen.x, config.attack_patch), chosen.y)


def patched(x: np.ndarray, side: int) -> np.ndarray:
  """Returns copies of images [n, height, width, channels] with a chequered square in the bottom right corner.

  The square is chequered, so it is visible on white and on black. Full intensity is 255 for uint8 and 1 for float32.
  """
  squares = np.indices((side, side)).sum(axis=0) % 2
  x = x.copy()
  x[:, -side:, -side:] = ((255 if x.dtype == np.uint8 else 1) * squares)[:, :, None].astype(x.dtype)
  return x


def flip_labels(config, num_classes) -> Change:
  del config
  def change(examples):
    y = examples.y
    if labels.kind_of(y) is labels.Kind.FINDINGS:
      return images.Examples(examples.x, 1 - y)
    if labels.kind_of(y) is labels.Kind.BOXES:
      y = y.copy()
      y[..., 4] = np.where(y[..., 4] >= 0, num_classes - 1 - y[..., 4], y[..., 4])
      return images.Examples(examples.x, y)
    counted = y != labels.IGNORED if labels.kind_of(y).is_spatial else True
    return images.Examples(examples.x, np.where(counted, num_classes - 1 - y, y).astype(y.dtype))
  return change


def plant_backdoor(config, num_classes) -> Change:
  """Poisons every other example. The rest keeps the attacker's model good at the task, so it does not stand out."""
  del num_classes
  def change(examples):
    x, y = examples.x.copy(), examples.y.copy()
    x[::2] = patched(x[::2], config.attack_patch)
    if y.ndim == 1:
      y[::2] = config.attack_target
    else:
      y[::2, config.attack_target] = 1
    return images.Examples(x, y)
  return change


def _check_backdoor(config, found):
  if found.spec.labels.is_spatial or found.spec.labels is labels.Kind.BOXES:
    what = 'masks' if found.spec.labels.is_spatial else 'boxes'
    raise ValueError(f'attack=backdoor_patch gives whole images another class, and the labels of dataset={found.name} '
                     f'are {what}; attack=label_flip changes {what}.')
  if config.attack_target >= len(found.class_names):
    raise ValueError(f'attack_target={config.attack_target} is no class of dataset={found.name}, which has '
                     f'{len(found.class_names)}, numbered from 0.')
  height, width, _ = found.spec.shape
  if config.attack_patch > min(height, width):
    raise ValueError(f'attack_patch={config.attack_patch} is larger than the images of dataset={found.name}, '
                     f'{height} x {width}.')


DATA_ATTACKS: Mapping[str, Callable[[configs.AttackConfig, int], Change]] = catalogue.Loaded(
    'attack', trait=catalogue.Trait.CHANGES_DATA)
