"""What two programs may differ in: they add in other orders, and fuse other products.

How they round depends on the processor that they were compiled for, so equal bits are
asked of one program run twice, or of copies.
"""

import chex
import jax
import numpy as np


def assert_trees_close(ours, theirs, tolerance: float) -> None:
    """Relative to the largest entry of each array; integers and flags are equal.

    Moments of Adam are gradients: small ones are held to their own size, not to 1.
    """
    chex.assert_trees_all_equal_shapes_and_dtypes(ours, theirs)
    for (path, expected), found in zip(
        jax.tree_util.tree_leaves_with_path(theirs), jax.tree.leaves(ours), strict=True
    ):
        where = jax.tree_util.keystr(path)
        expected = np.asarray(expected)
        if not np.issubdtype(expected.dtype, np.floating):
            np.testing.assert_array_equal(found, expected, err_msg=where)
            continue
        atol = tolerance * np.abs(expected).max(initial=0.0)
        np.testing.assert_allclose(found, expected, rtol=0, atol=atol, err_msg=where)
