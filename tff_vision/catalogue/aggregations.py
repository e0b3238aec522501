"""How updates become one: aggregators, compressions and secure sums, and the attacks that they withstand."""

import dataclasses

from tff_vision.catalogue.rows import Kind, Row, Trait

_RULES = 'tff_vision.aggregation.rules'
_CODECS = 'tff_vision.aggregation.codecs'
_BOUND = ('update_norm_bound',)
_TOLERANCE = ('tolerated_fraction',)
_BITS = ('compression_bits',)
_RULE = frozenset((Trait.RULE,))
_LIMIT = frozenset((Trait.LIMIT,))
_COMPRESSES = frozenset((Trait.COMPRESSES,))


@dataclasses.dataclass(frozen=True)
class SecureSum(Row):
  """A secure sum.

  Attributes:
    opens: Who opens the sum.
    loss: What happens when a client is lost.
  """
  _: dataclasses.KW_ONLY
  opens: str = ''
  loss: str = ''


AGGREGATORS = Kind.of('aggregator', (
    Row('mean', 'the weighted mean'),
    Row('norm_clipping', 'the mean of updates shortened to update_norm_bound', traits=_LIMIT, reads=_BOUND,
        requires=_BOUND, loads='tff_vision.aggregation.limits:clip'),
    Row('zeroing', 'the mean; updates longer than update_norm_bound count as zero', traits=_LIMIT, reads=_BOUND,
        requires=_BOUND, loads='tff_vision.aggregation.limits:zero'),
    Row('median', 'the median of each coordinate', traits=_RULE, loads=f'{_RULES}:build_median'),
    Row('trimmed_mean', 'the mean of each coordinate without its extremes', traits=_RULE, reads=_TOLERANCE,
        loads=f'{_RULES}:build_trimmed_mean'),
    Row('krum', 'the update that is nearest to its neighbours', traits=_RULE, reads=_TOLERANCE,
        loads=f'{_RULES}:build_krum'),
    Row('multi_krum', 'the mean of the updates that are nearest to their neighbours', traits=_RULE, reads=_TOLERANCE,
        loads=f'{_RULES}:build_multi_krum'),
    Row('geometric_median', 'the point with the least sum of distances to the updates', traits=_RULE,
        loads=f'{_RULES}:build_geometric_median'),
), own=Row('', traits=frozenset((Trait.OWN_FACTORY,))))

COMPRESSIONS = Kind.of('compression', (
    Row('none', '32 bits a value', loads=f'{_CODECS}:plain'),
    Row('uniform', 'the nearest of 2^bits values of a block', traits=_COMPRESSES, reads=_BITS,
        loads=f'{_CODECS}:uniform'),
    Row('stochastic', 'a random neighbour of these, right on average', traits=_COMPRESSES, reads=_BITS,
        loads=f'{_CODECS}:stochastic'),
    Row('hadamard', 'the same after random signs and a Walsh-Hadamard transform', traits=_COMPRESSES, reads=_BITS,
        loads=f'{_CODECS}:hadamard'),
    Row('dft', 'the same after random phases and a discrete Fourier transform', traits=_COMPRESSES, reads=_BITS,
        loads=f'{_CODECS}:dft'),
    Row('top_k', 'the values of largest magnitude; the others wait for the client\'s next turn',
        traits=_COMPRESSES | {Trait.DEFERS}, reads=('top_k_fraction',), loads=f'{_CODECS}:top_k'),
))

_HIDES = frozenset((Trait.HIDES_UPDATES,))
SECURE_SUMS = Kind.of('secure_sum', (
    SecureSum('none', 'the server sees updates', opens='nobody: nothing is hidden',
              loss='the sum is over those who answered'),
    SecureSum('he', 'additive BFV under a key that the clients of a round make and hold together', traits=_HIDES,
              opens='all clients of the round together',
              loss='the round begins again with a fresh key, without those who stay away',
              loads='tff_vision.aggregation.secured:joint_key_process'),
    SecureSum('he_keyholder', 'additive BFV under the key pair of a key holder', traits=_HIDES,
              reads=('key_holder_dir',), requires=('key_holder_dir',),
              opens='the key holder (`--key_holder_dir`), which here runs in the coordinator\'s process',
              loss='the sum is over those who answered', loads='tff_vision.aggregation.secured:key_holder_process'),
    SecureSum('masks', 'pairwise masks modulo 2^32', traits=_HIDES,
              opens='the server, with shares of a majority of each client\'s neighbours; here it plays the clients\' '
                    'half of the key agreement too',
              loss='survived up to the threshold; beyond it the round begins again',
              loads='tff_vision.aggregation.secured:masks_process'),
))

ATTACKS = Kind.of('attack', (
    Row('none', 'nobody attacks'),
    Row('label_flip', 'class c becomes classes - 1 - c in the attackers\' examples',
        traits=frozenset((Trait.CHANGES_DATA,)), reads=('attack_fraction',),
        loads='tff_vision.data.attacked:flip_labels'),
    Row('sign_flip', 'attackers send their update times -attack_scale', traits=frozenset((Trait.CHANGES_UPDATES,)),
        reads=('attack_fraction', 'attack_scale'), loads='tff_vision.learning.attacked_work:sign_flip'),
    Row('scaled_update', 'attackers send their update times attack_scale', traits=frozenset((Trait.CHANGES_UPDATES,)),
        reads=('attack_fraction', 'attack_scale'), loads='tff_vision.learning.attacked_work:scaled_update'),
    Row('backdoor_patch', 'every other image of theirs carries a patch and the label attack_target',
        traits=frozenset((Trait.CHANGES_DATA,)), reads=('attack_fraction', 'attack_target', 'attack_patch'),
        loads='tff_vision.data.attacked:plant_backdoor'),
))
