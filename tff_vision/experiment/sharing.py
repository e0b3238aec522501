"""Which experiments may share a learning process: those for which the same one would be built."""

import dataclasses

import numpy as np

from tff_vision import assembly, configs
from tff_vision.data import images as images_lib
from tff_vision.experiment import definition, planning
from tff_vision.learning import attacked_work

# Section of a config -> the fields that the process does not depend on; None: it depends on no field of the section.
_DATA_ONLY = {'data': None, 'cohort': None, 'attack': None,
              'program': ('seed', 'rounds_per_evaluation', 'select_best', 'patience'),
              'aggregation': ('contribution_metric', 'contribution_permutations', 'contribution_tolerance')}
_ANEW = 'build one for this experiment'
_OTHER_SIZES = f'{{}}: the process counts on the numbers of the clients\' examples, which are others here; {_ANEW}.'


def check(made: definition.Definition, planned: planning.Planned, *, built: definition.Definition,
          built_for: planning.Planned, parts: assembly.Parts) -> None:
  """Refuses a process that was built for a different experiment.

  Args:
    built: The experiment of the process, `built_for` its plan, and `parts` the process.

  Raises:
    ValueError: Names the difference.
  """
  for name in configs.sections():
    mine, theirs = (_fields(name, getattr(one.config, name)) for one in (made, built))
    if differing := sorted(field for field in mine if mine[field] != theirs[field]):
      raise ValueError(f'like: the process was built for another {differing[0]}; {_ANEW}.')
  both = [one.task.images for one in (planned, built_for)]
  check_kind(both[0], both[1], 'like')
  attacks = [one.config.attack.attack in attacked_work.UPDATE_ATTACKS for one in (made, built)]
  if attacks[0] != attacks[1]:
    raise ValueError(f'like: the process was built for another attack; {_ANEW}.')
  check_counts(both[0], both[1], 'like', parts)
  # Noise and the bounds of hidden sums depend on the number of examples of every client.
  sizes = [part.train.sizes for part in both]
  if planned.plan.built != built_for.plan.built:
    raise ValueError(f'like: noise and bounds of privacy={made.config.privacy.privacy} follow from clients, '
                     f'participation and seed, and the process has those of other ones; {_ANEW}.')
  if made.config.promises and not np.array_equal(sizes[0], sizes[1]):
    raise ValueError(_OTHER_SIZES.format('like'))


def check_kind(mine: images_lib.FederatedImages, built_for: images_lib.FederatedImages, what: str) -> None:
  """Refuses images of another kind than a process was built for; `what` was called.

  Raises:
    ValueError: Shape, type, labels, classes, range or preprocessing differ.
  """
  if mine.spec != built_for.spec or mine.preprocessing != built_for.preprocessing:
    raise ValueError(f'{what}: the process was built for images of another kind; {_ANEW}.')


def check_counts(mine: images_lib.FederatedImages, built_for: images_lib.FederatedImages, what: str,
                 parts: assembly.Parts) -> None:
  """Refuses images of other numbers of clients or examples, where the process counts on them; as `check_kind`.

  Raises:
    ValueError: The numbers differ.
  """
  if parts.numbered and len(mine.train) != len(built_for.train):
    raise ValueError(f'{what}: the process was built for another number of clients; {_ANEW}.')
  # A server that reads the share of the clients' weights depends only on the total.
  sizes = [images.train.sizes for images in (mine, built_for)]
  if parts.reads_share and (len(sizes[0]), sizes[0].sum()) != (len(sizes[1]), sizes[1].sum()):
    raise ValueError(_OTHER_SIZES.format(what))


def _fields(section, found):
  """Returns the fields of a section that a process depends on."""
  ignored = _DATA_ONLY.get(section, ())
  return {} if ignored is None else {field.name: getattr(found, field.name) for field in dataclasses.fields(found)
                                     if field.name not in ignored}
