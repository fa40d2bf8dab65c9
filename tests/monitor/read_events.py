"""Prints every scalar of an event folder as TensorBoard reads it.

    python3 -m venv /tmp/tb && /tmp/tb/bin/pip install tensorboard setuptools
    /tmp/tb/bin/python tests/monitor/read_events.py LOGDIR
"""
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0})
events.Reload()
print("file_version", events.file_version)
for tag in events.Tags()["scalars"]:
    points = events.Scalars(tag)
    shown = [f"{p.step}:{p.value:.9g}" for p in points]
    if len(shown) > 4:
        shown = shown[:2] + ["..."] + shown[-2:]
    print(f"{tag}  {len(points)} points  {' '.join(shown)}")
