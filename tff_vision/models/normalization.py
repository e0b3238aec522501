"""How many groups a group normalisation has (Wu and He, "Group Normalization", ECCV 2018)."""

_MOST_GROUPS = 32
_LEAST_CHANNELS = 8


def groups_of(channels: int) -> int:
  """Returns the largest divisor of `channels` up to 32 that leaves 8 channels or more to a group, or 1.

  Groups of one channel would normalise away whatever a map of one pixel says, and small images end as such maps.
  """
  return max((groups for groups in range(1, _MOST_GROUPS + 1)
              if channels % groups == 0 and channels >= groups * _LEAST_CHANNELS), default=1)
