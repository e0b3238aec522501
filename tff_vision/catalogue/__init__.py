"""Everything that has a name, row by row: algorithms, mechanisms, models, data sets and the like.

Flags and configs take their choices from here, `configs.compatibility` takes its refusals, and documents take their
tables. The target of a name is imported when it is used. Nothing here imports TensorFlow. A new choice is one new row.
"""

import importlib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tff_vision.catalogue import aggregations, algorithms, data_sets, mechanisms, models, places, rows

Row = rows.Row
Trait = rows.Trait
Kind = rows.Kind
Limit = rows.Limit
How = rows.How

# Field -> its choices; refusals are checked in this order.
KINDS: Mapping[str, Kind] = {kind.field: kind for kind in (
    algorithms.ALGORITHMS, algorithms.CLIENT_OPTIMIZERS, algorithms.SERVER_OPTIMIZERS, algorithms.CLIENT_SCHEDULES,
    algorithms.SERVER_SCHEDULES, aggregations.AGGREGATORS, aggregations.COMPRESSIONS, aggregations.ATTACKS,
    mechanisms.PRIVACIES, mechanisms.MF_STRATEGIES, mechanisms.EXAMPLE_SAMPLINGS, mechanisms.EXAMPLE_NOISES,
    aggregations.SECURE_SUMS, aggregations.CONTRIBUTIONS,
    mechanisms.SAMPLINGS, models.TASKS, models.LOSSES, models.MODELS, data_sets.DATA_SETS, data_sets.PARTITIONS,
    data_sets.CLIENT_SHIFTS,
    data_sets.QUANTITY_DISTRIBUTIONS, places.RUNTIMES, places.DATA_PLACEMENTS, places.TRACKERS, models.FORMATS)}

# Fields whose choices may read the same settings: a setting has an effect if either choice reads it.
EITHER: frozenset[str] = frozenset(('partition', 'client_shift'))

# Incompatible traits: (trait, trait of the other choice) -> reason. The `refuses` of a row is checked first.
CLASHES: Mapping[tuple[Trait, Trait], str] = {
    (Trait.PERSONAL, Trait.EXAMPLE_LEVEL): 'private SGD takes steps of its own on clients, in place of those of the '
                                           'algorithm',
    (Trait.READS_SHARE, Trait.PROMISES): 'the server reads the sum of the clients\' weights without noise',
    (Trait.KEEPS_STATE, Trait.CLIENTS_DRAW_NOISE): 'the server stores what its clients keep, as it is, and the promise '
                                                   'is against the server too',
    (Trait.RULE, Trait.NOISES_SUM): 'the rule needs single updates, and noise is calibrated to a sum; norm_clipping '
                                    'and zeroing change each update by itself and go with it',
    (Trait.RULE, Trait.NOISES_UPDATE): 'the noise on every single update drowns the distances and orders that the rule '
                                       'goes by',
    (Trait.RULE, Trait.HIDES_UPDATES): 'the rule needs single updates, which the sum hides; norm_clipping and zeroing '
                                       'change each update by itself and go with it',
    (Trait.OWN_FACTORY, Trait.NOISES_SUM): 'the mechanism clips, adds up and noises updates by itself, and what '
                                           'another factory does to them no noise is calibrated to',
    (Trait.OWN_FACTORY, Trait.NOISES_UPDATE): 'the mechanism clips and noises updates by itself',
    (Trait.OWN_FACTORY, Trait.HIDES_UPDATES): 'the secure sum adds updates up by itself, and shows nobody a single one',
    (Trait.OWN_FACTORY, Trait.SEVERAL_MODELS): 'a client sends zeros for the models that it did not choose',
    (Trait.COMPRESSES, Trait.NOISES_SUM): 'rounding could carry an update beyond the bound that the noise is '
                                          'calibrated to',
    (Trait.COMPRESSES, Trait.NOISES_UPDATE): 'the noise on each update leaves nothing to compress',
    (Trait.COMPRESSES, Trait.HIDES_UPDATES): 'hidden updates have a fixed point of their own, secure_bits, and hidden '
                                             'values cannot be left out',
    (Trait.READS_UPDATES, Trait.PROMISES): 'it reads single updates and says what each client added, and no noise '
                                           'covers that',
    (Trait.READS_UPDATES, Trait.HIDES_UPDATES): 'it needs single updates, which the sum hides',
    (Trait.READS_UPDATES, Trait.RULE): aggregations.OF_COALITIONS,
    (Trait.READS_UPDATES, Trait.OWN_FACTORY): aggregations.OF_COALITIONS,
    (Trait.READS_UPDATES, Trait.COMPRESSES): aggregations.OF_COALITIONS,
    (Trait.READS_UPDATES, Trait.SENDS_MORE): 'what its clients send is not an update of the whole model',
    (Trait.READS_UPDATES, Trait.READS_SHARE): 'the server\'s step depends on who takes part',
    (Trait.READS_UPDATES, Trait.ON_WORKERS): 'it is for simulations; from workers nobody should collect single updates',
    (Trait.READS_UPDATES, Trait.PLAYS): 'it compares models on test images',
    (Trait.DEFERS, Trait.DATA_ON_WORKERS): 'what a client has not sent yet travels with its examples',
    (Trait.CHANGES_UPDATES, Trait.DATA_ON_WORKERS): 'an attacker\'s flag travels with its examples',
    (Trait.CHANGES_DATA, Trait.DATA_ON_WORKERS): 'the driver changes attackers\' examples, and these lie on the '
                                                 'workers',
    (Trait.DEFERS, Trait.KEEPS_STATE): 'the memory of what was not sent would have to be kept beside that state',
    (Trait.DEFERS, Trait.PLAYS): 'what a client has not sent yet travels with its examples, and it has none',
    (Trait.RETURNS_IMAGES, Trait.PLAYS): 'it makes no policy',
    (Trait.RULE, Trait.SEVERAL_MODELS): 'a client sends zeros for the models that it did not choose, and the rule '
                                        'takes them for updates',
    (Trait.LIMIT, Trait.SEVERAL_MODELS): 'the bound would shorten a client\'s choice of a model together with its '
                                         'update',
    (Trait.COMPRESSES, Trait.SEVERAL_MODELS): 'rounding would blur a client\'s choice of a model, by which its update '
                                              'is divided',
    (Trait.CHANGES_UPDATES, Trait.SEVERAL_MODELS): 'it would multiply the attacker\'s choice of a model together with '
                                                   'its update',
}


