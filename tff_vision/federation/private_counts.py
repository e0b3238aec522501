"""Plans in which no worker says how many training examples its clients have.

The numbers are used inside the clients' computations, and leave them in the secure sum only: as weights of the mean and
as the number of examples of a round's metrics. What a client encodes is bounded by a number that the plan states.
"""

from collections.abc import Mapping

from tff_vision import catalogue, configs
from tff_vision.catalogue import Trait, mechanisms
from tff_vision.configs import option


def check(config: configs.ExperimentConfig, *, clients: int, min_workers: int | None, sites: int,
          shares_site_metrics: bool) -> None:
  """Refuses a plan that would tell how many training examples a client has, or that needs to know.

  Raises:
    ValueError: With the reason.
  """
  privacy = config.privacy
  if Trait.HIDES_UPDATES not in _traits('secure_sum', config.secure.secure_sum):
    hiding = ' or '.join(catalogue.with_trait('secure_sum', Trait.HIDES_UPDATES))
    raise ValueError(f'private_counts needs secure_sum={hiding}: without one, each worker\'s sums tell the number of '
                     'its examples.')
  if Trait.EXAMPLE_LEVEL in _traits('privacy', privacy.privacy):
    raise ValueError(f'private_counts does not go with privacy={privacy.privacy}: its sampling rates and its epsilon '
                     'are computed from the number of examples of each client; choose a client-level mechanism.')
  if privacy.audit_canaries:
    raise ValueError(f'private_counts does not go with audit_canaries={privacy.audit_canaries}: the audit compares the '
                     'number of examples of a round with those of its clients.')
  if shares_site_metrics:
    raise ValueError('private_counts does not go with shares_site_metrics: a site\'s own numbers begin with that of '
                     'its examples.')
  if Trait.READS_SHARE in _traits('algorithm', config.algorithm.algorithm) and config.algorithm.by_examples:
    raise ValueError(f'private_counts with algorithm={config.algorithm.algorithm} needs client_weighting=uniform: the '
                     'server reads which share of all examples takes part in a round.')
  if Trait.CLIENT_LEVEL not in _traits('privacy', privacy.privacy):
    _check_together(config, clients, min_workers, sites)


def _traits(field, value):
  row = catalogue.chosen(field, value)
  return frozenset() if row is None else row.traits


def _check_together(config, clients, min_workers, sites):
  """Sums over all clients but one, and over all, differ by the count of that one."""
  reason = ('two sums over different clients would tell the number of examples of those in one of them; or choose '
            'client-level privacy, under which no number of examples is told')
  if config.cohort.cohort_size < clients:
    raise ValueError(f'private_counts needs every client in every round, and cohort_size={config.cohort.cohort_size} '
                     f'takes some of {clients}: {reason}.')
  if late := [name for name in mechanisms.DEVICES if name in option.changed(config.cohort)]:
    raise ValueError(f'private_counts does not go with {late[0]}: {reason}.')
  if config.cohort.sampling == 'poisson':
    raise ValueError(f'private_counts does not go with sampling=poisson: {reason}.')
  if min_workers is not None and min_workers < sites:
    raise ValueError(f'private_counts does not go with min_workers={min_workers} of {sites}: {reason}.')


def check_site(most_examples: int | None, counts: Mapping[str, int]) -> None:
  """Refuses clients for which a plan has no room.

  Args:
    most_examples: The plan's bound; None: it has none.
    counts: Client -> number of its training examples.

  Raises:
    ValueError: A client has more; it is said at the site, and nowhere else.
  """
  for client, number in counts.items():
    if most_examples is not None and number > most_examples:
      raise ValueError(f'{client} has {number} training images, and the plan has room for most_examples='
                       f'{most_examples}: leave some out, or agree on a plan with a larger bound.')
