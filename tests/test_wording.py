"""Numbers as text: a rounded bound is still a bound."""

import math

import hypothesis
import pytest
from hypothesis import strategies

from tff_vision import wording
from tff_vision.report import number_format

FORMS = strategies.sampled_from(['.3f', '.4f', '.2g', '.3g', '.4g'])
POSITIVE = strategies.floats(1e-12, 1e300)


@hypothesis.given(POSITIVE, FORMS)
def test_a_rounded_bound_is_a_bound_and_close(bound, form):
  upper, lower = float(wording.at_most(bound, form)), float(wording.at_least(bound, form))
  assert lower <= bound * (1 + 1e-11) and upper >= bound * (1 - 1e-11)
  last = 10.0 ** -int(form[1:-1]) if form[-1] == 'f' else 10.0 ** (1 + math.floor(math.log10(bound)) - int(form[1:-1]))
  assert upper - lower <= 1.01 * last


@pytest.mark.parametrize('bound, form, upper, lower', [
    (12.341, '.3g', '12.4', '12.3'), (1.2344, '.3f', '1.235', '1.234'), (2.99951, '.3f', '3.000', '2.999'),
    (3.0000000000000004, '.3f', '3.000', '3.000'), (0.1, '.3f', '0.100', '0.100'), (0.0, '.3f', '0.000', '0.000'),
    (1e-9, '.3f', '0.001', '0.000'), (5e29, '.3f', f'5{"0" * 29}.000', f'5{"0" * 29}.000'),
    (math.inf, '.3f', 'inf', 'inf')])
def test_by_hand(bound, form, upper, lower):
  assert (wording.at_most(bound, form), wording.at_least(bound, form)) == (upper, lower)


def test_counts_have_their_nouns():
  assert [wording.counted(number, 'client') for number in (0, 1, 2, 12000)] == [
      '0 clients', '1 client', '2 clients', '12,000 clients']
  assert [wording.counted(number, 'class') for number in (1, 2)] == ['1 class', '2 classes']


def test_pages_round_a_stated_epsilon_up_and_a_metric_to_the_nearest():
  assert number_format.upper(12.341) == '12.4' and number_format.plain(12.341) == '12.3'
  assert number_format.upper(12345.01) == '12,346' and number_format.plain(12345.01) == '12,345'
  for name in 'epsilon', 'ε', 'epsilon_rdp', 'history: epsilon':
    assert '>12.4<' in number_format.named(name, 12.341) and 'value="12.341"' in number_format.named(name, 12.341)
  assert '>12.3<' in number_format.named('epsilon_low', 12.341)
  assert '>12.4<' in number_format.metric('epsilon', 12.341) and '>12.3<' in number_format.metric('loss', 12.341)
