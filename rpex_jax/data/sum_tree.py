"""A sum tree: rows drawn in proportion to priorities that change one by one.

The tree is one array: node 1 is the root, node n has the children 2n and 2n + 1, and
the last half holds the leaves. Drawing and changing k rows cost k log(rows).
"""

import jax
import jax.numpy as jnp

from rpex_jax.types import Array


def make_tree(priorities: Array) -> Array:
    """The tree over priorities, [num_rows] -> [2 * the next power of two]."""
    width = 1 << (len(priorities) - 1).bit_length()
    levels = [jnp.zeros(width).at[: len(priorities)].set(priorities)]
    while len(levels[0]) > 1:
        levels.insert(0, levels[0].reshape(-1, 2).sum(-1))
    return jnp.concatenate([jnp.zeros(1), *levels])


def change(tree: Array, rows: Array, priorities: Array) -> Array:
    """The tree where `rows` [k] have `priorities` [k]; equal rows must have equal."""
    nodes = len(tree) // 2 + rows
    tree = tree.at[nodes].set(priorities)
    for _ in range(_depth(tree)):
        nodes = nodes // 2
        tree = tree.at[nodes].set(tree[2 * nodes] + tree[2 * nodes + 1])
    return tree


def draw(key: jax.Array, tree: Array, count: int) -> Array:
    """`count` rows, [count], int32: one from each of as many equal shares of the sum.

    A row of priority 0 is never drawn; the sum must be positive.
    """
    places = jnp.arange(count) + jax.random.uniform(key, (count,))
    mass = places * (tree[1] / count)
    nodes = jnp.ones(count, jnp.int32)
    for _ in range(_depth(tree)):
        left, right = tree[2 * nodes], tree[2 * nodes + 1]
        # rounding may leave a little too much: then what is left has the mass
        goes_right = (mass >= left) & (right > 0.0)
        mass = jnp.where(goes_right, mass - left, mass)
        nodes = 2 * nodes + goes_right
    return nodes - len(tree) // 2


def _depth(tree: Array) -> int:
    return (len(tree) // 2).bit_length() - 1
