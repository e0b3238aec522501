import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.secure.masking import mask_graph


@given(clients=st.integers(2, 80))
def test_default_graphs_are_regular_symmetric_and_connected(clients):
  degree = mask_graph.default_degree(clients)
  graph = mask_graph.random_graph(clients, degree)
  for i, neighbours in enumerate(graph.neighbours):
    assert len(set(neighbours)) == degree and i not in neighbours
    assert all(i in graph.neighbours[j] for j in neighbours)
  assert graph.connected(range(clients))
  # A majority of the holders (neighbours and self): two recoveries of one client's secrets would need to overlap.
  assert 2 * graph.threshold > degree + 1
  assert graph.threshold <= degree + 1


def test_three_hospitals_and_fifty_clients():
  assert (mask_graph.default_degree(3), mask_graph.random_graph(3, 2).threshold) == (2, 2)
  assert (mask_graph.default_degree(50), mask_graph.random_graph(50, 24).threshold) == (24, 13)


def test_connected_by_hand():
  ring = mask_graph.MaskGraph(neighbours=[(1, 5), (0, 2), (1, 3), (2, 4), (3, 5), (4, 0)], threshold=2)
  assert ring.connected([0, 1, 2]) and ring.connected([]) and ring.connected([4])
  assert not ring.connected([0, 1, 3, 4])


def test_order_is_drawn_anew():
  assert len({mask_graph.random_graph(30, 4).neighbours[0] for _ in range(5)}) > 1


@pytest.mark.parametrize('clients, degree', [(1, 1), (5, 0), (5, 5), (6, 3)])
def test_impossible_graphs_are_refused(clients, degree):
  with pytest.raises(ValueError):
    mask_graph.random_graph(clients, degree)
