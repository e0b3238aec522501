"""The one place that says what does not go together, from the rows of the catalogue."""

import dataclasses
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from tff_vision import catalogue, plugins
from tff_vision.catalogue import How, Row, Trait
from tff_vision.configs import option

_PLAIN = (bool, int, float, str, tuple, type(None))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Choice:
  """One choice of a config: its field, its value, its row and its traits."""
  field: str
  value: Any
  row: Row
  traits: frozenset[Trait]

  @property
  def setting(self):
    return f'{self.field}={plugins.shown(self.value)}' if self.field else self.value


def check(*sections: Any, instead: Mapping[str, Row] | None = None,
          more: Mapping[str, Collection[Trait]] | None = None) -> None:
  """Refuses settings that have no effect, are missing, or are incompatible, in these sections of a config.

  Args:
    sections: Only the fields of these sections are checked, so that a part of a config can be checked alone.
    instead: Field -> row of a user's object, for fields that hold a reference whose target is loaded.
    more: Description -> traits, for properties of the run that are not in its sections.

  Raises:
    ValueError: One sentence with the settings and the reason.
  """
  values = {field.name: getattr(section, field.name) for section in sections for field in dataclasses.fields(section)}
  changed = {name: value for section in sections for name, value in option.changed(section).items()}
  choices = list(_choices(values, instead or {}))
  for choice in choices:
    _refuse_unread(choice, choices, changed)
    _refuse_missing(choice, values)
  _refuse_clashes([*choices, *(_Choice(field='', value=words, row=Row(''), traits=frozenset(traits))
                               for words, traits in (more or {}).items())])
  for choice in choices:
    _refuse_values(choice, values, changed)
    _refuse_nothing_to_compare(choice, values)
  _check_numbers(values)
  _refuse_mixing(values)
  _refuse_counting(values)


def rows_of_references(*sections: Any) -> dict[str, Row]:
  """Imports the targets of the references in these sections; returns field -> row, for targets that have a row.

  Raises:
    ValueError: The target of a reference does not exist.
  """
  found = {}
  for section in sections:
    for field in dataclasses.fields(section):
      value = getattr(section, field.name)
      if option.rows(field) and plugins.is_reference(value) and plugins.is_own(value, option.choices(field)):
        row = getattr(plugins.load(value, field=field.name), 'row', None)
        if isinstance(row, Row):
          found[field.name] = row
  return found


def _choices(values, instead) -> Iterator[_Choice]:
  found = {}
  for field in catalogue.KINDS:
    if field in values and (row := instead.get(field) or catalogue.chosen(field, values[field])) is not None:
      found[field] = row
  for field, row in found.items():
    # The kind of noise of dp_mf is irrelevant for a run with another mechanism.
    if all(field in by.reads or not any(field in each.reads for each in catalogue.KINDS[kind].rows.values())
           for kind, by in found.items()):
      yield _Choice(field=field, value=values[field], row=row, traits=row.traits_with(values))


def _refuse_unread(choice, choices, changed):
  """Refuses a field that was set if only a choice that was not made would read it."""
  rows = catalogue.KINDS[choice.field].rows
  # A field may be read by either of two choices that have the same rows, or that are declared to share it.
  chosen = [other.row for other in choices if catalogue.KINDS[other.field].rows == rows
            or {choice.field, other.field} <= catalogue.EITHER]
  for name in changed:
    readers = [row.name for row in rows.values() if name in row.reads]
    if readers and not any(name in row.reads for row in chosen):
      also = [f' or {other}={row.name}' for other in sorted(catalogue.EITHER - {choice.field})
              if choice.field in catalogue.EITHER for row in catalogue.KINDS[other].rows.values() if name in row.reads]
      raise ValueError(f'{name}={_shown(changed[name])} has no effect with {choice.setting}; it is read by '
                       f'{choice.field}={" or ".join(readers)}{"".join(also)}.')


def _refuse_missing(choice, values):
  for name in choice.row.requires:
    if name in values and values[name] is None:
      raise ValueError(f'{name} is missing: {choice.setting} needs it.')


def _refuse_clashes(choices):
  for one in choices:
    for other in choices:
      if one is not other and (reason := catalogue.clash(one.row, one.traits, other.traits)):
        raise ValueError(f'{one.setting} does not go with {other.setting}: {reason}.')


def _refuse_values(choice, values, changed):
  for limit in choice.row.limits:
    name = limit.field
    if name not in values or _legal(limit, values[name], name in changed):
      continue
    if limit.how is How.NEEDS:
      raise ValueError(f'{choice.setting} needs {name}={" or ".join(map(str, limit.legal))}: {limit.reason}; found '
                       f'{name}={_shown(values[name])}.')
    raise ValueError(f'{name}={_shown(values[name])} {limit.how.value} {choice.setting}: {limit.reason}.')
  fields, reason = choice.row.needs_one_of
  if fields and set(fields) <= set(values) and not set(fields) & set(changed):
    raise ValueError(f'{choice.setting} needs {" or ".join(fields)}: {reason}.')


