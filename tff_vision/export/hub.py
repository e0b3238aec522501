"""A folder as model hubs expect it: the model, what its outputs mean, and the card with a header that hubs read.

    hub/README.md  hub/model.keras  hub/config.json

Nothing is uploaded; `huggingface-cli upload OWNER/NAME hub` does. The header is YAML, after the specification of model
cards of the Hugging Face Hub.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from tff_vision.program import json_file, whole_file
from tff_vision.report import declared

_PIPELINES = {'classification': 'image-classification', 'embedding': 'image-feature-extraction'}
# As in https://hf.co/docs/hub/repositories-licenses; other licences are named `other`.
_LICENCES = ('apache-2.0', 'mit', 'bsd-2-clause', 'bsd-3-clause', 'cc-by-4.0', 'cc-by-sa-4.0', 'cc-by-nc-4.0',
             'cc-by-nc-sa-4.0', 'cc0-1.0', 'gpl-3.0', 'lgpl-3.0', 'agpl-3.0', 'mpl-2.0', 'openrail')


def write_card(folder: pathlib.Path, card: Mapping[str, Any], text: str, facts: Mapping[str, Any]) -> None:
  """Writes README.md and config.json.

  Args:
    folder: The folder that holds the model.
    card: The content of model_card.json.
    text: The model card in Markdown.
    facts: What the outputs mean, as in model.json.
  """
  json_file.write(folder / 'config.json', facts)
  whole_file.write(folder / 'README.md', f'---\n{_yaml(header(card, facts))}---\n\n{text}')


def header(card: Mapping[str, Any], facts: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the fields that a hub reads, from the card and the meaning of the outputs."""
  task = str(facts['task'])
  measured = [{'type': name, 'name': declared.named(name, card).label, 'value': float(value)}
              for name, value in card['evaluation'].items() if isinstance(value, float)]
  pipeline = _PIPELINES.get(task)
  private = card['privacy'].get('mechanism') != 'none'
  return {
      'library_name': 'keras', **({'pipeline_tag': pipeline} if pipeline else {}),
      **_licence((card.get('about') or {}).get('licence')),
      'tags': ['federated-learning', 'tensorflow-federated', *(['differential-privacy'] if private else [])],
      'datasets': [], 'model-index': [{
          'name': str(card['name']), 'results': [{
              'task': {'type': pipeline or 'other'},
              'dataset': {'type': 'other', 'name': f'{card["data"]["name"]}, test images'},
              'metrics': measured}]}]}


def _licence(named):
  """Returns the fields for a licence; none if the owner names none."""
  if not named:
    return {}
  known = named.strip().casefold().replace(' ', '-')
  return {'license': known} if known in _LICENCES else {'license': 'other', 'license_name': named.strip()}


def _yaml(fields):
  """Returns YAML: each value is JSON in one line, which is YAML too."""
  return ''.join(f'{name}: {json.dumps(value, ensure_ascii=False)}\n' for name, value in fields.items() if value != [])
