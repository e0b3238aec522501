"""The privacy profile in reports: the curve delta(epsilon), and the best attack that it allows beside measured ones."""

from collections.abc import Mapping

from tff_vision import wording
from tff_vision.accounting.conditions import Unit
from tff_vision.accounting.ledger import Ledger, Statement, of_report
from tff_vision.accounting.ledger_parts import Profile
from tff_vision.report import axes, chart, marks, palette, tables
from tff_vision.report import number_format as numbers

# The name that `pipelines.audit` gives to a measured attack in the report's section `audit`.
FOUND = 'found at 1 % false alarms'
_PLACE = 0.01
_SHOWN = 20  # The table shows every 20th point of the curve.


def rows(profile: Profile, *, unit: Unit) -> list[tuple[str, float, str]]:
  """Returns the name, the number and the formatted number of each fact in a profile."""
  exact = 'exactly' if profile.mu_exact else f'but for a probability of {numbers.plain(profile.mu_slack)}'
  found = [(f'δ at ε = {numbers.upper(epsilon)}', delta, numbers.upper(delta)) for epsilon, delta in zip(
      profile.epsilon[::_SHOWN], profile.delta[::_SHOWN], strict=True)]
  found.append((f'μ of Gaussian differential privacy, {exact}', profile.mu, numbers.upper(profile.mu)))
  for bound, whose in ((profile.true_positive_rate, _one(unit)),
                       (profile.true_positive_rate_example or {}, 'one example, whose client is promised it')):
    found += [(f'best test of membership of {whose}: members found at {100 * alarms:g} % false alarms, at most',
               power, f'{wording.at_most(100 * power, ".3g")} %') for alarms, power in bound.items()]
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


def figure(ledger: Ledger, found: Mapping[str, float]) -> chart.Figure:
  """Draws delta over epsilon with the stated pair, and the share of members found over false alarms.

  Args:
    ledger: A ledger with a profile.
    found: The result of `measured`.
  """
  profile = ledger.profile
  positive = [(e, d) for e, d in zip(profile.epsilon, profile.delta, strict=True) if d > 0]
  start = profile.false_positive_rates[0]
  power = [marks.Line(xs=profile.false_positive_rates, ys=profile.true_positive_rates, look='first', dots=False,
                      name='allowed', texts=_rates(profile.false_positive_rates, profile.true_positive_rates))]
  keys = [chart.Key(look='first', name=f'allowed, of {_one(ledger.unit)}')]
  if bound := profile.true_positive_rate_example:
    power.append(marks.Line(xs=list(bound), ys=list(bound.values()), look='third', joined=False, dots=True,
                            name='allowed, of one example', texts=_rates(list(bound), list(bound.values()))))
    keys.append(chart.Key(look='third', name='allowed, of one example', kind='dot'))
  for number, (name, share) in enumerate(found.items()):
    look = 'second' if not number else palette.look(number + 1)
    power.append(marks.Line(xs=[_PLACE], ys=[share], look=look, joined=False, dots=True, name=name,
                            texts=_rates([_PLACE], [share])))
    keys.append(chart.Key(look=look, name=f'measured: {name}', kind='dot'))
  chance = [start, *(rate for rate in profile.false_positive_rates if rate > start), 1.0]
  power.insert(0, marks.Line(xs=chance, ys=chance, look='third', dashed=True, dots=False, name='chance'))
  keys.append(chart.Key(look='third', name='chance', kind='dashed'))
  share = lambda rate: f'{numbers.plain(100 * rate)} %'
  panels = [chart.Panel(title='The best test of membership: members found', marks=power,
                        x=axes.logarithmic(start, 1, label='false alarms', text=share),
                        y=axes.logarithmic(start, 1, text=share))]
  if positive:
    epsilons, deltas = map(list, zip(*positive, strict=True))
    curve = [marks.Line(xs=epsilons, ys=deltas, look='first', dots=False, name='δ(ε)', texts=[
        f'ε = {numbers.upper(float(e))}, δ = {numbers.upper(float(d))}' for e, d in positive])]
    if ledger.delta:
      curve.append(marks.Line(xs=[ledger.epsilon], ys=[ledger.delta], look='second', dots=True, name='stated', texts=[
          f'ε = {numbers.upper(ledger.epsilon)}, δ = {numbers.upper(ledger.delta)}']))
      keys.append(chart.Key(look='second', name='ε and δ as stated', kind='dot'))
    panels.insert(0, chart.Panel(
        title='The privacy profile δ(ε)', marks=curve, x=axes.numeric(epsilons, label='ε'),
        y=axes.logarithmic(min([*deltas, ledger.delta or 1.0]), max([*deltas, ledger.delta]), text='{:g}'.format)))
  return chart.Figure(alt=describe(ledger, found), panels=panels, legend=keys)


def _rates(alarms, found):
  return [f'{numbers.percent(float(y))} found at {numbers.percent(float(x))} false alarms'
          for x, y in zip(alarms, found, strict=True)]


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