def names(field: str) -> tuple[str, ...]:
  """Returns the choices of a field, in the order in which they are shown."""
  return tuple(KINDS[field].rows)


def row(field: str, name: str) -> Row:
  """Returns the row of a choice; KeyError if there is none."""
  return KINDS[field].rows[name]


def why_not(field: str, name: str, trait: Trait) -> str:
  """Returns why a choice is incompatible with choices that have `trait`; KeyError if it is compatible."""
  return row(field, name).refuses[trait]


def with_trait(field: str, trait: Trait) -> tuple[str, ...]:
  """Returns the choices of a field that have a trait."""
  return tuple(name for name, found in KINDS[field].rows.items() if trait in found.traits)


def clash(row: Row, traits: Collection[Trait], others: Collection[Trait]) -> str | None:
  """Returns why a row with `traits` is incompatible with one that has `others`; None if they are compatible."""
  for other in Trait:
    if other in others and other in row.refuses:
      return row.refuses[other]
  for (mine, other), reason in CLASHES.items():
    if mine in traits and other in others:
      return reason
  return None


def chosen(field: str, value: Any) -> Row | None:
  """Returns the row for a field's value: a name's row, an object's own row, or else the kind's row for own objects."""
  kind = KINDS[field]
  if isinstance(value, str) and value in kind.rows:
    return kind.rows[value]
  brought = getattr(value, 'row', None)
  return brought if isinstance(brought, Row) else kind.own


def load(reference: str) -> Any:
  """Imports and returns the attribute that `module:attribute` names."""
  module, _, attribute = reference.partition(':')
  return getattr(importlib.import_module(module), attribute)


class Loaded(Mapping[str, Any]):
  """The targets of the names of a field, each imported on first access; names without a `loads` are left out."""

  def __init__(self, field: str, *, trait: Trait | None = None, but: Collection[str] = ()):
    """Args: `trait`: if given, only names with this trait are included; `but`: names that are left out."""
    self._rows = {name: found for name, found in KINDS[field].rows.items()
                  if found.loads and name not in but and (trait is None or trait in found.traits)}

  def __getitem__(self, name: str) -> Any:
    return load(self._rows[name].loads)

  def __iter__(self) -> Iterator[str]:
    return iter(self._rows)

  def __len__(self) -> int:
    return len(self._rows)
