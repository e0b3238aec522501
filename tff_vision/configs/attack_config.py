"""The configuration of simulated attacks by clients."""

import dataclasses

from tff_vision.configs import compatibility, option, validate


@dataclasses.dataclass(frozen=True, kw_only=True)
class AttackConfig:
  """Simulated attackers, to measure what an aggregation withstands; docs/explanation/robustness.md."""
  attack: str = option.option('none', 'What simulated attackers among the clients do.')
  attack_fraction: float = option.option(0.2, 'Share of all clients that attack, the same ones in every round.')
  attack_scale: float = option.option(10.0, 'Factor on the update of a sign_flip or scaled_update.')
  attack_target: int = option.option(0, 'Number of the class that a backdoor_patch shall be taken for.')
  attack_patch: int = option.option(3, 'Side of the backdoor_patch in stored pixels, bottom right.')

  def __post_init__(self):
    option.check_choices(self)
    validate.open_unit(attack_fraction=self.attack_fraction)
    validate.positive(attack_scale=self.attack_scale, attack_patch=self.attack_patch)
    validate.non_negative(attack_target=self.attack_target)
    compatibility.check(self)
