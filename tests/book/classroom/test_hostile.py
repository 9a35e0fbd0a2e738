"""A class in which everybody but two attacks the grader: nobody gains, harms, or ends anything."""

import os
import socket
import textwrap

import pytest
from school import DEFINES, FULL, HEAD, NAME, RIGHT, WRONG, confined, graded, several

from pftlab.book.classroom.remote import Sandbox
from pftlab.book.classroom.walls import NoWalls

GUESS = 2  # of 4 points for NAME: the shape is right

# What tries to leave. It has the right answer only if it succeeded, so a point shows a hole.
ESCAPES = {
    "reads a file": "open(SECRET).read()",
    "reads with the raw system call": "os.read(os.open(SECRET, 0), 1)",
    "reads a neighbour's notebook": "glob.glob(FOLDER + '/in/*.ipynb')[0]",
    "lists the folder of grades": "os.listdir(FOLDER)",
    "lists the home folder": "assert os.listdir(os.path.expanduser('~root')) or os.listdir('/home')[0]",
    "reads the accounts": "open('/etc/passwd').read()",
    "reads the grader's environment": "open(f'/proc/{GRADER}/environ').read()",
    "reads the grader's memory": "open(f'/proc/{GRADER}/mem', 'rb')",
    "reads through a link": "os.symlink(SECRET, '/tmp/link'); open('/tmp/link').read()",
    "reads through the root of another process": "open('/proc/1/root' + SECRET).read()",
    "asks for the size of a file": "os.stat(SECRET)",
    "asks whether a file exists": "assert os.path.exists(SECRET)",
    "writes a file": "open(SECRET, 'w').write('forged')",
    "writes beside the answer": "open(FOLDER + '/left', 'w')",
    "writes into the library": "open(torch.__file__, 'a')",
    "truncates a file": "os.truncate(SECRET, 0)",
    "changes the rights of a file": "os.chmod(SECRET, 0o777)",
    "changes the rights of the folder": "os.chmod(FOLDER, 0)",
    "changes the times of a file": "os.utime(SECRET, (0, 0))",
    "changes an attribute of a file": "os.setxattr(SECRET, 'user.x', b'1')",
    "renames a file": "os.rename(SECRET, SECRET + '2')",
    "removes a file": "os.remove(SECRET)",
    "mounts": "assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, 0) == 0",
    "makes a namespace": "assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "connects to a listener": "socket.create_connection(('127.0.0.1', PORT), 2)",
    "sends a datagram": "socket.socket(2, 2).sendto(b'x', ('127.0.0.1', PORT))",
    "connects to a socket file": "socket.socket(1).connect(SOCKET)",
    "connects to an abstract socket": "socket.socket(1).connect(ABSTRACT)",
    "listens": "socket.create_server(('127.0.0.1', 0))",
    "signals the grader": "os.kill(GRADER, 0)",
    "kills everything": "os.kill(-1, 9); assert False",
    "kills its group": "os.killpg(0, 9)",
    "stops its keeper": "os.kill(os.getppid(), 19)",
    "traces its keeper": "assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "forks": "os.fork()",
    "runs a program": "subprocess.run(['/bin/true'], check=True)",
    "runs a shell": "assert os.system('true') == 0",
    "replaces itself": "os.execv('/bin/true', ['true'])",
    "keeps memory in files of memory": "os.memfd_create('x')",
    "asks for keys": "assert ctypes.CDLL(None).syscall(250, 0, -3, 0) >= 0",
    "asks for a ring of the kernel": "assert ctypes.CDLL(None).syscall(425, 1, b'0' * 120) >= 0",
    "imports the methods": "import pftlab",
    "imports another implementation": "import peft; peft.LoraConfig",
    "looks a right value up in the checks": "from pftlab.book.exercises.low_rank import lora",
    "fills the disk": "for i in range(99): open(f'/tmp/{i}', 'wb').write(b'x' * (9 << 20))",
    "writes a large file": "open('/tmp/x', 'wb').write(b'x' * (11 << 20))",
    "takes all memory": "bytearray(1 << 42)",
    "takes shared memory": "mmap.mmap(-1, 1 << 42)",
}
# What tries to be judged better than it is; below each stands a wrong answer.
FORGERIES = {
    "patches torch": "torch.allclose = torch.equal = lambda *a, **k: True\n",
    "says that the check passed": "print('All right: 4 of 4 points.')\n",
    "sends a reply in advance": (
        "import json, os, struct\nhead = json.dumps({'value': {'tensor': ['float64', [3, 5, 4]]}}).encode()\n"
        "os.write(4, (struct.pack('!II', len(head), 480) + head + b'\\0' * 480) * 9)\n"
    ),
    "writes to every descriptor": "import os\nfor f in range(99):\n    try: os.write(f, b'{\"value\": true}')\n    except OSError: pass\n",
    "ends with success": "import os\nprint('All right')\nos._exit(0)\n",
    "ends at the end": "import atexit\natexit.register(lambda: print('All right'))\n",
    "says that it is ready": "import os\nos.write(4, b'\\0\\0\\0\\x0f\\0\\0\\0\\0{\"ready\": true}')\n",
    "says that the other side is wrong": "import os\nos.write(4, b'\\0\\0\\0\\x11\\0\\0\\0\\0{\"changed\": true}')\n",
    "replaces modules": "import sys, types\nfor n in list(sys.modules):\n    if 'world' in n: sys.modules[n] = types.ModuleType(n)\n",
    "changes the packing": "import world.messages as m\nm.pack = lambda *a: True\n",
    "calls its own reply right": "import sys\nw = sys.modules['__main__'].Worker\nw.do_call = lambda *a: {'value': True, 'points': 99, 'state': 'right'}\n",
    "raises in print": "raise SystemExit('4 of 4')\n",
    "changes builtins": "import builtins\nbuiltins.isinstance = lambda *a: True\n",
    "changes the seeds": "torch.manual_seed = lambda *a: None\ntorch.Generator = object\n",
}
LIARS = {
    "an always equal tensor": "class T(torch.Tensor):\n    def __eq__(s, o): return True\n" + HEAD + "return h.as_subclass(T)",
    "a tensor that answers everything with yes": (
        "class T(torch.Tensor):\n    @classmethod\n    def __torch_function__(c, f, t, a=(), k=None): return True\n"
        + HEAD + "return h.as_subclass(T)"
    ),
    "an object with a shape": "class O:\n    shape = (3, 5, 4)\n    def __eq__(s, o): return True\n" + HEAD + "return O()",
    "not a number": HEAD + "return h * float('nan')",
    "infinite": HEAD + "return h + float('inf')",
    "changes what it is given": HEAD + "for t in (x, h, A, B): t.zero_()\n    return h",
    "a text with the points": HEAD + "return '4 of 4 points'",
    "itself": HEAD + "return lora_output",
}  # fmt: skip
# What tries to end the grading of the class.
REPLY = "import json, os, struct\ndef reply(head, numbers=b''):\n    os.write(4, struct.pack('!II', len(head), len(numbers)) + head + numbers)\n"
KILLERS = {
    "a reply that is a list": REPLY + HEAD + "reply(b'[]')",
    "a reply that is a text": REPLY + HEAD + "reply(b'\"x\"')",
    "a reply without a value": REPLY + HEAD + "reply(b'{}')",
    "an attribute that is missing": REPLY + "reply(b'{\"error\": \"x\", \"kind\": \"attribute\"}')",
    "a change before any call": REPLY + "reply(b'{\"changed\": true}')",
    "a value that is no value": REPLY + "reply(b'{\"value\": 5}')",
    "a protection of its own": REPLY + 'reply(json.dumps({"value": {"protection": {"\\x1b[2J\\x1b[31mALL GRADES LOST": False}}}).encode())',
    "half a character in an error": HEAD + "raise ValueError(chr(0xd83d))",
    "half a character in a type": "T = type('T\\ud83d', (), {})\n" + HEAD + "return T()",
    "half a character in a text": HEAD + "return chr(0xd83d)",
    "a terminal's commands in an error": HEAD + "raise ValueError('\\x1b[2J\\x1b[31mALL GRADES LOST')",
    "a page in an error": HEAD + "raise ValueError('<script>alert(1)</script>')",
    "a bomb of lists": REPLY + HEAD + "reply(b'[' + b'[],' * (1 << 19) + b'[]]')",
    "a bomb of many MiB": REPLY + HEAD + "reply(b'[' + b'[],' * (20 << 20) + b'[]]')",
    "a bomb of depth": REPLY + HEAD + "reply(b'[' * 99999 + b']' * 99999)",
    "a bomb of digits": REPLY + HEAD + "reply(b'{\"value\": ' + b'9' * 99999 + b'}')",
    "a bomb of tensors": (
        REPLY + HEAD + "t = {'tensor': ['float64', [1000, 1000]]}\n    "
        "reply(json.dumps({'value': {'list': [t] * 20000}}).encode(), b'x' * (8 << 20))"
    ),
    "a tensor without numbers": REPLY + HEAD + "reply(b'{\"value\": {\"tensor\": [\"float64\", [99999, 99999, 99999]]}}')",
    "a tensor of negative size": REPLY + HEAD + "reply(b'{\"value\": {\"tensor\": [\"float64\", [-1, 8]]}}', b'x' * 64)",
    "a tensor of texts": REPLY + HEAD + "reply(b'{\"value\": {\"tensor\": [\"float64\", [\"x\"]]}}')",
    "an unknown object": REPLY + HEAD + "reply(b'{\"value\": {\"kept\": []}}')",
    "a size of four GiB": "import os\n" + HEAD + "os.write(4, b'\\xff' * 8)",
    "a byte and silence": "import os, time\n" + HEAD + "os.write(4, b'\\0'); time.sleep(99)",
    "noise": "import os\n" + HEAD + "os.write(4, os.urandom(1 << 20))",
    "closes the line": "import os\n" + HEAD + "os.closerange(0, 99)",
    "never reads": "import time\nclass Big:\n    pass\n" + HEAD + "time.sleep(99)",
    "ends the process": HEAD + "import os; os._exit(1)",
    "crashes": "import ctypes\n" + HEAD + "ctypes.string_at(1)",
    "recursion in C": "import sys\nsys.setrecursionlimit(10**9)\n" + HEAD + "return lora_output(x, h, A, B, alpha)",
    "folders in folders": "import os\n" + HEAD + "\n    for i in range(3000): os.mkdir('d'); os.chdir('d')\n    return h",
    "floods the output": HEAD + "\n    for i in range(10**4): print('x' * 10**4)\n    return h",
    "an endless loop": HEAD + "\n    while True: pass",
    "an endless loop that catches": HEAD + "\n    while True:\n        try:\n            while True: pass\n        except BaseException: pass",
    "sleeps": "import time\n" + HEAD + "time.sleep(99)",
    "threads without end": "import threading, time\nfor i in range(10**5): threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
    "a huge answer": HEAD + "return torch.zeros(9 * 10**6).double()",
    "a class that lies": "class lora_output:\n    def __getattribute__(s, n): raise KeyError(n)\n",
    "a name that is no function": "lora_output = 5\n",
    "an error with a broken text": "class E(Exception):\n    def __str__(s): return 5\n" + HEAD + "raise E",
    "an exit in a class": "class lora_output:\n    def __init__(s, *a): raise KeyboardInterrupt\n",
}  # fmt: skip


