"""The best model on validation examples in a simulation, from arrays; what it needs and what it does not go with."""

import dataclasses

import numpy as np
import pytest

import tff_vision as tv
from tests import tiny
from tests.documents import report_paths
from tff_vision import configs
from tff_vision import experiment as experiment_lib
from tff_vision.accounting import gdp
from tff_vision.data import images


def arrays(seed, size=40):
  rng = np.random.default_rng(seed)
  y = rng.integers(0, 3, size)
  return np.clip(rng.normal(60 + 70 * y[:, None, None], 30, (size, 4, 4)), 0, 255).astype(np.uint8), y


def made(found, **parts):
  fields = {'participation': tv.Fixed(2), 'client': tv.Client(tv.sgd(1.0), epochs=1, batch_size=4), 'rounds': 6,
            'rounds_per_evaluation': 1, 'seed': 4, 'select_best': 'loss'}
  return tv.Experiment(tv.Task(found, model='linear'), **(fields | parts))


def test_the_kept_model_is_that_of_the_best_round(tff_runtime, tmp_path):
  found = tv.data.from_arrays({'a': arrays(1), 'b': arrays(2), 'c': arrays(3)}, test=arrays(9),
                              validation={'a': arrays(4), 'c': arrays(5, 7)}, class_names=tiny.CLASSES)
  assert [found.validation.num_examples(client) for client in range(3)] == [40, 0, 7]
  experiment = made(found)
  run = experiment.run(tmp_path / 'run')
  losses = [record['validation']['loss'] for record in run.report['history']]
  best = 1 + int(np.argmin(losses))
  assert run.report['selection'] == {'metric': 'loss', 'round': best, 'stopped_early': False}
  assert all(record['validation']['examples'] == 47 for record in run.report['history'])
  # The same rounds by hand, as far as the best, and its loss by the driver's own evaluator.
  training = dataclasses.replace(experiment).prepare(tff_runtime)
  state = training.begin()
  for round_num in range(1, best + 1):
    state = training.next(state, round_num).state
  for ours, theirs in zip(run.model.get_weights(), training.weights(state).trainable, strict=True):
    np.testing.assert_array_equal(ours, theirs)
  training.weights(state).assign_weights_to(training.evaluator.model)
  whole = images.HeldOut(examples=images.Examples(*(np.concatenate([getattr(found.validation.examples(client), part)
                                                                    for client in range(3)]) for part in 'xy')),
                         clients=[])
  exact = training.evaluator.evaluate(whole)['evaluation']
  assert losses[best - 1] == pytest.approx(exact['loss'], abs=1e-4)
  assert run.report['history'][best - 1]['validation']['accuracy'] == pytest.approx(exact['accuracy'], abs=1e-9)
  assert run.evaluation == training.evaluate(state)['evaluation']


def test_a_metric_that_no_round_could_measure_is_refused_before_the_first(tmp_path):
  """No model was better than the first, which was kept, and patience ended training after it."""
  def of_classes(*classes):
    y = np.resize(classes, 12)
    return np.full((12, 4, 4), 20, np.uint8) + 100 * y[:, None, None].astype(np.uint8), y

  clients = {'a': of_classes(0, 1), 'b': of_classes(1, 0)}
  for validation, refused in ((of_classes(1), True), (of_classes(0, 1), False)):
    found = tv.data.from_arrays(clients, test=of_classes(0, 1), validation={'a': validation})
    run = made(found, select_best='auc', rounds=2).run
    if not refused:
      assert run(tmp_path / 'run').report['selection']['metric'] == 'auc'
      continue
    with pytest.raises(ValueError, match=r'^select_best=auc cannot be measured on the 12 validation examples'):
      run(tmp_path / 'refused')


def test_what_it_needs_is_said(tmp_path):
  for parts, said in (({}, 'has none: give client_validation_fraction'),
                      ({'algorithm': 'ditto'}, 'models of the clients\' own'),
                      ({'privacy': tv.ClientGaussian(clip_norm=1.0, noise_multiplier=1.0),
                        'participation': tv.Poisson(2)}, 'needs evaluation_noise_multiplier')):
    with pytest.raises(ValueError, match=said):
      made(tiny.federated_images(), **parts).run(tmp_path / 'run')
  other = dataclasses.replace(tiny.federated_images(), validation=tiny.federated_images(sizes=(3, 3)).train)
  with pytest.raises(ValueError, match='of other clients than it trains on'):
    made(other).run(tmp_path / 'run')
  with pytest.raises(ValueError, match='select_best=auc is not measured'):
    made(dataclasses.replace(other, validation=other.train), select_best='auc').run(tmp_path / 'run')
  assert not (tmp_path / 'run').exists()
  with pytest.raises(ValueError, match='patience=2 has no effect without select_best'):
    made(other, select_best=None, patience=2)


@pytest.mark.ci
def test_under_client_level_privacy_evaluations_have_noise_and_are_in_the_ledger(tff_runtime, tmp_path):
  """Six clients, each with ten validation examples or more: with little noise, the mean of their accuracies."""
  names = 'abcdef'
  found = tv.data.from_arrays({name: arrays(number) for number, name in enumerate(names)}, test=arrays(9),
                              validation={name: arrays(20 + number, 10 * (number + 1))
                                          for number, name in enumerate(names)}, class_names=tiny.CLASSES)
  privacy = dataclasses.replace(tv.ClientGaussian(clip_norm=1.0, noise_multiplier=1.0, delta=1e-2),
                                evaluation_noise_multiplier=0.05)
  experiment = made(found, privacy=privacy, participation=tv.Poisson(3), rounds=2, select_best='accuracy')
  run = experiment.run(tmp_path / 'run', keep_secrets=True)
  assert not report_paths.undocumented(run.report)
  own, whole = run.report['evaluation_privacy'], run.report['privacy']
  assert own['unit'] == whole['unit'] == 'client' and own['rounds'] == 2
  assert own['epsilon'] == pytest.approx(gdp.epsilon(2**0.5 / 0.05, 1e-2)) and own['epsilon'] < whole['epsilon']
  assert whole['evaluation_noise_multiplier'] == 0.05
  last = run.report['history'][-1]['validation']
  assert set(last) == {'accuracy', 'examples'}
  assert last['examples'] == pytest.approx(6, abs=6 * 0.05 * 1.2)  # Each client counts as one example.
  if run.report['selection']['round'] == 2:
    held = [found.validation.examples(client) for client in range(6)]
    exact = [np.mean(np.argmax(run.model(one.x), axis=1) == one.y) for one in held]
    assert last['accuracy'] == pytest.approx(np.mean(exact), abs=0.1)


def test_examples_that_are_kept_back_for_nothing_are_named():
  data = configs.DataConfig(dataset='digits', partition='iid', num_clients=2, client_validation_fraction=0.25)
  for select_best, said in ((None, True), ('accuracy', False)):
    config = configs.ExperimentConfig(data=data, model=configs.ModelConfig(model='linear'),
                                      cohort=configs.CohortConfig(cohort_size=2),
                                      program=configs.ProgramConfig(select_best=select_best))
    notes = experiment_lib.from_config(config).problem.images.notes
    assert any('client_validation_fraction=0.25 keeps examples back that' in note for note in notes) == said
