"""frechet: how far two samples lie apart, as two Gaussians. Dowson, Landau 1982. Topic: adaptation."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def frechet(source: ArrayLike, target: ArrayLike) -> float:
    """Give |m_s - m_t|^2 + tr(C_s + C_t - 2 (C_s C_t)^1/2) of features (N, D) and (M, D).

    Dowson and Landau 1982; of an image network's features it is the FID (Heusel et al. 2017).
    Less is nearer: 0 for equal means and covariances. It is a SQUARED distance, in squared units: c times
    all features have c^2 times it, so give all sources features of one network. Moving or turning both
    samples changes nothing, nor does exchanging them. Few rows make it too large: take the same numbers of
    rows for all that is compared. Raises ValueError for fewer than 2 rows, and unequal widths.

    >>> round(frechet([[-1.0], [1.0]], [[2.0], [6.0]]), 6)  # 4^2 + (sqrt(8) - sqrt(2))^2
    18.0
    """
    zs, zt = (np.asarray(each, np.float64) for each in (source, target))
    if zs.ndim != 2 or zs.shape[1:] != zt.shape[1:] or min(len(zs), len(zt)) < 2:
        raise ValueError(
            f"features {zs.shape} and {zt.shape}; give (N, D), (M, D), 2 rows at least"
        )
    moved = np.square(zs.mean(0) - zt.mean(0)).sum()
    own, other = _root(zs), _root(zt)
    # The trace of the root of A'A B'B is the sum of the singular values of AB': no root is taken.
    both = np.linalg.norm(own @ other.T, "nuc")
    return float(max(moved + np.square(own).sum() + np.square(other).sum() - 2 * both, 0))


def _root(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give a small R with R'R = the covariance."""
    centred = (rows - rows.mean(0)) / np.sqrt(len(rows) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))
