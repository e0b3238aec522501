"""A federation's run, rehearsed on this machine without any data: what each site will be asked for, in which order.

The experiment of the plan is built and runs two rounds, its clients on an executor of this machine behind a guard that
writes down what it is asked for (`runtime.worker.guard.recording`). A client's file is missing here, and counts as a
file without examples, so that nothing is trained; the computations are those of the run. Coordinator and sites
rehearse for themselves. That they find the same computations says that they have the same plan and software.
"""

import contextlib
import dataclasses
import pathlib
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np

from tff_vision import experiment, tasks
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.data import images as images_lib
from tff_vision.data import records
from tff_vision.experiment import evaluations, planning, training
from tff_vision.federation import images, surveying
from tff_vision.federation import plan as plan_lib
from tff_vision.learning import client_data
from tff_vision.privacy import plan as privacy_plan
from tff_vision.runtime.driver import runtimes
from tff_vision.runtime.worker import worker_process
from tff_vision.runtime.worker.guard import recording, service

COUNT, PRESENT, ROUND = 'asking for numbers of images', 'asking for files', 'a round of training'
VALIDATION, TEST = 'an evaluation on validation images', 'an evaluation on test images'
SURVEY = 'a survey of the training images'
_ROUNDS = 2
# Where the number of images changes no computation, any number does.
_EXAMPLES = 100
_NO_SECRET = bytes(32)
_MOST_EXAMPLES = 2**31 - 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rehearsal:
  """What a run asks of its sites.

  Attributes:
    sites: For each site, what its guard wrote down.
    privacy: The plan of privacy, which says what rounds cost; None: nothing is trained.
    hides: What the secure sum says of itself, as in report.json.
    examples: The number of training examples of each client, where computations or cost depend on it; empty: neither.
  """
  sites: Sequence[recording.Recording]
  privacy: privacy_plan.PrivacyPlan | None
  hides: Mapping[str, object] = dataclasses.field(default_factory=dict)
  examples: Sequence[int] = ()

  @property
  def computations(self) -> tuple[str, ...]:
    """The digests of all computations of all sites, sorted."""
    return tuple(sorted(set().union(*(site.computations for site in self.sites))))

  def cost(self, rounds: int, clients: Sequence[int]) -> float | None:
    """Returns the most that so many begun rounds cost an example of these clients, or one of them; None: no promise."""
    if self.privacy is None:
      return None
    found = self.privacy.most_ledger(rounds)
    if isinstance(found, ledger_lib.NoGuarantee):
      return None
    of_clients = found.per_client
    if len(of_clients) <= max(clients):
      return found.epsilon
    return max(of_clients[client].smallest_epsilon for client in clients)


def rehearse(plan: plan_lib.Plan, examples: Sequence[int] = ()) -> Rehearsal:
  """Runs the rounds; takes seconds to minutes, most of it building the computations.

  Args:
    examples: The number of training examples of each client; empty: not known.

  Raises:
    ValueError: The experiment cannot be run; the numbers are needed and not known.
  """
  known, population = counts(plan, examples), len(plan.clients)
  if number := plan.experiment().algorithm.personalize_epochs:
    raise ValueError(f'personalize_epochs={number} cannot be rehearsed, so that sites cannot approve it; set 0.')
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='tff_vision-rehearsal-')))
    made, place, sites = stack.enter_context(_opened(_with_own_key(plan, folder), folder))
    problem = _counted(made.problem, known)
    data = client_data.WorkerData(task=problem, folder=made.runtime.worker_data_dir)
    if problem.images.train.counted:
      with _noted(sites, COUNT):
        data.count(place)
    planned = planning.plan(made, problem, secret=_NO_SECRET)
    prepared = training.Training.prepare(made, planned, place, folder / 'client_states')
    state = prepared.begin()
    for round_num, cohort in enumerate(_cohorts(made, population), 1):
      with _noted(sites, PRESENT), place.cohort(cohort, population):
        data.present(cohort)
      with _noted(sites, ROUND):
        state = prepared.next(state, round_num, cohort).state
    evaluated = evaluations.of(made.config, planned.task, planned.plan, made.runtime, place, _NO_SECRET)
    for name, evaluate in ((VALIDATION, evaluated.validation), (TEST, evaluated.test)):
      if evaluate is not None:
        with _noted(sites, name):
          evaluate(prepared.weights(state), _ROUNDS)
    depends = made.config.secure.secure_sum != 'none' or len(planned.plan.example_counts)
    return Rehearsal(sites=sites, privacy=planned.plan, hides=prepared.secure_sum,
                     examples=tuple(known) if depends else ())


def rehearse_survey(plan: plan_lib.Plan) -> Rehearsal:
  """Runs the survey of a plan's sites, over a few blank images of its kind, for which nothing is trained.

  Raises:
    ValueError: The secure sum has no room.
  """
  with contextlib.ExitStack() as stack:
    folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix='tff_vision-rehearsal-')))
    plan = _with_own_key(plan, folder)
    spec = images.spec_of(plan.schema)
    blank = images_lib.Examples(np.zeros([2, *spec.shape], spec.dtype), np.zeros([2, *spec.label_shape],
                                                                                 spec.label_dtype))
    for client in range(len(plan.clients)):
      records.write(folder / records.file_name(client), blank)
    _, place, sites = stack.enter_context(_opened(plan, folder))
    with _noted(sites, SURVEY):
      surveying.survey(plan, place, folder=str(folder))
    return Rehearsal(sites=sites, privacy=None)