KINDS = {"escape": ESCAPES, "forgery": FORGERIES, "liar": LIARS, "killer": KILLERS}
# Several of a kind stand in one notebook, as answers to these, for its process takes long to start.
PLACES = {
    "escape": list(RIGHT),
    "forgery": list(RIGHT),
    "liar": [NAME],
    "killer": [name for name, code in RIGHT.items() if code.startswith("def ")],
}


def code_of(kind, name, place, told):
    """What `name` hands in as its answer to the exercise `place`."""
    code = KINDS[kind][name]
    if kind == "escape":
        tried, right = textwrap.indent(code, "    "), textwrap.indent(RIGHT[place], "    ")
        return f"{told}try:\n{tried}\nexcept BaseException:\n    pass\nelse:\n{right}"
    if kind == "forgery":
        return code + WRONG[place]
    head = RIGHT[place].partition(":")[0] + ":\n    "
    return code.replace(HEAD, head).replace("lora_output", DEFINES[place])


def notebooks(kind):
    """[{exercise: name of who answers it}], with everyone of the kind once."""
    places, names = PLACES[kind], list(KINDS[kind])
    starts = range(0, len(names), len(places))
    return [dict(zip(places, names[i : i + len(places)], strict=False)) for i in starts]


class School:
    """A class of the honest anna and zoe and of everybody of one kind, and what is around it."""

    def __init__(self, kind, place):
        self.kind, self.place = kind, place
        (place / "in").mkdir()
        self.secret = place / "secret"
        self.secret.write_text("the solutions")
        os.utime(self.secret, (10**9, 10**9))
        short = f"/tmp/pft-{os.getpid()}-{kind}"
        self.listeners = [
            socket.socket(f) for f in (socket.AF_INET, socket.AF_UNIX, socket.AF_UNIX)
        ]
        addresses = [("127.0.0.1", 0), short, f"\0{short}"]
        for each, address in zip(self.listeners, addresses, strict=True):
            each.bind(address)
            each.listen()
            each.setblocking(False)
        told = (
            f"SECRET, FOLDER = {str(self.secret)!r}, {str(place)!r}\n"
            f"SOCKET, ABSTRACT = {short!r}, {chr(0) + short!r}\n"
            f"PORT, GRADER = {self.listeners[0].getsockname()[1]}, {os.getpid()}\n"
            "import ctypes, glob, mmap, os, socket, subprocess\n"
        )
        given = {"anna": RIGHT, "zoe": RIGHT, "guess": WRONG}
        groups = {f"group {i}": group for i, group in enumerate(notebooks(kind))}
        for student, group in groups.items():
            given[student] = {at: code_of(kind, name, at, told) for at, name in group.items()}
        for student, answers in given.items():
            (place / "in" / f"{student}.ipynb").write_text(several(answers))
        grades, self.lines = graded(place / "in", place, seconds=12)
        rows = {row["student"]: {r["name"]: r for r in row["results"]} for row in grades.rows}
        self.students, self.guess = set(given), rows["guess"]
        self.results = {
            name: rows[student][at] for student, group in groups.items()
            for at, name in group.items()
        }  # fmt: skip
        os.unlink(short)


