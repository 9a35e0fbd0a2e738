"""Keep the front-end files that the built book serves, so that it loads nothing from outside.

    python tools/vendor.py check     compare book/_static/vendor with its checksums
    python tools/vendor.py fetch     get the files again; they must have these very checksums
    python tools/vendor.py update    get the files and write new checksums, after a change below

The files come from npm packages (npm must be installed), and anywidget's from its Python package,
because it must have the version of the notebooks. `SHA256SUMS` in the folder is the lock;
`sha256sum --check SHA256SUMS` reads it too.
"""

import argparse
import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parents[1]
VENDOR = ROOT / "book" / "_static" / "vendor"
LOCK = VENDOR / "SHA256SUMS"
OURS = {"SHA256SUMS", "LICENCES.txt"}

# package → (pattern inside it, folder under vendor)
PACKAGES: dict[str, list[tuple[str, str]]] = {
    "mathjax@3.2.2": [
        ("es5/tex-mml-chtml.js", "mathjax"),
        ("es5/input/tex/extensions/*.js", "mathjax/input/tex/extensions"),  # as a formula asks
        ("es5/output/chtml/fonts/woff-v2/*.woff", "mathjax/output/chtml/fonts/woff-v2"),
    ],
    "requirejs@2.3.8": [("require.js", ".")],
    "@jupyter-widgets/html-manager@1.0.15": [
        ("dist/embed-amd.js", "html-manager"),
        ("dist/*.woff2", "html-manager"),
    ],
}
LEFT_OUT = {"all-packages.js"}  # every TeX extension at once: they are loaded one by one


def fetch(folder: Path) -> None:
    """Put all files into `folder`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("vendor: npm is missing. Install Node.js, then try again.")
    for package, patterns in PACKAGES.items():
        with tempfile.TemporaryDirectory() as inside:
            command = [npm, "pack", package, "--silent", "--pack-destination", inside]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            (archive,) = Path(inside).glob("*.tgz")
            with tarfile.open(archive) as packed:
                for member in packed.getmembers():
                    name = PurePosixPath(member.name).relative_to("package")
                    for pattern, target in patterns:
                        if name.match(pattern) and name.name not in LEFT_OUT:
                            place = folder / target / name.name
                            place.parent.mkdir(parents=True, exist_ok=True)
                            place.write_bytes(packed.extractfile(member).read())  # type: ignore[union-attr]
    spec = importlib.util.find_spec("anywidget")
    if spec is None or spec.origin is None:
        raise SystemExit("vendor: anywidget is missing. Run this with .venv/bin/python.")
    (folder / "anywidget").mkdir(parents=True, exist_ok=True)
    shutil.copyfile(
        Path(spec.origin).parent / "nbextension" / "index.js", folder / "anywidget" / "index.js"
    )


def sums(folder: Path) -> str:
    """The lines that `sha256sum` prints, sorted by name."""
    files = {
        path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()
    }
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n"
        for name, path in sorted(files.items())
        if name not in OURS
    )


def differing(there: str, wanted: str) -> list[str]:
    """Names of the files whose lines are in one text only."""
    lines = set(there.splitlines()) ^ set(wanted.splitlines())
    return sorted({line.split("  ", 1)[1] for line in lines})


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("check", "fetch", "update"))
    command = parser.parse_args().command
    if command == "check":
        wrong = differing(sums(VENDOR), LOCK.read_text())
    else:
        with tempfile.TemporaryDirectory() as fresh:
            fetch(Path(fresh))
            found = sums(Path(fresh))
            wrong = differing(found, LOCK.read_text()) if command == "fetch" else []
            if not wrong:
                for path in VENDOR.iterdir():
                    if path.is_dir():
                        shutil.rmtree(path)
                    elif path.name not in OURS:
                        path.unlink()
                for path in Path(fresh).iterdir():
                    put = shutil.copytree if path.is_dir() else shutil.copyfile
                    put(path, VENDOR / path.name)
                LOCK.write_text(found)
    if wrong:
        print(f"vendor: these files are not what SHA256SUMS says: {', '.join(wrong)}")
        return 1
    size = sum(path.stat().st_size for path in VENDOR.rglob("*") if path.is_file())
    print(f"book/_static/vendor is in order ({size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
