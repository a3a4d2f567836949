"""Data sets, their statistics and scores, and the replay buffer."""
