"""Writes the model card: training data, privacy statements, quality by client, and limits.

After Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. The card is made from report.json, so it can state
nothing that the run did not record.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import catalogue, configs, plugins, tasks, wording
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.data import images as images_lib
from tff_vision.learning import evaluation
from tff_vision.program import json_file, released, whole_file
from tff_vision.report import declared, privacy_profile, shared_model
from tff_vision.report import number_format as numbers

TEMPLATE = pathlib.Path(__file__).with_name('model_card.md.j2')
MAX_CLIENTS = 50
_SETTINGS = {'algorithm': ('algorithm',), 'client': ('client_optimizer', 'client_learning_rate', 'client_epochs',
                                                     'batch_size'),
             'server': ('server_optimizer', 'server_learning_rate'), 'cohort': ('sampling', 'cohort_size'),
             'program': ('rounds', 'seed')}
# For these sections, the card also shows every setting that is not the default.
_FURTHER = ('algorithm', 'client', 'server', 'schedule', 'cohort', 'aggregation')
_OF_CLASS = ('precision', 'recall', 'f1', 'support')
_PHANTOMS = 'synthetic_'
_COARSE = 0.1  # Of the deviation of answers.
_ANSWERS = {'classification': 'Its probabilities are uncalibrated',
            'anomaly': 'Its scores are no probabilities of a defect',
            'ordinal': 'Its probabilities are uncalibrated',
            'regression': 'Its numbers are estimates and come with no error bar',
            'detection': 'The scores of its boxes are no probabilities',
            'segmentation': 'Its probabilities are uncalibrated, and outlines are as coarse as its pixels',
            'embedding': 'That two images are alike to it is no proof that they show the same'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
  """What only the owner of a model can say of it; None: not stated.

  Attributes:
    owner: Who answers for the model, and where to ask.
    licence: Under which terms others may use it.
    intended_use: What it is for, and for whom.
  """
  owner: str | None = None
  licence: str | None = None
  intended_use: str | None = None


def describe(report: Mapping[str, Any], task: tasks.Problem, evaluator: evaluation.Evaluator,
             formats: Mapping[str, Mapping[str, Any]], *, about: About | None = None) -> dict[str, Any]:
  """Returns the content of model_card.json.

  Args:
    report: The content of the run's report.json.
    task: The task of the run.
    evaluator: Holds the run's final weights.
    formats: The facts of each format, as `deployment.deploy` returns them.
    about: What its owner says; None: nothing.
  """
  config, ledger = report['config'], ledger_lib.of_report(report)
  origin = report.get('origin') or {}
  return {
      'about': dataclasses.asdict(about or About()),
      'origin': {name: origin.get(name) for name in ('date', 'code_version')},
      'name': f'{report["model"]["name"]} for {report["dataset"]["name"]}',
      'model': report['model'],
      'task': report['task'],
      'data': {'num_train_examples': None} | report['dataset'] | {'partition': partition(config['data'])},
      'training': settings(config) | {'rounds': report['rounds']},
      'privacy': ledger.to_json(clients=False, curve=False),
      'privacy_profile': privacy_profile.card(ledger),
      'privacy_warnings': list(ledger.warnings),
      'one_run_audit': (report.get('one_run_audit') or {}).get('sentence'),
      'secure_sum': report.get('secure_sum', {'mode': 'none'}),
      'evaluation': report['evaluation'],
      'classes': classes(report),
      'clients': clients(report, task.images, evaluator),
      'num_clients': len(task.images.train),
      'client_metrics': client_metrics(report),
      'spread': {key: value for key, value in report['per_client'].items() if key not in ('accuracies', 'histogram')},
      'formats': {name: dict(parity) for name, parity in formats.items()},
      'environment': report['environment'],
      'limits': limits(report, formats),
  }


def partition(data: Mapping[str, Any]) -> str | None:
  """Returns how a data set became clients; None where the setting is not read: of objects, and at sites of a plan."""
  row = catalogue.chosen('dataset', data['dataset'])
  is_read = row is not None and row.name and not any(limit.field == 'partition' for limit in row.limits)
  return data['partition'] if is_read else None


def settings(config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
  """Returns the training settings that describe the model: the important ones, and all that are not the default."""
  shown = {name: config[section][name] for section, names in _SETTINGS.items() for name in names}
  for section in _FURTHER:
    usual = {field.name: plugins.describe(field.default)
             for field in dataclasses.fields(configs.sections()[section])}
    shown |= {name: value for name, value in config[section].items() if value != usual[name]}
  return shown


def classes(report: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
  """Returns for each class or finding its name and its numbers on the test set; nothing if the report has none."""
  names = report['dataset'].get('class_names') or ()
  wrong = report.get('where_it_is_wrong') or {}
  found = (wrong.get('confusion') or {}).get('classes') or wrong.get('findings') or [{} for _ in names]
  if len(found) != len(names):
    return ()
  rows = [{name: one[name] for name in _OF_CLASS if name in one} for one in found]
  for key, values in report['evaluation'].items():
    name = key.removesuffix('_by_finding').removesuffix('_by_class')
    if name != key and isinstance(values, list | tuple) and len(values) == len(names):
      rows = [row | {name: value} for row, value in zip(rows, values, strict=True)]
  return [{'class': str(name), **row} for name, row in zip(names, rows, strict=True)] if any(rows) else ()


def client_metrics(report: Mapping[str, Any]) -> Mapping[str, str]:
  """Returns the metrics shown for each client, from name to words: those of the objective, without the loss."""
  return {one.name: one.label for one in declared.compared([report]) if one.name != declared.LOSS}


def clients(report: Mapping[str, Any], images: images_lib.FederatedImages, evaluator: evaluation.Evaluator
            ) -> Sequence[Mapping[str, Any]]:
  """Returns for each client the test metrics, epsilon and its rounds, and the size if sizes are public.

  Returns nothing if there are more clients than a table can show.
  """
  if len(images.train) > MAX_CLIENTS:
    return ()
  costs = ledger_lib.of_report(report).per_client or [None] * len(images.train)
  found = []
  for client, (name, positions, cost) in enumerate(
      zip(images.train.client_ids, images.test.clients, costs, strict=True)):
    own = images_lib.HeldOut(examples=images.test.examples.take(positions), clients=())
    measured = evaluator.evaluate(own)['evaluation'] if len(positions) else {}
    is_told = images.train.here and released.client_sizes_are_public(report)
    size = {'training_images': images.train.num_examples(client)} if is_told else {}
    found.append({'client': str(name), **size, 'test_images': len(positions),
                  **{metric: measured.get(metric) for metric in client_metrics(report)},
                  **_by_finding(report, measured)}
                 | ({} if cost is None else {'epsilon': cost.smallest_epsilon, 'rounds': cost.rounds}))
  return found


def _by_finding(report, measured):
  """Returns the AUC of each finding at a client, by name; {} if images have one class."""
  if not declared.has_findings(report):
    return {}
  names = report['dataset']['class_names']
  return {'auc_by_finding': dict(zip(names, measured.get('auc_by_finding') or [None] * len(names), strict=True))}


def limits(report: Mapping[str, Any], formats: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """Returns the sentences about unsuitable uses of the model and about what is not guaranteed."""
  said = []
  if report['dataset']['name'].startswith(_PHANTOMS):
    said.append('It was trained on generated images. It knows nothing of real ones and must not serve any decision.')
  if own := shared_model.sentence(report):
    said.append(own)
  if 'attack' in report:
    attack = report['attack']
    said.append(f'An attack was simulated in training ({attack["attack"]}, {attack["attackers"]} of '
                f'{attack["clients"]} clients): it is for study and not for use.')
  said.append('It was tested on images of the clients that trained it, or of their kind; elsewhere, on another '
              'scanner or camera, it may be much worse. Test it where it is to be used.')
  answers = _ANSWERS.get(report['task']['name'], 'Its outputs are what its objective says')
  said.append(f'{answers}, and the decision threshold is a choice of those who use it.')
  if isinstance(ledger_lib.of_report(report), ledger_lib.NoGuarantee):
    said.append('No differential privacy: nothing bounds what the model reveals of single training images.')
  else:
    said.append('The guarantee is about what the model learned from training images. Test images, metrics on them, the '
                'calibration of 8-bit models and the names of clients lie outside of it, and so does every number of '
                'training images in this card.')
  if report.get('secure_sum', {}).get('mode', 'none') == 'none':
    said.append('Updates were not encrypted: whoever ran the server could read each client\'s.')
  if 'tflite_int8' in formats:
    said.append(f'The ranges of the 8-bit model were measured on {formats["tflite_int8"]["calibration_source"]}.')
  return said + coarse(formats)


def coarse(formats: Mapping[str, Mapping[str, Any]]) -> list[str]:
  """Returns a sentence if 8 bits are too few for the numbers that a model answers with."""
  error = formats.get('tflite_int8', {}).get('error_by_deviation')
  return [f'The numbers of the 8-bit model are off by {100 * error:.0f} % of the deviation of the answers on test '
          'images: use another format, or train on the target less its mean.'] if error and error > _COARSE else []


def write(folder: pathlib.Path, card: Mapping[str, Any]) -> None:
  """Writes model_card.json and model_card.md to `folder`."""
  json_file.write(folder / 'model_card.json', card)
  whole_file.write(folder / 'model_card.md', _markdown(card))


def _markdown(card: Mapping[str, Any]) -> str:
  import jinja2  # Imported late, so that --help starts fast.
  environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True,
                                   keep_trailing_newline=True)
  environment.filters.update(
      number=_cell, label=functools.partial(numbers.label, report=card),
      heading=functools.partial(numbers.heading, report=card), text=_text, size=numbers.size, bound=numbers.upper,
      counted=wording.counted)
  shown = {name: value for name, value in card['evaluation'].items() if not isinstance(value, list | tuple)}
  return environment.from_string(TEMPLATE.read_text(encoding='utf-8')).render(
      {**card, 'evaluation': shown}, ledger=ledger_lib.of_report(card), evaluation_keys=list(card['evaluation']))


def _text(value: str) -> str:
  """Returns a text as one paragraph that cannot begin another part of the card."""
  return ' '.join(value.split()).replace('<', '&lt;').lstrip('#>-*+|` ')


def _cell(value: object) -> str:
  """Returns a value as a cell of a Markdown table; the name of a class may look like a tag."""
  return ' '.join(numbers.plain(value).split()).replace('<', '&lt;').replace('|', '\\|')
