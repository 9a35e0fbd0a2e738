"""The walls are believed only after a probe; where none stand, nothing is graded."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from school import CHAPTER, NAME, RIGHT, confined, one, points

from pftlab import Refused
from pftlab.book.classroom import grade, walls
from pftlab.book.classroom.remote import Sandbox
from pftlab.book.classroom.walls import Bubblewrap, Container, NoWalls, found, ways_through
from pftlab.book.exercises.check import AnswerError, TooSlow


def tool(folder, name, body):
    """A program on the PATH."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def only(tmp_path, monkeypatch):
    """A folder that is the whole PATH, but for the tools that the system needs."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sleep", "env", "bwrap"):
        for place in ("/usr/bin", "/bin"):
            if Path(place, name).exists() and not (folder / name).exists() and name != "bwrap":
                (folder / name).symlink_to(Path(place, name))
    monkeypatch.setenv("PATH", str(folder))
    return folder


@confined
def test_bubblewrap_stands():
    assert ways_through(Bubblewrap(), 2048) == []
    assert found("none", 2048) == Bubblewrap()


def test_the_probe_finds_what_is_open():
    said = ways_through(NoWalls(), 2048)[0]
    for way in ("read", "write", "truncate", "chmod", "utime", "remove", "signal", "TCP", "UDP",
                "a socket file", "another process", "another file", "a listener"):  # fmt: skip
        assert way in said
    attempts = {"memory files": None, "a process": None, "the methods": None, "memory": 4096}
    with Sandbox(NoWalls(), 2048) as sandbox:
        for way, where in attempts.items():
            with sandbox.answer(walls.PROBE, "attempt", 20) as attempt:
                assert attempt(way, where) == "done"


HOLES = {
    "no filter": ([], False, "a process"),
    "the network": (["--share-net"], False, "TCP"),
    "the files": (["--ro-bind"], True, "read"),
    "the right to write": (["--bind"], True, "write"),
    "an option that is not known": (["--nonsense"], True, "did not start"),
}


@confined
@pytest.mark.parametrize("hole", HOLES)
def test_the_probe_finds_a_missing_wall(hole, monkeypatch):
    words, filtered, way = HOLES[hole]
    folder = tempfile.mkdtemp(dir="/tmp")  # short, for a socket is in it
    monkeypatch.setattr(tempfile, "tempdir", folder)
    if words and words[0].endswith("bind"):
        words = [*words, folder, folder]

    class Holed(Bubblewrap):
        def command(self, megabytes, called):
            *command, python, alone, module, world, setting = super().command(megabytes, called)
            if not filtered:
                setting = setting.replace("true", "false")
            at = command.index("--proc")
            command[at:at] = words
            return [*command, python, alone, module, world, setting]

    assert way in str(ways_through(Holed(), 2048))
    os.rmdir(folder)


@confined
def test_a_filter_that_cannot_be_set_is_named(tmp_path):
    import pyseccomp

    (tmp_path / "empty").touch()

    class Unfiltered(Bubblewrap):
        def command(self, megabytes, called):
            words = super().command(megabytes, called)
            at = words.index("--remount-ro")
            words[at:at] = ["--ro-bind", str(tmp_path / "empty"), pyseccomp.__file__]
            return words

    [said] = ways_through(Unfiltered(), 2048)
    assert "did not start" in said and "SyscallFilter" in said


def test_without_a_tool_nothing_is_graded(only, tmp_path, capsys):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.ipynb").write_text(one(RIGHT[NAME]))
    with pytest.raises(Refused, match=r"not installed.*apt install bubblewrap.*--unconfined"):
        grade(folder, tmp_path / "g.csv", [CHAPTER], quiet=True)
    assert not list(tmp_path.glob("g*"))
    grades = grade(folder, tmp_path / "g.csv", [CHAPTER], quiet=True, unconfined=True)
    assert capsys.readouterr().out.startswith(
        "Unconfined: the students' code runs with your rights"
    )
    assert points(grades.rows[0]) == 4 and grades.walls == "nothing"
    assert "ran unconfined" in (tmp_path / "g.html").read_text("utf-8")


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap is of Linux")
def test_a_system_that_refuses_namespaces(only, tmp_path):
    tool(only, "bwrap", "echo 'bwrap: No permissions to create new namespace' >&2; exit 1")
    with pytest.raises(Refused, match="No permissions to create new namespace"):
        found("none", 2048)


def container(only, tmp_path, body):
    return tool(only, "docker", f"printf '%s\\n' \"$@\" >> {tmp_path / 'words'}\n{body}")


@pytest.mark.parametrize("name", ["docker", "podman"])
def test_a_container_is_told_to_confine(name):
    words = Container(name, "image-of-the-class").command(2048, "of-its-own")
    text = " ".join(words)
    assert text.startswith(f"{name} run --rm --interactive --network none --read-only")
    for part in ("--name of-its-own", "--cap-drop ALL", "--security-opt no-new-privileges", "--pids-limit 64",
                 "--memory 5120m --memory-swap 5120m", "--tmpfs /tmp:size=64m", "--user 1000:1000",
                 f"--volume {walls.WORLD}:/answers/world:ro"):  # fmt: skip
        assert part in text
    at = words.index("image-of-the-class")
    assert words[at + 1 : at + 5] == ["python", "-P", "-m", "world"]
    assert words.count("--volume") == 1


def test_a_container_that_does_not_confine_is_refused(only, tmp_path):
    world = f'cd /; PYTHONPATH={walls.WORLD.parent} exec {sys.executable} -P -m world \'{{"megabytes": 2048, "filter": false}}\''
    container(only, tmp_path, world)
    with pytest.raises(Refused, match="docker: an answer could reach read") as refused:
        found("pftlab", 2048)
    for way in ("many processes", "memory of several processes", "UDP"):
        assert way in str(refused.value)
    assert "--network\nnone" in (tmp_path / "words").read_text()


@confined
def test_a_container_that_confines_is_used(only, tmp_path, monkeypatch):
    """A docker that records what it is told, and confines by other means."""
    most = tmp_path / "memory.max"
    most.write_text(str((walls.TORCH + 2048) * 2**20))
    command = Bubblewrap().command(2048, "")
    at = command.index("--remount-ro")
    command[at:at] = ["--ro-bind", str(most), "/sys/fs/cgroup/memory.max"]
    quoted = " ".join(f"'{word}'" for word in ["/usr/bin/bwrap", *command[1:]])
    container(only, tmp_path, f"exec {quoted}")
    monkeypatch.setattr(walls.sys, "platform", "darwin")
    assert found("pftlab", 2048) == Container("docker", "pftlab")
    most.write_text("max\n")
    with pytest.raises(Refused, match="docker: an answer could reach memory of several processes"):
        found("pftlab", 2048)
    monkeypatch.undo()


def test_a_container_ends_with_its_submission(only, tmp_path):
    """Also on Ctrl-C; the client's end alone would leave it running."""
    world = f"cd /; PYTHONPATH={walls.WORLD.parent} exec {sys.executable} -P -m world"
    setting = '\'{"megabytes": 2048, "filter": false}\''
    container(only, tmp_path, f'test "$1" = rm || {world} {setting}')
    with pytest.raises(KeyboardInterrupt), Sandbox(Container("docker", "pftlab"), 2048) as sandbox:
        sandbox.fresh()
        raise KeyboardInterrupt
    words = (tmp_path / "words").read_text().split()
    started = [words[at + 1] for at, word in enumerate(words) if word == "--name"]
    removed = [words[at + 2] for at, word in enumerate(words) if word == "rm"]
    assert len(set(removed)) == 2 and words.count("--force") == 2
    assert started and set(started) <= set(removed)  # the second may not have come to say its name


