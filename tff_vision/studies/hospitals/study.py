"""Trains in every way of the comparison and measures each model at each hospital."""

import dataclasses
import datetime
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tff_vision import configs, seeds
from tff_vision.accounting import budget_file
from tff_vision.configs import budget_file_config, runtime_config
from tff_vision.data import images as images_lib
from tff_vision.data import preprocess
from tff_vision.learning import evaluation
from tff_vision.program import json_file
from tff_vision.report import origin
from tff_vision.runtime.driver import runtimes
from tff_vision.studies.hospitals import (
  claim,
  features,
  hospital_data,
  measures,
  report,
  study_config,
  training_ways,
  ways,
)


def run(images: images_lib.FederatedImages, config: configs.ExperimentConfig, study: study_config.StudyConfig,
        run_dir: pathlib.Path, *, keep_secrets: bool = False, show_training_data: bool = False,
        on_model: Callable[[str, float | None], None] = lambda key, auc: None,
        budget: budget_file_config.BudgetFileConfig = budget_file_config.BudgetFileConfig()  # noqa: B008  Frozen.
        ) -> Mapping[str, Any]:
  """Compares every way of training over the clients of `images`, and writes report.json and report.html.

  Args:
    images: Images of two classes; every client is a hospital.
    config: Model, training and seed that the ways share; settings specific to a way replace those in `config`.
    study: The settings of the comparison.
    run_dir: The folder of this comparison, or a new one. If the comparison is finished and its models are wiped, its
      report is returned.
    keep_secrets: Whether to keep the models in run_dir/secret; otherwise they are wiped at the end. Most models have no
      privacy guarantee and are trained on the same images for which the private ways give one.
    show_training_data: Whether to publish each hospital's prevalence and the counts over its training images.
    on_model: Called with the key of each model and None before it is trained, and then with its AUC on the test images
      of the hospital where it is worst.
    budget: The budget that is charged for the private ways; the other ways give no guarantee.

  Raises:
    ValueError: The images or the folder are unsuitable.
  """
  hospital_data.check(images)
  began = datetime.datetime.now(datetime.UTC)
  if claim.is_finished(run_dir):
    with claim.claimed(run_dir, config, study):
      claim.wipe(run_dir)
    return json_file.read(run_dir / 'report.json')
  images, builder = features.trained_part(images, config.model.model)
  hospitals = hospital_data.divide(images, validation_share=study.validation_share, seed=config.program.seed)
  model = builder(
      preprocess.input_shape(images.preprocessing, images.spec.shape), len(images.class_names))
  evaluator = evaluation.Evaluator(model, preprocessing=images.preprocessing)
  started, measured = time.monotonic(), {}
  with claim.claimed(run_dir, config, study), runtimes.open_runtime(runtime_config.RuntimeConfig()) as place:
    trainer = training_ways.Trainer(hospitals, config, study, builder=builder, place=place,
                                    folder=claim.secrets(run_dir),
                                    budget=budget)
    trainer.check_budget()
    scores = {key: _timed(key, trainer, hospitals, evaluator, on_model)
              for key in (*map(ways.alone, hospitals.names), *ways.WAYS)}
    ledgers = {key: trainer.ledger(key).to_json() for key, way in ways.WAYS.items() if way.private}
    hidden = {key: dict(trainer.describe_secure_sum(key)) for key, way in ways.WAYS.items() if way.encrypted}
  for number, name in enumerate(hospitals.names):
    test = hospitals.test[number].y
    drawn = measures.resamples(test, number=study.bootstraps, seed=seeds.derive(config.program.seed, 'bootstrap', name))
    for key, of_hospitals in scores.items():
      validation, tested = of_hospitals[number]
      threshold = measures.best_threshold(validation, hospitals.validation[number].y)
      found = measures.measure(drawn, tested, threshold=threshold)
      found |= measures.difference(drawn, tested, scores[ways.REFERENCE][number][1])
      measured.setdefault(key, {})[name] = found
  content = {
      'origin': origin.describe(run_dir, began),
      'config': dataclasses.asdict(config), 'study': dataclasses.asdict(study), 'dataset': images.name,
      'notes': [note for note in images.notes if show_training_data or not isinstance(note, images_lib.Counted)],
      'class_names': list(images.class_names), 'hospitals': hospitals.describe(prevalence=show_training_data),
      'ways': {key: {'title': title(key), 'hospitals': one} for key, one in measured.items()},
      'privacy': ledgers, 'secure_sum': hidden, 'findings': findings(hospitals.names, measured),
      'parameters': model.count_params(), 'seconds': time.monotonic() - started}
  if budget.budget_file is not None:
    content['budget_file'] = {**budget_file.BudgetFile(budget).totals().to_dict(), 'file': budget.budget_file}
  with claim.claimed(run_dir, config, study):
    report.write_html(run_dir / 'report.html', content)
    json_file.write(run_dir / 'report.json', content)
    if not keep_secrets:
      claim.wipe(run_dir)
  return content


def number_of_models(hospitals: int) -> int:
  """Returns how many models a comparison over so many hospitals trains."""
  return hospitals + len(ways.WAYS)


def title(key: str) -> str:
  """Returns the name of a way in words."""
  return ways.WAYS[key].title if key in ways.WAYS else f'{key.removeprefix("alone:")} alone'


def findings(names: list[str], measured: Mapping[str, Mapping[str, Mapping]]) -> dict[str, Any]:
  """Returns the main findings of the comparison.

  `behind_pooled`: the largest amount, over hospitals, by which a way's AUC is below that of the pooled model.
  `ahead_of_foreign`: the smallest amount by which it is above that of the best model that another hospital trained
  alone.
  """
  auc = lambda key, name: measured[key][name]['auc']
  best_foreign = {name: max(auc(ways.alone(other), name) for other in names if other != name) for name in names}
  return {key: {'behind_pooled': max(auc(ways.REFERENCE, name) - auc(key, name) for name in names),
                'ahead_of_foreign': min(auc(key, name) - best_foreign[name] for name in names)} for key in ways.WAYS}


def _timed(key, trainer, hospitals, evaluator, on_model):
  """Returns for each hospital the scores of validation and test images: the second class's logit minus the first's.

  Raises:
    ValueError: Training has diverged.
  """
  on_model(key, None)
  personal = key in ways.WAYS and ways.WAYS[key].personal
  found = []
  for number in range(len(hospitals.names)):
    weights = trainer.personal(number) if personal else trainer.model(key)
    weights.assign_weights_to(evaluator.model)
    logits = [evaluator.logits(part[number].x).astype(np.float64) for part in (hospitals.validation, hospitals.test)]
    if not all(np.isfinite(part).all() for part in logits):
      raise ValueError(f'{title(key)}: training has diverged, the model answers with no numbers; choose a smaller '
                       f'{"private" if ways.is_private(key) else "client"}_learning_rate.')
    found.append([part[:, 1] - part[:, 0] for part in logits])
  on_model(key, min(measures.auc(tested, hospitals.test[number].y) for number, (_, tested) in enumerate(found)))
  return found
