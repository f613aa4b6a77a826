"""Which faster layer takes the place of which plain one."""

import copy

from torch import nn

from affectlib.models import attend_affect, gla
from affectlib.stacked import recurrent, transformer

# For each kind of model: its plain layers, and the twin of each.
TWINS = {
    attend_affect.FeatureAAN: transformer.TWINS,
    attend_affect.TemporalAAN: transformer.TWINS,
    gla.GLA: recurrent.TWINS,
}


def fast(model: nn.Module) -> nn.Module:
    """A copy of a model in which each layer gives way to its faster twin.

    The copy has the same parameters under the same names, and gives the same numbers up to
    rounding. Only dropout of the AttendAffectNet models draws other random values.

    Args:
        model: any model; one without faster twins is only copied

    Examples:
        >>> model = gla.GLA(sizes=(5, 3), hidden=4, length=10)
        >>> type(fast(model)).__name__
        'SlidingGLA'
    """
    twins = {}
    for kind, layers in TWINS.items():
        if isinstance(model, kind):
            twins = layers
    faster = copy.deepcopy(model)
    for module in faster.modules():
        # A twin differs from its layer in methods only, so that the class is all that changes.
        module.__class__ = twins.get(type(module), type(module))
    return faster