def with_image():
    """The tools that have the image which the teachers' page tells how to build."""
    tools = [tool for tool in ("docker", "podman") if shutil.which(tool)]
    look = ("image", "inspect", "pftlab")
    return [t for t in tools if subprocess.run([t, *look], capture_output=True).returncode == 0]


@pytest.mark.full
@pytest.mark.skipif(not with_image(), reason="neither docker nor podman has an image pftlab")
def test_a_real_container():
    [tool, *_] = with_image()
    assert ways_through(Container(tool, "pftlab"), 2048) == []

    class Open(Container):
        def command(self, megabytes, called):
            words = super().command(megabytes, called)
            words[words.index("none")] = "host"
            at = words.index("--pids-limit")
            return words[:at] + words[at + 2 :]

    said = str(ways_through(Open(tool, "pftlab"), 2048))
    assert "TCP" in said and "UDP" in said and "many processes" in said


@pytest.mark.full
@pytest.mark.skipif(not with_image(), reason="neither docker nor podman has an image pftlab")
def test_no_real_container_is_left():
    [tool, *_] = with_image()
    loop = "import signal\nfor i in (1, 2, 15):\n    signal.signal(i, signal.SIG_IGN)\n"
    with Sandbox(Container(tool, "pftlab"), 2048) as sandbox:
        with (
            sandbox.answer(loop + "def f():\n    while True: pass", "f", 2) as answer,
            pytest.raises(TooSlow),
        ):
            answer()
        sandbox.fresh()  # which begins another, that is not yet there when both are ended
        ours = f"name=pftlab-{os.getpid()}-"
        look = [tool, "ps", "--all", "--quiet", "--filter", ours]
        assert subprocess.check_output(look)
    assert not subprocess.check_output(look)


