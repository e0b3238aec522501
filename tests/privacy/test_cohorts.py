"""Who takes part: pure functions of (seed, round), each scheme's promise, and no epsilon for what is not accounted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision import configs
from tff_vision.participation import availability, cohort_sampling, device_rounds
from tff_vision.privacy import plan

_QUICK = settings(max_examples=25, deadline=None)


def _build(population=100, seed=3, **fields):
  return cohort_sampling.build_cohort(configs.CohortConfig(**{'cohort_size': 10} | fields), population=population,
                                      seed=seed)


@_QUICK
@given(population=st.integers(1, 60), data=st.data(), seed=st.integers(0, 2**40), first=st.integers(0, 1000))
def test_round_robin_asks_everyone_equally_often(population, data, seed, first):
  size = data.draw(st.integers(1, population))
  cohort = cohort_sampling.RoundRobinCohort(population=population, size=size, seed=seed)
  rounds = [cohort(first + i) for i in range(population)]
  assert all(len(set(drawn)) == size for drawn in rounds)
  # `population` rounds are exactly `size` times around.
  assert (np.bincount(np.concatenate(rounds), minlength=population) == size).all()
  np.testing.assert_array_equal(rounds[0], cohort(first + population))


@_QUICK
@given(fields=st.fixed_dictionaries({}, optional={
    'sampling': st.sampled_from(['fixed', 'round_robin']), 'arrival_rounds': st.integers(0, 20),
    'stay_rounds': st.floats(0, 30), 'day_rounds': st.integers(0, 10), 'dropout_before': st.floats(0, 0.9),
    'dropout_after': st.floats(0, 0.9), 'over_selection': st.floats(1, 3),
    'round_deadline': st.none() | st.floats(0.5, 3)}), round_num=st.integers(1, 50), seed=st.integers(0, 99))
def test_attendance_is_a_chain_of_subsets_and_a_function_of_seed_and_round(fields, round_num, seed):
  cohort, again = _build(seed=seed, **fields), _build(seed=seed, **fields)
  for earlier in range(1, 4):
    again(earlier)  # What was asked before changes nothing.
  np.testing.assert_array_equal(cohort(round_num), again(round_num))
  if not isinstance(cohort, device_rounds.Participation):
    return
  steps = cohort.attendance(round_num)
  chain = [np.arange(100), steps.available, steps.selected, steps.started, steps.reported]
  for wider, narrower in zip(chain, chain[1:], strict=False):
    assert np.isin(narrower, wider).all() and (np.diff(narrower) > 0).all()
  asked = int(np.ceil(10 * fields.get('over_selection', 1)))
  assert len(steps.selected) == min(asked, len(steps.available))
  assert len(steps.reported) <= (10 if fields.get('over_selection', 1) > 1 else asked)


def test_a_trace_is_obeyed_to_the_round(tmp_path):
  trace = tmp_path / 'trace.csv'
  trace.write_text('client,join,leave\n0,3,5\n0,7,\n1,1,2\n')
  there = availability.read_trace(str(trace), population=3)
  table = np.array([there(round_num) for round_num in range(1, 9)])
  assert table[:, 0].tolist() == [False, False, True, True, False, False, True, True]
  assert table[:, 1].tolist() == [True] + [False] * 7
  assert table[:, 2].all()  # The file does not mention client 2.
  cohort = _build(population=3, cohort_size=3, availability_trace=str(trace))
  assert [cohort(round_num).tolist() for round_num in (1, 2, 3)] == [[1, 2], [2], [0, 2]]


@pytest.mark.parametrize(('text', 'said'), [
    ('', 'columns client, join, leave; found nothing'), ('who,join,leave\n', 'found who, join, leave'),
    ('client,join,leave\n', 'no line below'),
    ('client,join,leave\n0,1,\n3,1,2\n', 'line 3: there is no client 3 among 3'),
    ('client,join,leave\n0,5,5\n', 'line 2: client 0 leaves in round 5'),
    ('client,join,leave\n0,soon,\n', "line 2.*'soon'"),
    ('client,join,leave\n0,1\n', 'line 2'), ('client,join,leave\n0,1,2,3\n', 'line 2')])
def test_a_bad_trace_is_named(tmp_path, text, said):
  trace = tmp_path / 'trace.csv'
  trace.write_text(text)
  with pytest.raises(ValueError, match=said):
    _build(population=3, cohort_size=1, availability_trace=str(trace))
  with pytest.raises(ValueError, match='nowhere.csv cannot be read'):
    _build(availability_trace=str(tmp_path / 'nowhere.csv'))


def test_clients_join_and_leave_for_good():
  (there,) = availability.build(configs.CohortConfig(arrival_rounds=10, stay_rounds=5.0), population=2000, seed=1)
  table = np.array([there(round_num) for round_num in range(1, 200)], int)
  assert (np.abs(np.diff(table, axis=0)).sum(axis=0) <= 2).all()  # At most once in, once out.
  assert table[:10].any(axis=0).all() and not table[-1].any()
  assert table[0].mean() == pytest.approx(0.1, abs=0.03)
  # ceil of an exponential of mean 5 is geometric with mean 1 / (1 - exp(-1/5)).
  assert table.sum(axis=0).mean() == pytest.approx(1 / (1 - np.exp(-0.2)), rel=0.05)


def test_waves_have_a_period_a_share_and_a_shared_night():
  (there,) = availability.build(configs.CohortConfig(day_rounds=20, day_share=0.4), population=1000, seed=1)
  table = np.array([there(round_num) for round_num in range(1, 41)])
  np.testing.assert_array_equal(table[:20], table[20:])
  assert (np.abs(table[:20].sum(axis=0) - 8) <= 1).all()  # 0.4 of 20 rounds, on a grid.
  reachable = table.mean(axis=1)
  assert reachable.max() > 0.9 and reachable.min() < 0.1


def test_dropout_has_its_probability_before_and_after_training():
  cohort = _build(population=400, cohort_size=400, dropout_before=0.3, dropout_after=0.2)
  steps = [cohort.attendance(round_num) for round_num in range(1, 51)]
  assert np.mean([len(step.started) for step in steps]) == pytest.approx(400 * 0.7, rel=0.02)
  assert np.mean([len(step.reported) for step in steps]) == pytest.approx(400 * 0.7 * 0.8, rel=0.02)


def test_over_selection_takes_the_fastest_and_the_deadline_the_timely():
  fast = _build(population=50, cohort_size=10, over_selection=5.0, speed_spread=2.0)
  taken = np.bincount(np.concatenate([fast(round_num) for round_num in range(1, 41)]), minlength=50)
  assert taken.sum() == 400
  # All 50 are asked each round, so the same fast ones win: the bias that docs/participation.md warns of.
  assert np.sort(taken)[-10:].sum() > 350
  everyone = _build(population=2000, cohort_size=2000, round_deadline=1.0)
  assert len(everyone(1)) / 2000 == pytest.approx(0.5, abs=0.05)  # The median client's time.


def test_poisson_over_available_clients_keeps_its_expected_size(tmp_path):
  trace = tmp_path / 'trace.csv'
  trace.write_text('client,join,leave\n' + ''.join(f'{client},999,\n' for client in range(50)))
  cohort = _build(sampling='poisson', cohort_size=10, availability_trace=str(trace))
  drawn = [cohort(round_num) for round_num in range(1, 201)]
  assert min(map(min, filter(len, drawn))) >= 50
  assert np.mean(list(map(len, drawn))) == pytest.approx(10, rel=0.1)


def test_nobody_there_is_an_empty_cohort(tmp_path):
  trace = tmp_path / 'trace.csv'
  trace.write_text('client,join,leave\n0,5,\n1,5,\n')
  cohort = _build(population=2, cohort_size=2, availability_trace=str(trace))
  assert len(cohort(1)) == 0 and len(cohort(5)) == 2


def test_a_plan_counts_whom_a_round_lost():
  build = lambda **fields: plan.build_plan(configs.PrivacyConfig(), configs.CohortConfig(cohort_size=20, **fields),
                                           population=30, rounds=3, seed=0)
  lossy = build(dropout_before=0.3, dropout_after=0.4, over_selection=1.2)
  for round_num in (1, 2, 3):
    counts = lossy.attendance(round_num)
    assert counts['reported'] == len(lossy.cohort(round_num)) and counts['selected'] == 24
    assert counts['available'] >= counts['selected'] >= counts['started'] >= counts['reported']
    assert counts['dropped'] == counts['selected'] - counts['reported'] > 0
  assert build().attendance(1) == {}


@pytest.mark.parametrize('fields', [
    {'dropout_before': 0.1}, {'dropout_after': 0.1}, {'day_rounds': 4}, {'arrival_rounds': 4}, {'stay_rounds': 4.0},
    {'round_deadline': 2.0}, {'availability_trace': 'some.csv'}])
def test_no_epsilon_is_stated_for_devices_that_come_and_go(fields):
  ((name, _),) = fields.items()
  with pytest.raises(ValueError, match=f'{name}=.*privacy=client_gaussian.*accounted rate'):
    plan.build_plan(configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0),
                    configs.CohortConfig(sampling='poisson', **fields), population=100, rounds=3, seed=0)


def test_round_robin_states_no_epsilon():
  with pytest.raises(ValueError, match='needs sampling=poisson'):
    plan.build_plan(configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0),
                    configs.CohortConfig(sampling='round_robin'), population=100, rounds=3, seed=0)


@pytest.mark.parametrize(('fields', 'said'), [
    ({'over_selection': 0.5}, 'over_selection must be 1 or more'), ({'dropout_after': 1.0}, 'dropout_after'),
    ({'day_share': 0.3}, 'day_share=0.3 has no effect without day_rounds'),
    ({'speed_spread': 1.0}, 'speed_spread=1.0 has no effect'), ({'round_deadline': 0.0}, 'round_deadline'),
    ({'sampling': 'poisson', 'over_selection': 1.5}, 'over_selection=1.5 .* sampling=poisson')])
def test_bad_settings(fields, said):
  with pytest.raises(ValueError, match=said):
    configs.CohortConfig(**fields)


_SEMI_SYNCHRONOUS = st.fixed_dictionaries({'over_selection': st.floats(1.1, 3)}, optional={
    'round_deadline': st.floats(0.3, 3), 'dropout_before': st.floats(0, 0.5), 'dropout_after': st.floats(0, 0.5),
    'day_rounds': st.integers(0, 6), 'speed_spread': st.floats(0, 1.5)})


@_QUICK
@given(fields=_SEMI_SYNCHRONOUS, max_staleness=st.integers(1, 4), seed=st.integers(0, 99), rounds=st.integers(1, 12))
def test_late_updates_arrive_once_and_are_functions_of_seed_and_round(fields, max_staleness, seed, rounds):
  build = lambda: cohort_sampling.build_cohort(configs.CohortConfig(cohort_size=5, **fields), population=40, seed=seed,
                                               max_staleness=max_staleness)
  late, again = build(), build()
  again(rounds)  # Asked for the last round first.
  on_the_way = {}
  for round_num in range(1, rounds + 1):
    steps, counts = late.attendance(round_num), late.counts(round_num)
    np.testing.assert_array_equal(steps.reported, again(round_num))
    assert not np.isin(steps.selected, list(on_the_way)).any(), 'a client that still trains is not asked'
    assert len(on_the_way) + len(steps.selected) <= np.ceil(5 * fields['over_selection'])
    on_the_way |= {int(client): round_num for client in steps.started}
    begun = late.begun(round_num)
    assert sorted(begun) == list(steps.reported) and len(begun) <= 5
    for client, first in begun.items():
      assert on_the_way.pop(client) == first and round_num - first <= max_staleness
    assert counts['late'] == sum(first < round_num for first in begun.values())
    waiting = {update.client for update in late._round(round_num).waiting}
    on_the_way = {client: first for client, first in on_the_way.items() if client in waiting}
    assert set(on_the_way) == waiting and counts['waiting'] == len(waiting)


def test_who_is_late_by_hand():
  """Three train at a time; the two that arrive first are taken, the third is late in the round after."""
  late = cohort_sampling.build_cohort(configs.CohortConfig(cohort_size=2, over_selection=1.5), population=30, seed=1,
                                      max_staleness=3)
  clock, training = 0.0, {}
  for round_num in range(1, 8):
    for client in late.attendance(round_num).started:
      training[int(client)] = (clock + late.times(round_num)[client], round_num)
    first = sorted(training, key=training.get)[:2]
    clock = training[first[-1]][0]
    assert late.begun(round_num) == {client: training.pop(client)[1] for client in first}
    assert len(training) == 1
  assert sum(late.counts(round_num)['late'] for round_num in range(1, 8)) >= 3