def _legal(limit, value, is_changed):
  if not limit.legal:
    return not is_changed
  if limit.own and plugins.is_own(value, catalogue.names(limit.field)):
    return True
  return isinstance(value, _PLAIN) and value in limit.legal


def _check_numbers(values):
  """Refuses combinations of numbers whose rule is not a limit on one field of one choice."""
  if values.get('aggregator') in ('krum', 'multi_krum') and 'cohort_size' in values:
    # Blanchard et al. 2017, proposition 1, asks for n > 2 f + 2.
    clients, fraction = values['cohort_size'], values['tolerated_fraction']
    if clients <= 2 * fraction * clients + 2:
      raise ValueError(f'aggregator={values["aggregator"]} with tolerated_fraction={fraction} says nothing with '
                       f'cohort_size={clients}: it takes more than twice the tolerated clients and two; raise '
                       'cohort_size or lower tolerated_fraction.')
  if (values.get('select_best') is not None and values.get('privacy', 'none') != 'none'
      and values.get('evaluation_noise_multiplier') is None):
    raise ValueError(f'select_best={values["select_best"]} with privacy={values["privacy"]} needs '
                     'evaluation_noise_multiplier, which example_dp_sgd and mechanisms with noise on the server read: '
                     'no noise would cover the validation examples.')
  if (values.get('evaluation_noise_multiplier') is not None and {'dataset', 'select_best'} <= values.keys()
      and values['select_best'] is None and values['dataset'] != 'plan'):
    raise ValueError(f'evaluation_noise_multiplier={values["evaluation_noise_multiplier"]:g} has no effect without '
                     'select_best, except in a federation\'s plan: nothing is evaluated on the clients\' own examples.')
  rate, optimizer = values.get('personalize_learning_rate'), values.get('client_optimizer', '')
  if rate is not None and not isinstance(optimizer, str):
    raise ValueError(f'personalize_learning_rate={rate:g} does not go with a client_optimizer of your own, which has a '
                     'learning rate itself.')
  if values.get('math') == 'float16' and 'loss_scale' in values and values['loss_scale'] is None:
    raise ValueError('math=float16 needs loss_scale, dynamic or a power of two: small gradients are zero in float16.')
  if values.get('algorithm') == 'fedrep' and 'client_epochs' in values:
    head, epochs = values['fedrep_head_epochs'], values['client_epochs']
    if not 0 < (head or epochs - 1) < epochs:
      raise ValueError(f'client_epochs={epochs} with fedrep_head_epochs={head}: fedrep needs at least one local epoch '
                       'for the head and one for the body.')


def _refuse_nothing_to_compare(choice, values):
  if Trait.COMPARES_EXAMPLES in choice.traits and values.get('batch_size') == 1:
    raise ValueError(f'batch_size=1 does not go with {choice.setting}: {Trait.COMPARES_EXAMPLES.value}, and an example '
                     'alone has a loss of zero.')


def _refuse_mixing(values):
  """Refuses mixup where examples must be kept apart, or where the label of a mixed image would mean nothing."""
  if not (mixup := values.get('augment_mixup')):
    return
  if (privacy := values.get('privacy')) in catalogue.with_trait('privacy', catalogue.Trait.EXAMPLE_LEVEL):
    raise ValueError(f'augment_mixup={mixup:g} does not go with privacy={privacy}: it mixes examples with each '
                     'other, and the promise is to every example by itself.')
  if values.get('task') == 'embedding':
    raise ValueError(f'augment_mixup={mixup:g} does not go with task=embedding: a mixture of two images shows neither.')


def _refuse_counting(values):
  """Refuses constants that would be computed from private labels, and weights that have no effect."""
  weights, loss = values.get('class_weights'), values.get('loss')
  if weights and loss is not None and not (isinstance(loss, str) and loss in catalogue.names('loss')):
    raise ValueError(f'class_weights={",".join(map(str, weights))} has no effect with a loss of your own.')
  if weights == ('balanced',) and values.get('task') == 'segmentation':
    raise ValueError('class_weights=balanced is read by task=classification; task=segmentation takes numbers.')
  promise = next((f'{name}={values[name]}' for name in ('privacy', 'secure_sum') if values.get(name, 'none') != 'none'),
                 None)
  if promise and weights == ('balanced',):
    raise ValueError(f'class_weights=balanced does not go with {promise}: it counts the labels of the clients, which '
                     'no promise covers; give the weights as numbers.')
  if promise and values.get('task') == 'regression' and not values.get('target_range'):
    raise ValueError(f'target_range is missing: with {promise}, task=regression needs LOW,HIGH, within which most '
                     'targets lie, because mean and deviation of the clients\' targets are covered by no promise.')


def _shown(value):
  if isinstance(value, tuple):
    return ','.join(map(str, value))
  return plugins.shown(value) if isinstance(value, str) or not isinstance(value, _PLAIN) else repr(value)