@confined
def test_of_the_folder_of_python_only_its_own_parts_are_read():
    """A virtual environment that was made in place has the submissions beside `bin` and `lib`."""
    code = "import os, sys\nf = [*os.listdir(sys.prefix), *os.listdir(sys.base_prefix)]"
    with Sandbox(Bubblewrap(), 2048) as sandbox, sandbox.answer(code, "f", 10) as f:
        seen = set(f)
    usual = set() if sys.base_prefix != "/usr" else set(os.listdir("/usr"))
    assert {"bin", "lib"} <= seen <= set(walls.PYTHON) | usual


@confined
def test_an_answer_is_alone():
    code = (
        "import os\nfrom pathlib import Path\ndef f():\n"
        "    Path('/tmp/mine').write_text('x')\n"
        "    processes = [p for p in os.listdir('/proc') if p.isdigit()]\n"
        "    return len(processes), os.listdir('/tmp'), dict(os.environ)\n"
    )
    with Sandbox(Bubblewrap(), 2048) as sandbox:
        sandbox.fresh()
        with sandbox.answer(code, "f", 10) as answer:
            processes, files, environment = answer()
            assert processes <= 4 and "mine" in files
            assert set(environment) <= {
                "PATH",
                "LANG",
                "OMP_NUM_THREADS",
                "HOME",
                "PYTHONPATH",
                "PWD",
                "LC_CTYPE",
            }
            for reach in (
                f"open({__file__!r})",
                "open('/usr/x', 'w')",
                "open('/x', 'w')",
                "open('/dev/shm/x', 'w')",
            ):
                with (
                    sandbox.answer(f"def f():\n    {reach}", "f", 10) as answer,
                    pytest.raises(AnswerError, match="Error"),
                ):
                    answer()
        sandbox.fresh()
        with sandbox.answer("import os\nf = os.path.exists('/tmp/mine')", "f", 10) as answer:
            assert answer is False, "the next submission finds nothing of the last"


def test_the_process_of_answers_may_die():
    kind = Bubblewrap() if confined.args[0] is False else NoWalls()
    with Sandbox(kind, 2048) as sandbox:
        with sandbox.answer("def f():\n    return 1", "f", 20) as answer:
            sandbox.world.process.kill()
            sandbox.world.process.wait()
            with pytest.raises(AnswerError, match="ended the process"):
                for _ in range(10**5):  # the walls may fall a moment before who is behind them
                    answer()
        with sandbox.answer("def f():\n    return 2", "f", 20) as answer:
            assert answer() == 2


def test_folders_in_folders_are_no_trouble_without_walls():
    code = "import os\nfor i in range(3000):\n    os.mkdir('d'); os.chdir('d')\nf = 1"
    with Sandbox(NoWalls(), 2048) as sandbox:
        with sandbox.answer(code, "f", 20) as f:
            assert f == 1
        sandbox.fresh()
        with sandbox.answer("f = 2", "f", 20) as f:
            assert f == 2
        assert os.path.isdir(sandbox.world.place)
