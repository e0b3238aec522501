"""The privacy profile in reports: the curve delta(epsilon), and the best attack that it allows beside measured ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from tff_vision.accounting.conditions import Unit
from tff_vision.accounting.ledger import Ledger, Statement, of_report
from tff_vision.accounting.ledger_parts import Profile
from tff_vision.report import number_format as numbers
from tff_vision.report import tables

if TYPE_CHECKING:  # Model cards draw nothing, and the drawing modules load slowly.
  from matplotlib import figure

  from tff_vision.report import figures

# The name that `pipelines.audit` gives to a measured attack in the report's section `audit`.
FOUND = 'found at 1 % false alarms'
_PLACE = 0.01
_SHOWN = 20  # The table shows every 20th point of the curve.


def rows(profile: Profile, *, unit: Unit) -> list[tuple[str, float, str]]:
  """Returns the name, the number and the formatted number of each fact in a profile."""
  exact = 'exactly' if profile.mu_exact else f'but for a probability of {numbers.plain(profile.mu_slack)}'
  found = [(f'δ at ε = {numbers.plain(epsilon)}', delta, numbers.plain(delta)) for epsilon, delta in zip(
      profile.epsilon[::_SHOWN], profile.delta[::_SHOWN], strict=True)]
  found.append((f'μ of Gaussian differential privacy, {exact}', profile.mu, numbers.plain(profile.mu)))
  for bound, whose in ((profile.true_positive_rate, _one(unit)),
                       (profile.true_positive_rate_example or {}, 'one example, whose client is promised it')):
    found += [(f'best test of membership of {whose}: members found at {100 * alarms:g} % false alarms, at most',
               power, f'{100 * power:.3g} %') for alarms, power in bound.items()]
  return found


def _one(unit):
  return f'{"an" if unit[0] in "aeiou" else "a"} {unit}'


def table(report: Mapping) -> tables.Table | None:
  """Returns the profile as a table."""
  ledger = of_report(report)
  if not isinstance(ledger, Ledger) or ledger.profile is None:
    return None
  return tables.Table(
      caption='The whole promise, and what it allows an attacker', header=['', 'value'],
      rows=[[name, numbers.data(value, text)] for name, value, text in rows(ledger.profile, unit=ledger.unit)])


def measured(report: Mapping) -> dict[str, float]:
  """Returns the share of members that each attack of the audit found at 1 % false alarms, by the attack's name."""
  return {name.removesuffix(f': {FOUND}'): value for name, value in tables.part(report, 'audit').items()
          if name.endswith(FOUND) and numbers.is_finite(value)}


def draw(theme: figures.Theme, *, ledger: Ledger, found: Mapping[str, float]) -> figure.Figure:
  """Draws delta over epsilon with the stated pair, and the share of members found over false alarms.

  Args:
    ledger: A ledger with a profile.
    found: The result of `measured`.
  """
  from matplotlib import figure, ticker

  from tff_vision.report import figures
  profile = ledger.profile
  fig = figure.Figure(figsize=(figures.WIDTH, 3.4))
  left, right = fig.subplots(1, 2)
  positive = [(e, d) for e, d in zip(profile.epsilon, profile.delta, strict=True) if d > 0]
  if positive:
    left.semilogy(*zip(*positive, strict=True), color=theme.first)
  if ledger.delta:
    left.plot([ledger.epsilon], [ledger.delta], 'o', color=theme.second, label='stated')
    left.legend(fontsize=8.5, loc='upper right')
  left.set(xlabel='ε', ylabel='δ')
  left.yaxis.set_major_formatter(ticker.FuncFormatter(lambda delta, _: f'{delta:g}'))
  left.yaxis.set_minor_formatter(ticker.NullFormatter())
  left.set_title('The privacy profile δ(ε)')
  right.plot(profile.false_positive_rates, profile.true_positive_rates, color=theme.first,
             label=f'allowed, of {_one(ledger.unit)}')
  if bound := profile.true_positive_rate_example:
    right.plot(list(bound), list(bound.values()), 'v', color=theme.third, label='allowed, of one example')
  for marker, (name, power) in zip('osD^', found.items(), strict=False):
    right.plot([_PLACE], [power], marker, color=theme.second, label=f'measured: {name}')
  start = profile.false_positive_rates[0]
  right.plot([start, 1], [start, 1], color=theme.third, linestyle='--', linewidth=1.1, label='chance')
  right.set(xscale='log', yscale='log', xlim=(start, 1), ylim=(start, 1.3), xlabel='false alarms',
            ylabel='members found')
  for axis in (right.xaxis, right.yaxis):
    axis.set_major_formatter(ticker.FuncFormatter(lambda share, _: f'{100 * share:g}%'))
    axis.set_minor_formatter(ticker.NullFormatter())
  right.set_title('The best test of membership')
  right.legend(fontsize=8, loc='lower right')
  return fig


def describe(ledger: Ledger, found: Mapping[str, float]) -> str:
  """Returns the figure in words; see `draw`."""
  said = [f'{name}: {text}' for name, _, text in rows(ledger.profile, unit=ledger.unit)]
  said += [f'{name}: {FOUND}: {100 * power:.3g} %' for name, power in found.items()]
  return f'Privacy profile. {"; ".join(said)}.'


def card(ledger: Statement) -> Mapping[str, object] | None:
  """Returns the names and texts of a model card's table; None if the ledger has no profile."""
  if not isinstance(ledger, Ledger) or ledger.profile is None:
    return None
  return {name: text for name, _, text in rows(ledger.profile, unit=ledger.unit)}