@pytest.fixture(scope="module", params=KINDS)
def school(request, tmp_path_factory):
    school = School(request.param, tmp_path_factory.mktemp("school"))
    yield school
    for each in school.listeners:
        each.close()


@confined
def test_nobody_gains_and_nobody_is_harmed(school):
    assert set(school.lines) == school.students and set(school.results) == set(KINDS[school.kind])
    for student in ("anna", "zoe"):
        assert school.lines[student]["points"] == str(FULL), "the honest lose nothing"
    for name, result in school.results.items():
        at = result["name"]
        most = GUESS if at == NAME else school.guess[at]["points"]
        assert result["points"] <= (0 if school.kind == "escape" else most), (name, result)


@confined
def test_nothing_outside_was_touched(school):
    secret, place = school.secret, school.place
    assert secret.read_text() == "the solutions" and secret.stat().st_mtime == 10**9
    assert sorted(p.name for p in place.iterdir()) == [
        "grades-reports", "grades.csv", "grades.html", "in", "secret"]  # fmt: skip
    for listener in school.listeners:
        with pytest.raises(BlockingIOError):
            listener.accept()


@confined
def test_what_they_say_harms_no_page(school):
    reports = list((school.place / "grades-reports").iterdir())
    assert len(reports) == len(school.students)
    for path in (school.place / "grades.html", *reports):
        assert "<script" not in path.read_text("utf-8")
    if school.kind == "killer":
        said = {name: result["message"] for name, result in school.results.items()}
        for name in ("sleeps", "never reads", "a byte and silence", "an endless loop"):
            assert "endless loop?" in said[name]
        assert "gave more than" in said["a bomb of many MiB"]
        assert "ended the process" in said["ends the process"]
        assert "cannot be read" in said["a bomb of depth"]


@pytest.mark.parametrize("name", ["reads a file", "changes the times of a file", "sends a datagram",
                                  "forks", "runs a program", "keeps memory in files of memory"])  # fmt: skip
def test_without_walls_the_same_code_succeeds(name, tmp_path):
    """So the tests above look for something that can happen."""
    (tmp_path / "secret").write_text("x")
    code = f"import os, socket, subprocess\nSECRET, PORT = {str(tmp_path / 'secret')!r}, 9\n{ESCAPES[name]}\ndone = 1"
    with Sandbox(NoWalls(), 2048) as sandbox, sandbox.answer(code, "done", 20) as done:
        assert done == 1
