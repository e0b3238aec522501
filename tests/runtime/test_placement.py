import hypothesis
import pytest
from hypothesis import strategies as st

from tff_vision.runtime.driver import placement

_COHORTS = st.integers(1, 60).flatmap(
    lambda population: st.tuples(st.just(population),
                                 st.lists(st.integers(0, population - 1), unique=True, max_size=population)))


@hypothesis.given(_COHORTS, st.integers(1, 8), st.integers(1, 20), st.booleans())
def test_every_client_is_in_exactly_one_chunk(drawn, num_workers, clients_per_call, data_on_workers):
  population, clients = drawn
  rule = placement.Placement(num_workers=num_workers, clients_per_call=clients_per_call,
                             data_on_workers=data_on_workers)
  chunks = rule.chunks(clients, population)
  assert sorted(p for chunk in chunks for p in chunk.positions) == list(range(len(clients)))
  for chunk in chunks:
    assert 0 < len(chunk.positions) <= clients_per_call
    assert chunk.clients == tuple(clients[p] for p in chunk.positions)
    assert chunk.pinned == (data_on_workers or population <= num_workers)
    if chunk.pinned:
      assert {client % num_workers for client in chunk.clients} == {chunk.worker}


@hypothesis.given(st.integers(0, 200), st.integers(1, 8), st.integers(1, 50))
def test_a_cohort_is_spread_evenly_and_in_order(count, num_workers, clients_per_call):
  chunks = placement.spread(range(count), num_workers, clients_per_call)
  assert [p for chunk in chunks for p in chunk.positions] == list(range(count))
  sizes = [len(chunk.positions) for chunk in chunks]
  calls = [sum(chunk.worker == worker for chunk in chunks) for worker in range(num_workers)]
  assert not sizes or max(sizes) - min(sizes) <= 1
  assert max(calls) - min(calls) <= 1


@pytest.mark.parametrize('cohort', [[0, 1, 2], [2, 0], [1]])
def test_hospitals_stay_on_their_worker_whatever_the_cohort(cohort):
  chunks = placement.Placement(num_workers=3, clients_per_call=10, data_on_workers=False).chunks(cohort, 3)
  assert [(chunk.clients, chunk.worker) for chunk in chunks] == [((c,), c) for c in cohort]


@hypothesis.given(st.lists(st.integers(0, 6), min_size=1, max_size=7, unique=True), st.integers(1, 4))
def test_clients_run_where_their_site_is(cohort, clients_per_call):
  homes = (0, 1, 1, 1, 2, 3, 3)
  chunks = placement.Placement(num_workers=4, clients_per_call=clients_per_call, data_on_workers=True,
                               workers=homes).chunks(cohort, 7)
  assert sorted(client for chunk in chunks for client in chunk.clients) == sorted(cohort)
  for chunk in chunks:
    assert chunk.pinned and {homes[client] for client in chunk.clients} == {chunk.worker}
    assert [cohort[position] for position in chunk.positions] == list(chunk.clients)
  if clients_per_call == 1:  # So sums are added in the order of the cohort.
    assert [chunk.positions for chunk in chunks] == [(position,) for position in range(len(cohort))]


def test_a_client_without_a_site_is_refused():
  with pytest.raises(ValueError, match='clients_on_workers has room for 3 clients, and there is a client number 3'):
    placement.pin([0, 3], 2, 10, (0, 1, 1))
