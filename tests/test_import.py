"""Importing does no work: no device, no network, no file."""

import json
import subprocess
import sys

# Imports every module of the package while writes, sockets and processes are refused.
PROBE = """
import importlib, json, pkgutil, tempfile
import sys

import rpex_jax

forbidden = []
tempfile.gettempdir()  # tries out where it can write, whoever asks first


def watch(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        # creating a socket object is what some libraries probe for; none connects
        if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            forbidden.append([event, str(arguments[1:])])
    elif event == "open":
        path, mode, flags = arguments
        writes = set(mode or "") & set("wax+") and not isinstance(path, int)
        if writes and "__pycache__" not in str(path) and str(path) != "/dev/null":
            forbidden.append([event, str(path)])
    elif event in ("os.mkdir", "os.remove", "os.rename", "os.rmdir"):
        if "__pycache__" not in str(arguments[0]):
            forbidden.append([event, str(arguments[0])])


sys.addaudithook(watch)
names = ["rpex_jax"] + [
    module.name for module in pkgutil.walk_packages(rpex_jax.__path__, "rpex_jax.")
]
for name in names:
    importlib.import_module(name)

from jax._src import xla_bridge

print(json.dumps([names, list(xla_bridge._backends), forbidden]))
"""


def test_importing_touches_nothing(tmp_path):
    """A user's `import rpex_jax.x` claims no GPU, writes no file and calls nobody.

    Audit hooks watch what every module of the package does on import; byte code is
    left aside.
    """
    done = subprocess.run(
        [sys.executable, "-B", "-c", PROBE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    names, backends, forbidden = json.loads(done.stdout.splitlines()[-1])
    assert {"rpex_jax.sweep", "rpex_jax.agents.sac", "rpex_jax.envs.physics"} <= set(
        names
    )
    assert backends == [], "a device was initialised"
    assert forbidden == []
    assert done.stdout.count("\n") == 1, "importing printed something"
    assert list(tmp_path.iterdir()) == []
