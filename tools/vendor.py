"""Keep the front-end files that the built book serves, so that it loads nothing from outside.

    python tools/vendor.py check     compare the vendored files with their checksums
    python tools/vendor.py fetch     get the files again; they must have these very checksums
    python tools/vendor.py update    get the files and write new checksums, after a change below

There are two folders: `book/_static/vendor` is part of the built book, `tests/vendor` is only for
its tests. The files come from npm packages (npm must be installed), and anywidget's from its Python
package, because it must have the version of the notebooks. `SHA256SUMS` in a folder is its lock;
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
LOCK = "SHA256SUMS"
OURS = {LOCK, "LICENCES.txt"}

# package → (pattern inside it, folder under vendor)
Packages = dict[str, list[tuple[str, str]]]
BOOK: Packages = {
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
    # the page that trains: kernels in WebAssembly, and what calls them
    "@tensorflow/tfjs-core@4.22.0": [("dist/tf-core.es2017.min.js", "tensorflow")],
    "@tensorflow/tfjs-backend-wasm@4.22.0": [
        ("dist/tf-backend-wasm.es2017.min.js", "tensorflow"),
        ("dist/tfjs-backend-wasm-simd.wasm", "tensorflow"),
    ],
}
TESTS: Packages = {"axe-core@4.14.1": [("axe.min.js", "axe-core")]}
FOLDERS = {"book/_static/vendor": BOOK, "tests/vendor": TESTS}
LEFT_OUT = {"all-packages.js"}  # every TeX extension at once: they are loaded one by one


def fetch(packages: Packages, folder: Path) -> None:
    """Put the files of `packages` into `folder`."""
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit("vendor: npm is missing. Install Node.js, then try again.")
    for package, patterns in packages.items():
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
    if packages is BOOK:
        fetch_anywidget(folder)


def fetch_anywidget(folder: Path) -> None:
    """Put the script of the installed anywidget into `folder`."""
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


def check(folder: Path) -> list[str]:
    """Names of the files that are not what the lock of `folder` says."""
    return differing(sums(folder), (folder / LOCK).read_text())


def renew(folder: Path, packages: Packages, update: bool) -> list[str]:
    """Get the files of `folder` anew, unless they differ from its lock and `update` is false."""
    with tempfile.TemporaryDirectory() as place:
        fresh = Path(place)
        fetch(packages, fresh)
        found = sums(fresh)
        wrong = [] if update else differing(found, (folder / LOCK).read_text())
        if not wrong:
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path)
                elif path.name not in OURS:
                    path.unlink()
            for path in fresh.iterdir():
                put = shutil.copytree if path.is_dir() else shutil.copyfile
                put(path, folder / path.name)
            (folder / LOCK).write_text(found)
    return wrong


def main() -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", choices=("check", "fetch", "update"))
    command = parser.parse_args().command
    failed = False
    for name, packages in FOLDERS.items():
        folder = ROOT / name
        if command == "check":
            wrong = check(folder)
        else:
            wrong = renew(folder, packages, update=command == "update")
        if wrong:
            failed = True
            print(f"vendor: not what {name}/{LOCK} says: {', '.join(wrong)}")
        else:
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"{name} is in order ({size / 1e6:.1f} MB)")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
