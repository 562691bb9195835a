"""sparse_coding: parts that unlabelled examples have, few each. Raina et al. 2007. Topic: self-taught.

Raina, Battle, Lee, Packer, Ng: self-taught learning. The dictionary comes from examples of another kind; the
codes of the labelled ones, with the dictionary as it is, go into a classifier.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.decomposition import MiniBatchDictionaryLearning, sparse_encode

Array = NDArray[np.float64]


def sparse_coding(
    rows: ArrayLike, atoms: int, beta: float, passes: int = 10, batch: int = 64, seed: int = 0
) -> Array:
    """Learn a dictionary (atoms, D) of rows (N, D), such as patches: min sum |x - a B|^2 + beta |a|_1.

    No atom is longer than 1 (Raina et al. 2007, equation 1); found in mini-batches (Mairal et al. 2009).
    Rows and `beta` scale together: c times the rows with c times `beta` have about the same dictionary.
    Subtract means from the rows before: an atom is needed for them otherwise. Raises ValueError for settings
    not above 0, and for fewer rows than 2.

    >>> rows = np.repeat([[3.0, 0.0], [0.0, 2.0]], 50, axis=0)
    >>> sorted(np.abs(sparse_coding(rows, atoms=2, beta=0.2)).round(2).tolist())
    [[0.0, 1.0], [1.0, 0.0]]
    """
    x = np.asarray(rows, np.float64)
    if min(atoms, beta, passes, batch) <= 0 or x.ndim != 2 or len(x) < 2:
        raise ValueError(
            f"rows {x.shape}, atoms {atoms}, beta {beta}, passes {passes}, batch {batch}; give 2 rows "
            "(N, D) or more, and settings above 0"
        )
    # Scikit-learn halves the squared error.
    learner = MiniBatchDictionaryLearning(
        atoms,
        alpha=beta / 2,
        max_iter=passes,
        batch_size=min(batch, len(x)),
        fit_algorithm="cd",
        tol=0,  # else it stops as soon as one mini-batch changes little
        max_no_improvement=None,
        random_state=seed,
    )
    dictionary: Array = learner.fit(x).components_
    return dictionary


def codes(rows: ArrayLike, dictionary: ArrayLike, beta: float, steps: int = 10000) -> Array:
    """Give the sparse codes of rows, from a dictionary that stays: (N, D) and (A, D) -> (N, A).

    Each minimises |x - a B|^2 + beta |a|_1 (Raina et al. 2007, equation 2), in at most `steps` rounds over
    its atoms. c times the rows with c times `beta` give c times the codes; atoms in another order, columns
    in that order. Raises ValueError for a beta that is not above 0.

    >>> codes([[3.0, 0.05]], [[1.0, 0.0], [0.0, 1.0]], beta=0.2).round(6).tolist()
    [[2.9, 0.0]]
    """
    if beta <= 0:
        raise ValueError(f"beta is {beta}; give a strength above 0")
    x, atoms = np.asarray(rows, np.float64), np.asarray(dictionary, np.float64)
    found: Array = sparse_encode(
        x, atoms, algorithm="lasso_cd", alpha=beta / 2, max_iter=steps, check_input=False
    )
    return found
