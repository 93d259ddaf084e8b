"""Jump to default and wrong-way risk of single names, as pure functions of default losses."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engine.domain.arrays import Float64Array


def jump_to_default(
    loss: Float64Array, margined: Float64Array, names: npt.ArrayLike
) -> Float64Array:
    """Charge of each name: the worst defaults, beyond what margin already covers.

    Total of an account = max(0, sum of its `names` largest losses - margined), shared over these
    names in proportion to their losses. A name on which the account gains adds nothing.

    Parameters
    ----------
    loss : float64 array of shape (n_accounts, n_names)
        USD lost if the name defaults, net over the account; negative is a gain.
    margined : float64 array of shape (n_accounts,)
        Initial margin, USD.
    names : int or array of shape (n_accounts,)
        How many names default together; 0 charges nothing.

    Returns
    -------
    float64 array of shape (n_accounts, n_names)

    Examples
    --------
    Losses 60, 30, -20 with 40 margined: one name gives 20, all of it the first's; two names
    give 50, of which the first has 33.333333 and the second 16.666667.
    """
    worst = np.maximum(0.0, loss)
    rank = np.argsort(np.argsort(-worst, axis=1, kind="stable"), axis=1, kind="stable")
    counted = np.where(rank < np.reshape(names, (-1, 1)), worst, 0.0)
    total = counted.sum(axis=1)
    charge = np.maximum(0.0, total - margined)
    share = np.divide(charge, total, out=np.zeros_like(charge), where=total > 0.0)
    return np.asarray(counted * share[:, np.newaxis])


def wrong_way_risk(loss: Float64Array, share: Float64Array) -> Float64Array:
    """Charge of each name: share * max(0, loss if it defaults), elementwise.

    The share is 1 for positions on the clearing member itself (its default and the name's are one
    event, so nothing of the account's margin is set against it) and less for names that are only
    correlated with it. Loss 60 and share 0.25 give 15; a gain gives 0.
    """
    return np.asarray(share * np.maximum(0.0, loss))


def default_move(loss_given_default: npt.ArrayLike, level: npt.ArrayLike) -> Float64Array:
    """Fall of an absolute factor in default: -LGD * level. LGD 0.6 at 50 gives -30."""
    lost = np.asarray(loss_given_default, dtype=np.float64)
    return np.asarray(-lost * np.asarray(level, dtype=np.float64))


def default_log_move(loss_given_default: npt.ArrayLike) -> Float64Array:
    """Log return of a price that loses LGD: log(1 - LGD), at least that of a millionth left.

    The remainder keeps the logarithm finite where all is lost; it is worth nothing beside the
    loss. LGD 0.6 gives -0.916291.
    """
    left = 1.0 - np.asarray(loss_given_default, dtype=np.float64)
    return np.asarray(np.log(np.maximum(LEAST_LEFT, left)))


LEAST_LEFT = 1e-6
"""Share of a price that is left when all is lost."""
