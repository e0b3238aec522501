"""Flags of `AttackConfig`."""

from absl import flags

from tff_vision.configs import attack_config

_DEFAULTS = attack_config.AttackConfig()

flags.DEFINE_enum('attack', _DEFAULTS.attack, attack_config.ATTACKS, 'What simulated attackers among the clients do.')
flags.DEFINE_float('attack_fraction', _DEFAULTS.attack_fraction, 'Share of all clients that attack.')
flags.DEFINE_float('attack_scale', _DEFAULTS.attack_scale, 'Factor on the update of a sign_flip or scaled_update.')
flags.DEFINE_integer('attack_target', _DEFAULTS.attack_target, 'Class that a backdoor_patch shall stand for.')
flags.DEFINE_integer('attack_patch', _DEFAULTS.attack_patch, 'Side of the backdoor_patch in stored pixels.')
