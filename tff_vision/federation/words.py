"""An approval in plain words, for the person who gives it."""

import base64
import math
from collections.abc import Iterator

from tff_vision import wording
from tff_vision.accounting import gdp
from tff_vision.accounting import ledger as ledger_lib
from tff_vision.federation import approval as approval_lib
from tff_vision.federation import approved_costs, message_sizes, rehearsal
from tff_vision.federation import plan as plan_lib
from tff_vision.runtime.tff_internals import terms
from tff_vision.runtime.worker import signatures
from tff_vision.runtime.worker.guard import rules

_TENSORS_SHOWN = 6
_HOW = {'none': 'in the clear: the coordinator reads this site\'s sum', 'he': 'encrypted with the key of all sites',
        'masks': 'masked, by masks that this site makes itself', 'he_keyholder': 'encrypted with the key holder\'s key'}


def lines(plan: plan_lib.Plan, approved: approval_lib.Approval, rehearsed: rehearsal.Rehearsal) -> Iterator[str]:
  """Yields what will run, what leaves, how often, and what it costs the site's examples."""
  config, recorded = plan.experiment(), rehearsed.sites[approval_lib.site_number(plan, approved.site)]
  yield (f'site {approved.site} of {len(plan.sites)}; plan {plan.digest[:16]}: {config.algorithm.algorithm}, model '
         f'{config.model.model}, {plan.rounds} rounds, privacy={config.privacy.privacy}, '
         f'secure_sum={config.secure.secure_sum}')
  yield ''
  yield f'What runs here: {len(approved.computations)} computations, built here from the plan, and no others:'
  for digest in approved.computations:
    yield f'  sha256 {digest}{" (as in the plan)" if digest in plan.computations else ""}'
  if not plan.computations:
    yield '  The plan does not name them, so that a coordinator with other software is noticed only when it connects.'
  yield f'They read {len(approved.names)} file(s): {", ".join(approved.names[:4])}{_more(len(approved.names) - 4)}'
  yield ''
  for activity in approved.activities:
    yield from _leaving(activity, recorded.leaving[activity.name][0], config.secure.secure_sum)
  yield f'In total at most {approved.most_bytes:,} bytes of values leave.'
  if approved.plays:
    yield (f'Beside values, at most {message_sizes.of_attempt(approved, rehearsed):,} bytes of messages leave in each '
           'attempt at a sum that follows the protocol: what this site signs and seals for others, such as keys, '
           'shares of them, and digests.')
    yield from _played(approved)
  elif 'simulation' in rehearsed.hides:
    yield str(rehearsed.hides['simulation'])
  yield ''
  yield from _cost(plan, approved, rehearsed)
  yield f'After {approved.expires} nothing passes.'


def _played(approved) -> Iterator[str]:
  yield from {'masks': _masked, 'he': _joint, 'he_keyholder': _held}[approved.plays[0]](approved)
  yield 'It takes messages for those of a site if that site\'s certificate has this public key (SHA-256); ask them:'
  for peer in approved.peers:
    yield f'  {signatures.fingerprint(peer.public_key)} {peer.site}{" (this site)" * (peer.site == approved.site)}'
  if approved.key_holder:
    yield f'  {signatures.fingerprint(base64.b64decode(approved.key_holder))} the key holder'


def _joint(approved):
  yield ('Keys are checked here: in each round this site commits itself to its clients\' share of the key before it '
         'sees others, and its clients encrypt only under the sum of exactly the shares that the sites committed '
         'themselves to, its own among them.')
  yield (f'This site helps to open one sum in an attempt at a round: one that it adds up itself, from the signed '
         f'ciphertexts of at least {approved.fewest_sites} sites and {approved.fewest_clients} clients, its own among '
         'them. It gets the other sites\' ciphertexts for that, half of each.')


def _held(approved):
  yield ('Keys are checked here: this site\'s clients encrypt only under the key that the key holder signed for this '
         'plan, and the site signs what leaves, once in an attempt at a round.')
  yield ('The key holder opens sums over as many sites as its owner set, and this site cannot see to that: it trusts '
         'the key holder not to work with the coordinator.')


def _masked(approved):
  yield ('Masks are made here: this site\'s guard draws keys, shares and masks of its clients, for one attempt at a '
         'round; the coordinator passes on what is sealed and signed.')
  yield (f'This site helps to open a sum over at least {approved.fewest_clients} clients of at least '
         f'{approved.fewest_sites} sites, to which more than two thirds of the round\'s sites have agreed, once an '
         'attempt.')


def _leaving(activity: rules.Activity, fetched, secure_sum) -> Iterator[str]:
  yield f'{activity.name}, at most {activity.most} times; each time these leave:'
  for leaves in fetched:
    how = 'in the clear' if activity.name in (rehearsal.COUNT, rehearsal.PRESENT) else _HOW[secure_sum]
    yield f'  {sum(leaf.size for leaf in leaves):,} bytes, {how}: {_tensors(leaves)}'


def _tensors(leaves: list[terms.Leaf]) -> str:
  shown = [f'{leaf.name} {leaf.kind}'.strip() for leaf in leaves[:_TENSORS_SHOWN]]
  return ', '.join(shown) + _more(len(leaves) - _TENSORS_SHOWN)


def _more(number: int) -> str:
  return f' and {number} more' if number > 0 else ''


def _cost(plan, approved, rehearsed):
  if rehearsed.privacy is None:
    yield 'Nothing is trained. Whatever noise a survey has is added by the coordinator, and nobody here can see to it.'
    return
  stated = rehearsed.privacy.ledger(plan.rounds)
  if isinstance(stated, ledger_lib.NoGuarantee):
    yield 'Privacy: nothing is promised to the people in the images; whoever has the model may learn of them.'
    return
  rounds, most = approved.epsilon[-1]
  here = approved_costs.rounds_here(plan, approval_lib.site_number(plan, approved.site), rehearsed)
  planned = next(epsilon for number, epsilon in approved.epsilon if number >= here)
  of_all = f' of {plan.rounds}, in which its clients take part,' if here < plan.rounds else ''
  yield (f'Privacy of this site\'s examples: epsilon {wording.at_most(planned)} '
         f'after {wording.counted(here, "round")}{of_all or ","} and at most {wording.at_most(most)} '
         f'after the {rounds} that may begin.')
  yield f'  {stated.sentence(wording.at_most(planned))}'
  if not stated.against_server:
    yield '  It holds for whoever sees the models, and not against a coordinator that reads this site\'s sum.'
  yield from _held_out(plan, approved, stated.delta)


def _held_out(plan, approved, delta):
  """Yields what evaluations cost a held-out example, where the epsilon of training does not include them."""
  privacy = plan.experiment().privacy
  times = [one.most for one in approved.activities if one.name in (rehearsal.VALIDATION, rehearsal.TEST)]
  if privacy.evaluation_noise_multiplier is None or not privacy.of_examples or not times:
    return
  epsilon = gdp.epsilon(math.sqrt(max(times)) / privacy.evaluation_noise_multiplier, delta)
  yield (f'Privacy of held-out examples, which are not trained on: epsilon at most {wording.at_most(epsilon)} at delta '
         f'{wording.at_most(delta, ".3g")} after {max(times)} evaluations, for whoever reads the reports; the '
         'coordinator opens the sums before it adds the noise.')
