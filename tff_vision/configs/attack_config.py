"""Clients that attack the training, as data: the attack section of an experiment."""

import dataclasses

from tff_vision.configs import validate

ATTACKS = ('none', 'label_flip', 'sign_flip', 'scaled_update', 'backdoor_patch')

_READ_BY = {
    'label_flip': (),
    'sign_flip': ('attack_scale',),
    'scaled_update': ('attack_scale',),
    'backdoor_patch': ('attack_target', 'attack_patch'),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
  """Simulated attackers, to measure what an aggregation withstands; docs/explanation/robustness.md.

  Attributes:
    attack: `label_flip`: class c becomes classes - 1 - c in the attackers' data; `sign_flip`: they send their update
      times -attack_scale; `scaled_update`: times attack_scale; `backdoor_patch`: every other image of theirs carries
      a patch and the label attack_target.
    attack_fraction: Share of all clients that attack, the same ones in every round.
    attack_scale: Factor on an attacker's update.
    attack_target: Number of the class that patched images shall be taken for.
    attack_patch: Side of the patch in stored pixels, bottom right.
  """
  attack: str = 'none'
  attack_fraction: float = 0.2
  attack_scale: float = 10.0
  attack_target: int = 0
  attack_patch: int = 3

  def __post_init__(self):
    validate.one_of(ATTACKS, attack=self.attack)
    validate.open_unit(attack_fraction=self.attack_fraction)
    validate.positive(attack_scale=self.attack_scale, attack_patch=self.attack_patch)
    validate.non_negative(attack_target=self.attack_target)
    read = ('attack', 'attack_fraction', *_READ_BY[self.attack]) if self.attack != 'none' else ('attack',)
    for field in dataclasses.fields(self):
      if (value := getattr(self, field.name)) != field.default and field.name not in read:
        raise ValueError(f'{field.name}={value!r} has no effect with attack={self.attack}.')
