"""What goes with which algorithm: one table that refusals read, tests walk and docs/reference/algorithms.md shows."""

from collections.abc import Mapping
from typing import Any

from tff_vision import plugins

CLIENT_LEVEL = ('client_gaussian', 'client_adaptive', 'dp_ftrl', 'dp_mf', 'distributed_gaussian', 'distributed_skellam',
                'local_dp')
COLUMNS: Mapping[str, tuple[str, ...]] = {
    'client-level privacy': tuple(f'privacy={name}' for name in CLIENT_LEVEL),
    'example-level privacy': ('privacy=example_dp_sgd',),
    'threshold encryption': ('secure_sum=he',),
    'encryption to a key holder': ('secure_sum=he_keyholder',),
    'masks': ('secure_sum=masks',),
    'remote workers': ('runtime=workers',),
    'data on workers': ('data_placement=worker',),
}
_TWO_QUANTITIES = ('clients send a second quantity beside their update, and the mechanisms here bound and account '
                   'for one')
_CLIPPED_GRADIENT = 'it changes the gradient that private SGD on clients has clipped and noised'
_ALL_AT_ONCE = 'private SGD takes steps of its own on clients, and this algorithm has none'
_DEVICES = ('its late updates come from devices that come and go, and an epsilon counts on every client being drawn at '
            'the accounted rate')

_NOT_COVERED = 'the report tells how good the clients\' own models are, and no noise covers that'
_MAGNIFIED = 'each model is divided by the share of clients that chose it, which magnifies the rounding of a hidden sum'

# Algorithm -> column -> why not. What is not here goes together.
REFUSED: Mapping[str, Mapping[str, str]] = {
    'fedavg': {},
    'fedprox': {'example-level privacy': _CLIPPED_GRADIENT},
    'fedsgd': {'example-level privacy': _ALL_AT_ONCE},
    'scaffold': {'client-level privacy': _TWO_QUANTITIES, 'example-level privacy': _CLIPPED_GRADIENT},
    'fednova': {'client-level privacy': 'the number of a client\'s steps, which it sends, tells how many examples it '
                                        'has',
                'example-level privacy': 'it counts steps that private SGD does not take'},
    'feddyn': {'client-level privacy': 'its server adds up the updates of all rounds, and with them all their noise',
               'example-level privacy': _CLIPPED_GRADIENT},
    'mime_lite': {'client-level privacy': _TWO_QUANTITIES, 'example-level privacy': _CLIPPED_GRADIENT},
    **dict.fromkeys(('fedper', 'fedrep', 'ditto', 'apfl'), {
        'client-level privacy': _NOT_COVERED, 'example-level privacy': _NOT_COVERED}),
    'ifca': {'client-level privacy': _NOT_COVERED, 'example-level privacy': _NOT_COVERED,
             'threshold encryption': _MAGNIFIED, 'encryption to a key holder': _MAGNIFIED, 'masks': _MAGNIFIED},
    'fedbuff': {'client-level privacy': _DEVICES, 'example-level privacy': _DEVICES},
}


# What no algorithm of one's own goes with; what depends on it is checked when it is built, by `learning.process`.
OWN: Mapping[str, str] = {'example-level privacy': _CLIPPED_GRADIENT}


def check(algorithm: Any, *chosen: str) -> None:
  """Refuses an algorithm that does not go with what else is chosen.

  Args:
    algorithm: A name; an algorithm of one's own is an object or a reference, see `OWN`.
    chosen: As in `COLUMNS`, such as 'privacy=none'.

  Raises:
    ValueError: With the reason.
  """
  for column, reason in (REFUSED[algorithm] if algorithm in REFUSED else OWN).items():
    for choice in chosen:
      if choice in COLUMNS[column]:
        raise ValueError(f'algorithm={plugins.shown(algorithm)} does not go with {choice}: {reason}.')
