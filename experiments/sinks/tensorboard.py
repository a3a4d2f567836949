"""Event files of TensorBoard, a folder a run, below a results folder."""

import time
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from experiments.sinks import Point, Run


class TensorBoard:
    """`tensorboard --logdir=OUT/tensorboard` shows the curves.

    Files are open only while points are added: a process may have few files open at a
    time, and hundreds of runs.
    """

    def __init__(self, out: Path):
        self._folder = out / "tensorboard"
        self._files: dict[str, Path] = {}  # by run

    def write(self, run: Run, points: list[Point]) -> None:
        events = []
        if run.name not in self._files:
            self._files[run.name] = _new_file(self._folder / run.name)
            # Who has the run's old curves on the screen is to forget them.
            start = SessionLog(status=SessionLog.START)
            events = [Event(file_version="brain.Event:2"), Event(session_log=start)]
        events += [
            Event(
                step=point.step,
                summary=Summary(
                    value=[
                        Summary.Value(tag=name, simple_value=value)
                        for name, value in point.values.items()
                    ]
                ),
            )
            for point in points
        ]
        with open(self._files[run.name], "ab") as file:
            writer = RecordWriter(file)
            for event in events:
                event.wall_time = time.time()
                writer.write(event.SerializeToString())

    def close(self) -> None:
        pass


def _new_file(folder: Path) -> Path:
    """A name for a run's events in place of all files of the run that there are.

    It is always another, since a TensorBoard that runs keeps the old file open.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("events.out.tfevents.*"):
        old.unlink()
    return folder / f"events.out.tfevents.{time.time_ns()}"
