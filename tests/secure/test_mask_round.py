"""The masked sum's protocol, over random dropouts in every phase, against plain sums."""

import numpy as np
import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st

from tff_vision.secure.masking import mask_expansion, mask_protocol, mask_round

LENGTH = 9


def _masked(values, rows):
  return mask_expansion.remove_masks(values, [np.append(row[:8], row[8] ^ 1).astype(np.uint32) for row in rows])


def _run(clients, dropouts, degree=None):
  """Returns (opened sum, plain sum of the uploaders, uploaders, their masked uploads)."""
  values = np.random.default_rng(clients).integers(0, 2**16, [clients, LENGTH]).astype(np.uint32)
  protocol = mask_round.MaskRound(clients, round_num=1, dropouts=dropouts, degree=degree)
  uploads = {i: _masked(values[i], protocol.mask_rows(i)) for i in protocol.uploaders}
  opened = protocol.unmask(sum(uploads.values(), np.zeros(LENGTH, np.uint32)))
  return opened, values[list(protocol.uploaders)].sum(0), protocol.uploaders, uploads


@settings(max_examples=60, deadline=None)
@given(data=st.data(), clients=st.integers(2, 16))
def test_any_dropouts_give_the_exact_sum_or_nothing(data, clients):
  """Each client is lost in one of the four phases, or in none."""
  phases = data.draw(st.lists(st.sampled_from([None, None, None, 'advertise', 'share', 'upload', 'reveal']),
                              min_size=clients, max_size=clients))
  degree = data.draw(st.sampled_from([None, 4])) if clients > 5 else None
  dropouts = mask_round.Dropouts(**{name: [i for i, phase in enumerate(phases) if phase == name]
                                    for name in ('advertise', 'share', 'upload', 'reveal')})
  try:
    opened, expected, uploaders, _ = _run(clients, dropouts, degree)
  except mask_round.TooFewClientsError:
    # With all others as neighbours, a majority that stays to the end is always enough.
    if degree is None and clients <= 12:
      assert 2 * phases.count(None) <= clients
    return
  assert uploaders == [i for i, phase in enumerate(phases) if phase in (None, 'reveal')]
  np.testing.assert_array_equal(opened, expected)


def test_three_hospitals_survive_one_loss_in_any_phase():
  for phase in ('advertise', 'share', 'upload', 'reveal'):
    opened, expected, uploaders, _ = _run(3, mask_round.Dropouts(**{phase: [1]}))
    np.testing.assert_array_equal(opened, expected)
    assert (1 in uploaders) == (phase == 'reveal')


def test_neither_server_nor_clients_open_a_sum_over_fewer_than_were_agreed():
  protocol = mask_round.MaskRound(4, round_num=1, dropouts=mask_round.Dropouts(upload=[3]), fewest=4)
  uploads = [_masked(np.ones(LENGTH, np.uint32), protocol.mask_rows(i)) for i in protocol.uploaders]
  with pytest.raises(mask_round.TooFewClientsError, match='3 clients delivered, and 4 are needed'):
    protocol.unmask(sum(uploads, np.zeros(LENGTH, np.uint32)))
  # A server that asks all the same.
  with pytest.raises(ValueError, match='client 0 refuses: too few clients have uploaded, 3 of at least 4'):
    protocol._clients[0].reveal(uploaded=[0, 1, 2], dropped=[3])


@pytest.mark.parametrize('dropouts', [
    mask_round.Dropouts(upload=[1, 2]), mask_round.Dropouts(reveal=[0, 1]), mask_round.Dropouts(advertise=[0, 1]),
    mask_round.Dropouts(share=[0], upload=[1]), mask_round.Dropouts(advertise=[0], share=[1])])
def test_two_losses_of_three_fail_closed(dropouts):
  with pytest.raises(mask_round.TooFewClientsError):
    _run(3, dropouts)


def test_masks_hide_an_upload_and_cancel_only_in_the_full_sum():
  _, expected, uploaders, uploads = _run(5, mask_round.Dropouts())
  assert not any(np.array_equal(upload, value) for upload in uploads.values() for value in [expected])
  partial = sum((uploads[i] for i in uploaders[:-1]), np.zeros(LENGTH, np.uint32))
  total = partial + uploads[uploaders[-1]]
  assert np.median(np.minimum(total, -total)) > 2**24  # Own masks remain until shares are revealed.


class _Trio:
  """Three clients after phase 2."""

  def __init__(self):
    self.clients = [mask_protocol.MaskClient(i, round_num=4, threshold=2) for i in range(3)]
    keys = [c.advertise() for c in self.clients]
    self.sealed = [c.share({j: keys[j] for j in range(3) if j != c.index}) for c in self.clients]
    for c in self.clients[1:]:
      c.receive({j: self.sealed[j][c.index] for j in range(3) if j != c.index})


def test_clients_refuse_what_would_unmask_one_of_them():
  trio = _Trio()
  with pytest.raises(ValueError, match='one of a client'):
    trio.clients[1].reveal(uploaded=[0, 1, 2], dropped=[2])
  with pytest.raises(ValueError, match='too few'):
    trio.clients[1].reveal(uploaded=[0], dropped=[2])
  trio.clients[1].reveal(uploaded=[0, 1], dropped=[2])
  with pytest.raises(ValueError, match='once'):
    trio.clients[1].reveal(uploaded=[0, 1, 2], dropped=[])


def test_sealed_shares_are_for_one_reader_and_cannot_be_changed():
  trio = _Trio()
  box = trio.sealed[1][0]
  with pytest.raises(InvalidTag):
    trio.clients[0].receive({1: bytes([box[0] ^ 1]) + box[1:]})
  with pytest.raises(InvalidTag):
    trio.clients[0].receive({1: trio.sealed[1][2]})
  with pytest.raises(InvalidTag):
    trio.clients[0].receive({1: trio.sealed[2][0]})
  trio.clients[0].receive({1: box, 2: trio.sealed[2][0]})


def test_neighbours_agree_on_a_mask_with_opposite_signs():
  trio = _Trio()
  rows = {c.index: c.mask_rows() for c in trio.clients[1:]}
  one, two = rows[1][2], rows[2][2]  # Own mask, neighbour 0, then each other.
  np.testing.assert_array_equal(one[:8], two[:8])
  assert (one[8], two[8]) == (0, 1)


def test_keys_are_fresh_in_each_round():
  first, second = (mask_round.MaskRound(3, round_num=1, dropouts=mask_round.Dropouts()) for _ in range(2))
  assert not np.intersect1d(first.mask_rows(0)[:, :8], second.mask_rows(0)[:, :8]).size
