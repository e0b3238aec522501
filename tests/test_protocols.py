"""Every class that a loop takes for a process, for clients' data or for a place says so, and keeps to it."""

import ast
import dataclasses
import importlib
import inspect
import pathlib

import numpy as np
import pytest
import tensorflow_federated as tff
import tree

from tests import tiny
from tff_vision import assembly, configs, protocols, told
from tff_vision.aggregation import secured
from tff_vision.configs import runtime_config
from tff_vision.learning import learning_process
from tff_vision.privacy import plan as plan_lib
from tff_vision.secure import hidden_sum, hidden_vector

ROOT = pathlib.Path(__file__).parent.parent
KINDS = (protocols.Process, protocols.ClientData, protocols.Place, protocols.Site)


def shapes():
  """Yields (module, class node) of the library."""
  for path in sorted((ROOT / 'tff_vision').rglob('*.py')):
    if path.name != 'protocols.py':
      module = '.'.join(path.relative_to(ROOT).with_suffix('').parts)
      yield from ((module, node) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef))


def declared():
  """Returns the library's classes that declare one of the protocols, by reading their bases."""
  found = []
  for module, node in shapes():
    if any(isinstance(base, ast.Attribute) and isinstance(base.value, ast.Name) and base.value.id == 'protocols'
           for base in node.bases):
      found.append((module, node.name))
  return found


def test_nothing_poses_as_what_it_does_not_declare():
  """By the methods that it has, without importing it."""
  known = dict.fromkeys(declared())
  assert len(known) >= 14
  for module, node in shapes():
    methods = {part.name: [argument.arg for argument in part.args.args] for part in node.body
               if isinstance(part, ast.FunctionDef)}
    assigned = {target.attr for part in ast.walk(node) if isinstance(part, ast.Assign) for target in part.targets
                if isinstance(target, ast.Attribute)}
    poses = ({'get_model_weights', 'set_model_weights'} & {*methods, *assigned}
             or {'with_parties', 'take_faults'} <= set(methods)
             or methods.get('request') == ['self', 'client', 'round_num'])
    assert not poses or (module, node.name) in known, f'{module}.{node.name} declares no protocol'


@pytest.mark.parametrize('module, name', declared(), ids=lambda part: part.rsplit('.', 1)[-1])
def test_every_method_has_the_arguments_and_the_result_of_its_protocol(module, name):
  found = getattr(importlib.import_module(module), name)
  assert not inspect.isabstract(found)
  kinds = [kind for kind in (*KINDS, protocols.ComposedProcess, protocols.BuildProcess) if kind in found.__mro__]
  assert kinds
  for kind in kinds:
    for method, ours in vars(kind).items():
      if not inspect.isfunction(ours) or method in ('__init__', '__subclasshook__'):
        continue
      theirs = inspect.getattr_static(found, method)
      if isinstance(theirs, property):
        continue
      theirs = inspect.unwrap(theirs)
      assert list(inspect.signature(theirs).parameters) == list(inspect.signature(ours).parameters), (method, kind)
      assert 'return' in theirs.__annotations__, f'{name}.{method}'


