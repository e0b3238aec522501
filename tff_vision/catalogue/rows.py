"""What a row of the catalogue says of an algorithm, a mechanism, a model, a data set: of all that has a name."""

import dataclasses
import enum
from collections.abc import Mapping
from typing import Any


class Trait(enum.Enum):
  """A property of a choice that may be incompatible with other choices. User objects declare theirs in a `Row` too."""
  # Traits of algorithms.
  KEEPS_STATE = 'clients keep something between their rounds'
  READS_SHARE = 'the server reads the share of all clients\' weights that is in the mean'
  SHOWS_MORE = 'clients are shown more than the model'
  SENDS_MORE = 'clients send another number of values than the model has'
  PERSONAL = 'every client has a model of its own'
  SEVERAL_MODELS = 'the server has several models'
  LATE = 'updates come rounds late'
  # Traits of privacy mechanisms.
  PROMISES = 'something is promised to clients or to examples'
  CLIENT_LEVEL = 'client-level privacy'
  EXAMPLE_LEVEL = 'example-level privacy'
  NOISES_SUM = 'noise is calibrated to a sum of clipped updates'
  NOISES_UPDATE = 'every update is clipped and noised by itself'
  CLIENTS_DRAW_NOISE = 'clients draw the noise, against the server too'
  # Traits of secure sums.
  HIDES_UPDATES = 'nobody sees a single update'
  # Traits of aggregators and compressions.
  RULE = 'decides by single updates'
  LIMIT = 'changes each update by itself'
  OWN_FACTORY = 'a tff.aggregators factory of one\'s own'
  COMPRESSES = 'an update is written with fewer bits'
  READS_UPDATES = 'reads every single update of a round'
  DEFERS = 'a client keeps what it has not sent'
  # Traits of attacks.
  CHANGES_UPDATES = 'attackers change their updates'
  CHANGES_DATA = 'attackers change their examples'
  # Traits of models and tasks.
  RETURNS_IMAGES = 'the model returns images'
  COMPARES_EXAMPLES = 'the loss compares the examples of a batch'
  # Traits of the place where the work is done.
  ON_WORKERS = 'clients\' work is done by remote workers'
  DATA_ON_WORKERS = 'workers read the examples from their own disks'
  PLAYS = 'clients play, and have no examples'


class How(enum.Enum):
  """The verb of a refusal."""
  CLASH = 'does not go with'
  UNREAD = 'has no effect with'
  NEEDS = 'needs'


@dataclasses.dataclass(frozen=True)
class Limit:
  """A restriction that a row puts on one field.

  Attributes:
    field: A field of any config section.
    reason: The reason, as the end of a sentence.
    legal: The values that are compatible with the row; empty: only the field's default.
    how: The verb of the refusal.
    own: Whether a user's own object or reference is compatible too.
  """
  field: str
  reason: str
  legal: tuple[Any, ...] = ()
  how: How = How.CLASH
  own: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
  """One choice.

  Attributes:
    name: The name in flags and configs; empty for a user's own objects.
    about: A description in one line.
    traits: The traits of the choice.
    traits_unless: Traits that it has unless a field has this value: (trait, field, value).
    reads: The config fields that it reads and that not every choice of its kind reads.
    requires: Those of the fields in `reads` that must be given.
    refuses: Incompatible traits of other choices -> reason.
    limits: The restrictions on single fields.
    needs_one_of: Fields of which at least one must be set, and the reason; empty: no such fields.
    loads: `module:attribute`, imported when it is used.
  """
  name: str
  about: str = ''
  _: dataclasses.KW_ONLY
  traits: frozenset[Trait] = frozenset()
  traits_unless: tuple[tuple[Trait, str, Any], ...] = ()
  reads: tuple[str, ...] = ()
  requires: tuple[str, ...] = ()
  refuses: Mapping[Trait, str] = dataclasses.field(default_factory=dict)
  limits: tuple[Limit, ...] = ()
  needs_one_of: tuple[tuple[str, ...], str] = ((), '')
  loads: str = ''

  def traits_with(self, values: Mapping[str, Any]) -> frozenset[Trait]:
    """Returns its traits in a config with these values."""
    return self.traits | {trait for trait, field, value in self.traits_unless if values.get(field, value) != value}


@dataclasses.dataclass(frozen=True)
class Kind:
  """All choices of one field.

  Attributes:
    field: A field of a config section; its flag has the same name.
    rows: Name -> row, in the order in which they are shown.
    own: The row of a user's own object or reference, if the object brings no row; None: only names are accepted.
  """
  field: str
  rows: Mapping[str, Row]
  own: Row | None = None

  @classmethod
  def of(cls, field: str, rows: tuple[Row, ...], own: Row | None = None) -> 'Kind':
    """Returns the kind with these rows."""
    return cls(field, {row.name: row for row in rows}, own)


def own_algorithm(name: str, *, keeps: bool, reads_share: bool, shows: bool, personal: bool, late: bool) -> Row:
  """Returns the row of an algorithm that is not in the catalogue, from the attributes of its class."""
  said = {Trait.KEEPS_STATE: keeps, Trait.READS_SHARE: reads_share, Trait.SHOWS_MORE: shows, Trait.PERSONAL: personal,
          Trait.LATE: late}
  return Row(name, traits=frozenset(trait for trait, has in said.items() if has),
             refuses={Trait.EXAMPLE_LEVEL: CLIPPED_GRADIENT})


CLIPPED_GRADIENT = 'it changes the gradient that private SGD on clients has clipped and noised'
