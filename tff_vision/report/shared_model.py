"""What the exported model holds where clients keep layers or models of their own, for reports, cards and scripts."""

from collections.abc import Mapping
from typing import Any

from tff_vision import catalogue

_OWN_MODEL = 'Each client kept a model of its own; the exported model is the one that all share.'
_CLUSTERS = 'Clients chose between several models; the exported model is the first of them.'


def sentence(report: Mapping[str, Any]) -> str:
  """Returns what the exported model is beside the clients' own ones; '' if they have none that stay with them."""
  settings, personal = report['config']['algorithm'], report.get('personal') or {}
  name = settings['algorithm']
  row = catalogue.row('algorithm', name) if name in catalogue.names('algorithm') else None
  if row is None:
    return _OWN_MODEL if personal and not settings.get('personalize_epochs') else ''
  if 'personal_layers' in row.reads:
    return _of_layers(settings.get('personal_layers') or row.keeps, personal.get('joined') or 0)
  if 'ifca_clusters' in row.reads:
    return _CLUSTERS if settings.get('ifca_clusters', 2) > 1 else ''
  return _OWN_MODEL if catalogue.Trait.PERSONAL in row.traits else ''


def _of_layers(layers, joined):
  """Returns the sentence for the personal layers of an algorithm, of which the model has the mean over `joined`."""
  if layers == 'none':
    return ''
  kept, more = {'': ('a head of its own; the head', 'what it answers means nothing before it is trained'),
                'norm': ('layers of its own that normalise; those', 'train or calibrate them on images of the place '
                         'where it is used')}.get(
      layers, (f'the layers {layers} of its own; those', 'what it answers may mean nothing before they are trained'))
  if joined:
    return (f'Each client kept {kept} of the exported model {"is" if not layers else "are"} the mean over {joined} '
            f'client{"s" if joined > 1 else ""}, for places that never trained; no client used it in training.')
  return f'Each client kept {kept} of the exported model {"is" if not layers else "are"} as initialized: {more}.'