RUNS = {
    'plain': {},
    'kept': {'algorithm': configs.AlgorithmConfig(algorithm='scaffold')},
    'late': {'algorithm': configs.AlgorithmConfig(algorithm='fedbuff'),
             'cohort': configs.CohortConfig(cohort_size=3, over_selection=1.4)},
    'attacked, compressed': {'attack': configs.AttackConfig(attack='sign_flip', attack_fraction=0.5),
                             'aggregation': configs.AggregationConfig(compression='top_k', top_k_fraction=0.5)},
    'masks': {'secure': configs.SecureConfig(secure_sum='masks', secure_clients_max=4, secure_range=8.0),
              'algorithm': configs.AlgorithmConfig(algorithm='feddyn')},
    'noise under masks': {
        'secure': configs.SecureConfig(secure_sum='masks', secure_clients_max=4),
        'cohort': configs.CohortConfig(sampling='poisson', cohort_size=3),
        'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=0.1, noise_multiplier=1.0, delta=0.1)},
}
# What follows the model in a server's state: names and types of the leaves. It is a file format: checkpoints of version
# 0.2.0 hold it.
_STATES = {
    'plain': ['finalizer/rounds int32'],
    'kept': ['finalizer/algorithm/0 float32', 'finalizer/algorithm/1 float32', 'finalizer/cohort_weight float32',
             'finalizer/rounds int32'],
    'masks': ['aggregator/opened_sum float32', 'finalizer/algorithm/0 float32', 'finalizer/algorithm/1 float32',
              'finalizer/cohort_weight float32', 'finalizer/rounds int32'],
    'noise under masks': [
        'aggregator/mechanism/clip_norm float32', 'aggregator/mechanism/round int64',
        'aggregator/mechanism/server_secret_key uint32', 'aggregator/summing/opened_sum float32',
        'finalizer/rounds int32'],
}


def assembled(name, place, folder):
  task = tiny.task(client_epochs=1)
  config = configs.ExperimentConfig(**{'cohort': configs.CohortConfig(cohort_size=4), **RUNS[name]})
  plan = plan_lib.build_plan(config.privacy, config.cohort, population=4, rounds=3, seed=0, client=config.client,
                             max_staleness=2 if name == 'late' else None).for_secure_sum(config.secure)
  return task, plan, assembly.assemble(config, task, plan, runtime_config.RuntimeConfig(), folder, place)


def leaves(state):
  """Returns the name, type and rank of each leaf, and whether it is a sum that is open."""
  return [('/'.join(map(str, path)), np.asarray(leaf).dtype, np.shape(leaf))
          for path, leaf in tree.flatten_with_path(state)]


@pytest.mark.slow
@pytest.mark.parametrize('name', RUNS)
def test_every_process_keeps_the_contract(tff_runtime, tmp_path, name):
  task, plan, parts = assembled(name, tff_runtime, tmp_path / 'states')
  process, data = parts.process, parts.data
  assert protocols.Process in type(process).__mro__ and protocols.ClientData in type(data).__mro__
  assert process.sent_length == (2 if name == 'kept' else 1) * 51
  start = process.set_model_weights(process.initialize(), task.initial_weights())
  for ours, theirs in zip(process.get_model_weights(start).trainable, task.initial_weights().trainable, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  if name in _STATES:
    found = [f'{path} {kind}' for path, kind, _ in leaves(start)
             if not path.startswith(('global_model_weights', 'finalizer/optimizer')) and 'secret_buffers' not in path]
    assert sorted(found) == _STATES[name]
  before = tree.map_structure(np.array, start)
  cohort = data.present([int(client) for client in plan.cohort(1)] if name == 'late' else range(3))
  output = process.next(start, [data.request(client, 1) for client in cohort])
  assert isinstance(output, protocols.RoundOutput) and output.kept is None, 'what clients keep goes no further'
  assert list(output.metrics) == ['client_work', 'aggregator', 'finalizer']
  tree.map_structure(np.testing.assert_array_equal, before, start)  # A round that is run again begins as the first did.
  assert leaves(output.state) == leaves(start), 'nothing of an open sum stays'
  moved = [np.abs(ours - theirs).max() for ours, theirs in zip(
      process.get_model_weights(output.state).trainable, task.initial_weights().trainable, strict=True)]
  assert max(moved) > 1e-3
  # Nobody came: the server's step is taken on nothing.
  alone = process.next(output.state, [])
  assert alone.kept is None and leaves(alone.state) == leaves(start)


def test_a_round_over_a_part_of_a_cohort_leaves_the_absent_as_they_are():
  output = protocols.RoundOutput('state', {}, ['a', 'c'])
  assert output.over([0, 2], 4).kept == ['a', None, 'c', None] and output.kept == ['a', 'c']
  assert dataclasses.replace(output, kept=None).over([0, 2], 4).kept is None
  with pytest.raises(ValueError):
    output.over([0], 4)


class Beside(tff.aggregators.UnweightedAggregationFactory):
  """A mechanism's factory that keeps something beside the state of its sum, and does not say where that is."""

  def __init__(self, sum_factory):
    self._sum_factory = sum_factory

  def create(self, value_type):
    inner = self._sum_factory.create(value_type)

    @tff.federated_computation
    def initialize():
      return tff.federated_zip((inner.initialize(), tff.federated_value(0, tff.SERVER)))

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      output = inner.next(state[0], value)
      return tff.templates.MeasuredProcessOutput(
          tff.federated_zip((output.state, state[1])), output.result, output.measurements)

    return tff.templates.AggregationProcess(initialize, next_fn)


def test_a_sum_is_opened_where_its_factory_says_and_nowhere_else():
  """A state that looks like an open sum elsewhere is let alone; a factory that does not say where is refused."""
  class Bounded(plan_lib.NoPrivacy):
    update_bound = 1.0

    def aggregator(self, sum_factory):
      return sum_factory and Beside(sum_factory)

  task = tiny.task()
  build = lambda **parts: learning_process.build_process(
      task, algorithm=configs.AlgorithmConfig(), client=task.client, server=configs.ServerConfig(), **parts)
  with pytest.raises(ValueError, match='does not keep the state of its sum in its own, where PLACE_OF_SUM says'):
    secured.build_process(configs.SecureConfig(secure_sum='masks'), Bounded(sampler=None), build,
                          tells=learning_process.tells(task, configs.AlgorithmConfig()))

  state = {'summing': {'opened_sum': 0}, 'other': {'opened_sum': 1}}
  assert hidden_sum._replaced(state, ('summing', 'opened_sum'), 7) == {
      'summing': {'opened_sum': 7}, 'other': {'opened_sum': 1}}
  assert state['summing'] == {'opened_sum': 0}


def test_a_mechanism_that_bounds_updates_and_adds_nothing_up_is_refused():
  class Half(plan_lib.NoPrivacy):
    update_bound = 1.0

  with pytest.raises(ValueError, match='Half has update_bound=1.0 and an aggregator .*NO_AGGREGATOR'):
    secured.build_process(configs.SecureConfig(secure_sum='masks'), Half(sampler=None), None,
                          tells=told.Told(largest_weight=1.0, quantities={told.Measured.EXACT: {}}, summary=dict))


def test_the_slots_of_a_vector_by_hand():
  """Weight and numbers come first, the update is weighed, and the mean reads the share of the weights last."""
  class Encoding:
    value_bits = 16

  vector = hidden_vector.HiddenVector(encoding=Encoding(), value_bits=16, largest_weight=40.0, quantities={
      'right': told.whole(40)}, summary=lambda sums: {'accuracy': sums['right'] / sums['clients']})
  import tensorflow as tf
  sent = [vector.sent(tf.constant(update), {'weight': tf.constant(weight), 'numbers': {'right': tf.constant(right)}})
          for update, weight, right in (([4.0, 8.0], 10.0, 3.0), ([2.0, 0.0], 40.0, 5.0))]
  np.testing.assert_array_equal(sent[0]['beside'], [10, 3])
  np.testing.assert_array_equal(sent[0]['update'], [1, 2])
  total = np.sum([np.concatenate([one['beside'], one['update']]) for one in sent], axis=0)
  opened = vector.opened(total, 2)
  np.testing.assert_array_equal(opened.vector, np.float32([3, 2, 50 / 40]))
  assert opened.weight == 50 and opened.measured == {'accuracy': 4.0} and vector.length(2) == 4

  alone = hidden_vector.HiddenVector(encoding=Encoding(), value_bits=16)
  assert not alone.weighs and alone.length(2) == 2 and alone.vector_encoding is alone.encoding
  np.testing.assert_array_equal(alone.sent(tf.constant([4.0, 8.0]), tf.constant(10.0)), [4, 8])
  np.testing.assert_array_equal(alone.opened(np.array([4.0, 8.0]), 3).vector, [4, 8])
