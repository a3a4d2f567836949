"""A video of a movement, drawn off screen by MuJoCo's renderer.

MuJoCo chooses how to draw once, when it is imported. The drawing is therefore done in a
process of its own: this file, run as a program.
"""

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import mujoco
import numpy as np

BACKENDS = ("egl", "osmesa")  # of MUJOCO_GL, without a screen


class RenderingError(RuntimeError):
    """Nothing can be drawn here; one sentence that says what to install."""


def find_backend() -> str:
    """What MuJoCo can draw with: `MUJOCO_GL` if it is set, else the first that works.

    Raises:
      RenderingError: nothing works, or videos cannot be written.
    """
    try:
        import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise RenderingError(
            "videos need the package imageio-ffmpeg: pip install -e '.[video]'"
        ) from error
    chosen = os.environ.get("MUJOCO_GL")
    for backend in (chosen,) if chosen else BACKENDS:
        if _run(backend, "").returncode == 0:
            return backend
    raise RenderingError(
        f"MuJoCo cannot draw here with MUJOCO_GL={chosen or ' or '.join(BACKENDS)}: "
        "install libegl1 and libgl1-mesa-dri for egl, or libosmesa6 for osmesa "
        "(names of Debian and Ubuntu; with an NVIDIA driver, its own libraries do)"
    )


def write_video(
    path: Path, model: mujoco.MjModel, positions: np.ndarray, seconds_per_step: float
) -> None:
    """Writes a video, 640 x 480, in real time, at no more than 50 frames a second.

    Args:
      path: its name, `out.mp4`; whole or not there.
      model: the body.
      positions: qpos after each step, [steps, nq].
      seconds_per_step: of simulated time.

    Raises:
      RenderingError: nothing can be drawn here.
    """
    backend = find_backend()
    skip = math.ceil(1 / (50 * seconds_per_step) - 1e-9)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".video-") as folder:
        scene = Path(folder)
        mujoco.mj_saveModel(model, str(scene / "model.mjb"))
        np.save(scene / "positions.npy", positions[::skip])
        (scene / "rate").write_text(str(1 / (skip * seconds_per_step)))
        done = _run(backend, folder)
        if done.returncode:
            raise RenderingError(f"drawing failed: {done.stderr.splitlines()[-1]}")
        os.replace(scene / "video.mp4", path)


def _run(backend: str, folder: str) -> subprocess.CompletedProcess:
    """This file as a program; -P keeps its neighbours from hiding other modules."""
    return subprocess.run(
        [sys.executable, "-P", __file__, folder],
        env=os.environ | {"MUJOCO_GL": backend},
        capture_output=True,
        text=True,
        check=False,
    )


def _draw(folder: str) -> None:
    """Draws what `write_video` left in a folder; nothing much if there is no folder."""
    if not folder:
        with mujoco.Renderer(mujoco.MjModel.from_xml_string("<mujoco/>"), 8, 8) as r:
            r.render()
        return
    import imageio_ffmpeg

    scene = Path(folder)
    model = mujoco.MjModel.from_binary_path(str(scene / "model.mjb"))
    data = mujoco.MjData(model)
    camera: int | mujoco.MjvCamera = 0  # Gymnasium's models follow the body with it
    if not model.ncam:  # a pendulum, of about a metre
        camera = mujoco.MjvCamera()
        camera.lookat, camera.distance, camera.elevation = (0, 0, 0.3), 3.0, -10.0
    video = imageio_ffmpeg.write_frames(
        str(scene / "video.mp4"), (640, 480), fps=float((scene / "rate").read_text())
    )
    video.send(None)
    with mujoco.Renderer(model, height=480, width=640) as renderer:
        for qpos in np.load(scene / "positions.npy"):
            data.qpos = qpos
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera)
            video.send(np.ascontiguousarray(renderer.render()))
    video.close()


if __name__ == "__main__":
    _draw(sys.argv[1])