def named(plan: plan_lib.Plan, examples: Sequence[int] = ()) -> plan_lib.Plan:
  """Returns the plan with the digests of all its computations. Args, raises: as `rehearse`."""
  return dataclasses.replace(plan, computations=rehearse(plan, examples).computations)


@contextlib.contextmanager
def _opened(plan, folder) -> Iterator[tuple[experiment.Experiment, object, list[recording.Recording]]]:
  """Opens the runtime of the plan, with recording guards of this machine in place of the sites."""
  with contextlib.ExitStack() as stack:
    worker = worker_process.WorkerProcess(threads=1, max_concurrent_clients=None)
    stack.callback(worker.stop)
    worker.wait_until_serving()
    sites, addresses = [], []
    for site in plan.sites:
      sites.append(recording.Recording())
      guard = service.Guard(f'127.0.0.1:{worker.port}', sites[-1], site=site.name)
      addresses.append(f'127.0.0.1:{stack.enter_context(guard.served("127.0.0.1:0"))}')
    # Whatever folder the plan names: no file of this machine is read.
    runtime = dataclasses.replace(plan.run_by(), workers=tuple(addresses), worker_data_dir=str(folder / 'none'))
    (folder / 'plan.json').write_text(plan.to_json())
    made = experiment.from_config(plan.experiment(folder / 'plan.json'), runtime=runtime)
    planning.check(made)
    yield made, stack.enter_context(runtimes.open_runtime(runtime)), sites


def _with_own_key(plan, folder):
  """Returns the plan with a key holder of this machine, for which nobody else is asked."""
  secure = plan.config['secure']
  if secure['secure_sum'] != 'he_keyholder':
    return plan
  secure = secure | {'key_holder': None, 'key_holder_dir': str(folder / 'keys')}
  return dataclasses.replace(plan, config={**plan.config, 'secure': secure})


@contextlib.contextmanager
def _noted(sites, name):
  with contextlib.ExitStack() as stack:
    for site in sites:
      stack.enter_context(site.activity(name))
    yield


def _cohorts(made, population) -> list[list[int]]:
  """Returns cohorts as large as any of the run, with every client in one of them; at least two."""
  secure = made.config.secure
  size = population if secure.secure_sum == 'none' else min(population, secure.secure_clients_max)
  rounds = max(_ROUNDS, -(-population // size))
  return [sorted((size * number + step) % population for step in range(size)) for number in range(rounds)]


def counts(plan: plan_lib.Plan, examples: Sequence[int]) -> list[int]:
  """Returns the number of training examples of each client, of which some are assumed where none are given and the
  computations do not depend on them; nothing for a plan with private counts.

  Raises:
    ValueError: They are needed and not given, or given and not needed, or there cannot be so many.
  """
  population = len(plan.clients)
  if plan.most_examples is not None:
    if examples:
      raise ValueError('examples has no effect: with private_counts, nobody says how many examples there are.')
    return []
  if examples and not 0 < max(examples) <= _MOST_EXAMPLES:
    raise ValueError(f'examples must have a number above 0, and none above {_MOST_EXAMPLES}, found {max(examples)}.')
  if examples and len(examples) != population:
    raise ValueError(f'examples has {len(examples)} numbers, and the plan has {population} clients.')
  if not examples and plan.experiment().secure.secure_sum != 'none':
    raise ValueError('examples is missing: with a secure sum, what clients encode depends on the largest number of '
                     'training images; give that of every client, in the order of the plan.')
  return list(examples) or [_EXAMPLES] * population


def _counted(problem: tasks.Problem, counts: Sequence[int]) -> tasks.Problem:
  train = problem.images.train
  if not train.counted:  # There is no file here, and none is needed.
    apart = dataclasses.replace(train, together=False)
    return dataclasses.replace(problem, images=dataclasses.replace(problem.images, train=apart))
  clients = images_lib.CountedClients(copies=problem.images.train, counts=counts)
  return dataclasses.replace(problem, images=dataclasses.replace(problem.images, train=clients))


def names(plan: plan_lib.Plan, site: int, activities: Collection[str]) -> tuple[str, ...]:
  """Returns the names of the files of a site's clients that the activities read, as its executor sees them."""
  folder = plan.run_by().worker_data_dir.rstrip('/')
  readers = {'train': {COUNT, PRESENT, ROUND, SURVEY}, 'validation': {VALIDATION}, 'test': {TEST}}
  splits = [split for split, read_by in readers.items() if read_by & set(activities)]
  return tuple(f'{folder}/{records.file_name(client, split)}' for split in splits
               for client, of in enumerate(plan.site_of_clients) if of == site)


def numbers(texts: Sequence[str]) -> list[int]:
  """Returns the numbers of examples that a flag gives; raises ValueError for anything else."""
  if wrong := [text for text in texts if not text.strip().isdecimal()]:
    raise ValueError(f'examples must be whole numbers, found {wrong[0]!r}.')
  return [int(text) for text in texts]
