"""Trains the models that hospitals compare; ways that differ in data alone share one TFF process."""

import dataclasses
import functools
import os
import pathlib
import secrets
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow_federated as tff

from tff_vision import configs, experiment, models, secret_files, values
from tff_vision.accounting import budget_charge
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.configs import budget_file_config
from tff_vision.learning import client_data, local_training
from tff_vision.learning import personal as personal_lib
from tff_vision.runtime.driver import local
from tff_vision.studies.hospitals import hospital_data, study_config, ways

Weights = tff.learning.models.ModelWeights


class Trainer:
  """Trains each way in an open runtime; finished models are kept in files, so that a killed comparison can continue."""

  def __init__(self, hospitals: hospital_data.Hospitals, config: configs.ExperimentConfig,
               study: study_config.StudyConfig, *,
               builder: models.ModelBuilder, place: local.LocalContext, folder: pathlib.Path,
               budget: budget_file_config.BudgetFileConfig):
    """Args: see `study.run`; `builder` makes the model, clients compute in `place`, `folder` keeps the models."""
    self._budget = budget
    self._hospitals = hospitals
    self._config = config
    self._study = study
    self._builder = builder
    self._place = place
    self._folder = folder
    self._built = {}

  def model(self, key: str) -> Weights:
    """Returns the model of a way with one model for all hospitals: a key of `ways.WAYS`, or from `ways.alone`."""
    return self._kept(key, lambda: self._charged(key) if ways.is_private(key) else self._trained(key))

  def personal(self, hospital: int) -> Weights:
    """Returns the federated model after further epochs on one hospital's images."""
    return self._kept(f'personal:{self._hospitals.names[hospital]}', lambda: self._personal[hospital])

  def check_budget(self) -> None:
    """Refuses private ways that must still be trained but exceed the budget over several runs.

    Raises:
      ValueError: The budget is too small; the message holds the numbers. Nothing is charged.
    """
    charges = []
    try:
      for key in (key for key in ways.WAYS if ways.is_private(key) and not self._file(key).exists()):
        charges.append(self._charge(key))
        charges[-1].reserve(self._spent(key))
    finally:
      for one in charges:
        one.release()

  def ledger(self, key: str) -> ledger_lib.Statement:
    """Returns the privacy cost of a private way for each hospital."""
    trainer = self._way(key)
    return trainer.plan.final_ledger(trainer.rounds)

  def describe_secure_sum(self, key: str) -> Mapping:
    """Returns what an encrypted way hides, and from whom."""
    return self._way(key).secure_sum

  @functools.cached_property
  def _personal(self):
    """Returns the federated model after further training at each hospital."""
    trainer, shared = self._way('fedavg'), self.model('fedavg')
    tuned = personal_lib.fine_tuned(
        trainer.task, local_training.LocalOptimization(client=trainer.task.client), shared,
        data=client_data.SentData(task=trainer.task), epochs=self._study.personal_epochs,
        round_num=trainer.rounds + 1, cohort=self._place.cohort)
    return dict(tuned)

  def _charged(self, key):
    """Trains a private way; each time it is trained, the budget over several runs is charged."""
    charged, spent = self._charge(key), self._spent(key)
    charged.reserve(spent)
    weights = self._trained(key)
    charged.settle(spent)
    return weights

  def _spent(self, key):
    trainer = self._way(key)
    return trainer.plan.spent(trainer.rounds)

  def _charge(self, key):
    return budget_charge.Charge(self._budget, run=secrets.token_bytes(32),
                                data=experiment.fingerprint(self._hospitals.images),
                                delta=self._way(key).plan.delta,
                                label=f'{ways.WAYS[key].title} in run_dir={self._folder}')

  def _trained(self, key):
    members = range(len(self._hospitals.names))
    if key == 'pooled':
      return _rounds(self._way('fedavg').with_images(self._hospitals.pooled), [0])
    if key.startswith('alone:'):
      return _rounds(self._way('fedavg'), [self._hospitals.names.index(key.removeprefix('alone:'))])
    return _rounds(self._way(key), members)

  def _way(self, key):
    if key not in self._built:
      made = dataclasses.replace(experiment.from_config(self.config_of(ways.WAYS[key])),
                                 task=values.Task(self._hospitals.images, model=self._builder))
      self._built[key] = made.prepare(self._place, client_states=self._folder / 'client_states')
    return self._built[key]

  def config_of(self, way: ways.Way) -> configs.ExperimentConfig:
    """Returns the experiment of a way: the shared experiment with the settings specific to the way."""
    base, study = self._config, self._study
    changes = {
        'algorithm': dataclasses.replace(base.algorithm, algorithm=way.algorithm),
        'cohort': values.Fixed(len(self._hospitals.names))}
    if way.private:
      changes['privacy'] = configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=study.private_clip_norm,
                                                 target_epsilon=study.private_epsilon)
      changes['client'] = dataclasses.replace(base.client, client_learning_rate=study.private_learning_rate,
                                              batch_size=study.private_batch_size, client_epochs=1)
      changes['program'] = dataclasses.replace(base.program, rounds=study.private_rounds)
    if way.encrypted:
      changes['secure'] = configs.SecureConfig(secure_sum='he')
    return dataclasses.replace(base, **changes)

  def _file(self, key):
    return self._folder / 'models' / f'{_file_name(key)}.npz'

  def _kept(self, key, train):
    path = self._file(key)
    if not path.exists():
      weights = train()
      secret_files.make_folder(path.parent)
      part = path.with_suffix('.part.npz')
      with secret_files.opened(part, 'wb') as file:
        np.savez(file, *weights.trainable, *weights.non_trainable, split=len(weights.trainable))
      os.replace(part, path)
    with np.load(path) as held:
      values = [held[f'arr_{i}'] for i in range(len(held.files) - 1)]
      split = int(held['split'])
    return Weights(trainable=values[:split], non_trainable=values[split:])


def _rounds(trainer, members: Sequence[int]):
  """Returns the model that `members` train together."""
  state = trainer.begin()
  for round_num in range(1, trainer.rounds + 1):
    state = trainer.next(state, round_num, members).state
  return trainer.weights(state)


def _file_name(key):
  """Returns the file name of a model; the names of different hospitals differ."""
  return key.replace(':', '-', 1).replace('%', '%25').replace('/', '%2F')
