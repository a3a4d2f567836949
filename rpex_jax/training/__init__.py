"""The loops, one compiled chunk each: offline, online, evaluation."""
