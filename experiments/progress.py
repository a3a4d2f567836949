"""A bar for long work: rate, time left and the latest score."""

import sys

from tqdm import tqdm


def progress_bar(description: str, total: int, unit: str) -> tqdm:
    """A bar on standard error; where that is no terminal, a line every ten seconds."""
    interval = 0.1 if sys.stderr.isatty() else 10.0
    return tqdm(
        total=total,
        desc=description,
        unit=unit,
        unit_scale=True,
        dynamic_ncols=True,
        mininterval=interval,
        maxinterval=max(interval, 10.0),
    )
