"""Programs that try to escape, fool or exhaust the sandbox.

A program succeeds if its function `f` returns "done".
"""

import os
from pathlib import Path

MARK = f"lorapar-hostile-{os.getpid()}"
PLACES = ["/tmp", "/var/tmp", "/dev/shm", "/", str(Path.home()), "/usr/lib", "."]
# What a program finds in its environment, the same for every caller.
OWN_VARIABLES = {
    *("PYTHONHASHSEED", "PYTHONINTMAXSTRDIGITS", "MALLOC_ARENA_MAX", "TMPDIR", "LC_CTYPE", "PWD"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYTHONIOENCODING"),
}

HOSTILE = {
    "network": "import socket\n"
    "def f():\n    socket.create_connection(('127.0.0.1', 22), 2)\n    return 'done'",
    "udp": "import socket\n"
    "def f():\n    socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n"
    "    return 'done'",
    "unix socket": "import socket\ndef f():\n    socket.socket(socket.AF_UNIX)\n    return 'done'",
    "fork bomb": "import os\ndef f():\n    while True:\n        os.fork()\n",
    "quiet fork": "import os\n"
    "def f():\n"
    "    if os.fork() == 0:\n        import time\n        time.sleep(60)\n"
    "    return 'done'",
    "fork by number": "import ctypes\n"
    "def f():\n"
    "    c = ctypes.CDLL(None, use_errno=True)\n"
    "    r = max(c.syscall(57), c.syscall(56, 17, 0, 0, 0, 0), c.syscall(435, b'\\0' * 64, 64))\n"
    "    return 'done' if r >= 0 else 'held'",
    "thread bomb": "import threading, time\n"
    "threading.stack_size(32768)\n"
    "def f():\n"
    "    while True:\n"
    "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n",
    "processes in threads": "import os, threading\n"
    "def f():\n"
    "    found = []\n"
    "    def run():\n"
    "        try:\n            os.fork()\n            found.append('done')\n"
    "        except OSError:\n            found.append('held')\n"
    "    thread = threading.Thread(target=run)\n"
    "    thread.start()\n    thread.join()\n    return found[0]",
    "datagram to a service": "import ctypes\n"
    "def f():\n"
    "    c, ends = ctypes.CDLL(None), (ctypes.c_int * 2)()\n"
    "    return 'done' if c.socketpair(1, 2, 0, ends) == 0 else 'held'",
    "deep folders": "import os\n"
    "def f():\n"
    "    for _ in range(400):\n        os.mkdir('d')\n        os.chdir('d')\n"
    "    return 'left'",
    "another class of the same name": "class Point:\n"
    "    def __eq__(self, other):\n        return True\n"
    "    __hash__ = None\n"
    "def f():\n    return Point()",
    "a function for a text": "def f():\n    return lambda *a: 'done'",
    "an exception for a pass": "def f():\n    raise StopIteration('done')",
    "no end of a generator": "def f():\n    while True:\n        yield 'done'",
    "stdout for the result": "import os\n"
    "def f():\n    os.write(1, b'x' * 10**6)\n    os.write(2, b'passed: true\\n' * 10**5)",
    "subprocess": "import subprocess\n"
    "def f():\n    subprocess.run(['/bin/true'])\n    return 'done'",
    "exec": "import os\ndef f():\n    os.execv('/bin/sh', ['sh', '-c', 'sleep 60'])\n",
    "endless loop": "def f():\n    while True:\n        pass",
    "endless loop at import": "while True:\n    pass",
    "sleep": "import time\ndef f():\n    time.sleep(60)\n    return 'done'",
    "ignored signals": "import signal\n"
    "for n in range(1, 32):\n"
    "    try:\n        signal.signal(n, signal.SIG_IGN)\n"
    "    except (OSError, ValueError):\n        pass\n"
    "def f():\n    while True:\n        pass",
    "10 GB of memory": "def f():\n    x = bytearray(10 * 2**30)\n    return 'done'",
    "memory bit by bit": "def f():\n"
    "    kept = [bytearray(2**20) for _ in range(10 * 2**10)]\n    return 'done'",
    "a 10 GB file": "def f():\n"
    f"    with open('/tmp/{MARK}', 'wb') as file:\n"
    "        for _ in range(10 * 2**10):\n            file.write(bytes(2**20))\n"
    "    return 'done'",
    "many files": "def f():\n"
    "    for n in range(1000):\n"
    f"        open(f'/tmp/{MARK}-{{n}}', 'wb').write(bytes(2**20))\n"
    "    return 'done'",
    "truncate by path": "import os\n"
    f"def f():\n    open('/tmp/{MARK}', 'w').write('x')\n    os.truncate('/tmp/{MARK}', 0)\n"
    "    return 'done'",
    "/etc/passwd": "def f():\n    open('/etc/passwd').read()\n    return 'done'",
    "home": "import os\n"
    f"def f():\n    names = os.listdir({str(Path.home())!r})\n"
    "    return 'done' if '.bashrc' in names or '.profile' in names else 'held'",
    "this file": f"def f():\n    open({__file__!r}).read()\n    return 'done'",
    "other processes": "import os\n"
    f"def f():\n    open('/proc/{os.getpid()}/environ').read()\n    return 'done'",
    "kill the parent": "import os\n"
    "def f():\n"
    f"    for pid in (os.getppid(), {os.getpid()}, {os.getppid()}, 1, -1):\n"
    "        os.kill(pid, 9)\n"
    "    return 'done'",
    "signal by owner": "import fcntl, os, signal\n"
    "def f():\n"
    "    r, w = os.pipe()\n"
    f"    fcntl.fcntl(r, 8, {os.getpid()})\n"
    "    return 'done'",
    "limits of others": "import resource\n"
    f"def f():\n    resource.prlimit({os.getpid()}, resource.RLIMIT_CORE, (0, 0))\n"
    "    return 'done'",
    "own limits": "import resource\n"
    "def f():\n    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))\n    return 'done'",
    "namespaces": "import ctypes\n"
    "def f():\n"
    "    return 'done' if ctypes.CDLL(None).unshare(0x10000000) == 0 else 'held'",
    "mount": "import ctypes\n"
    "def f():\n"
    "    return 'done' if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0) == 0 else 'held'",
    "trace": "import ctypes\n"
    f"def f():\n    return 'done' if ctypes.CDLL(None).ptrace(16, {os.getppid()}, 0, 0) == 0 else ''",
    "print the word": "def f():\n    print('passed'); print('done')",
    "write to every descriptor": "import json, os, struct\n"
    "payload = json.dumps({'nonce': '', 'passed': True, 'reason': '', 'ready': True}).encode()\n"
    "for n in range(64):\n"
    "    try:\n        os.write(n, struct.pack('<Q', len(payload)) + payload)\n"
    "    except OSError:\n        pass\n"
    "def f():\n    pass",
    "exit early": "import os\nos._exit(0)",
    "exit in the call": "import os\ndef f():\n    os._exit(0)",
    "sys.exit": "import sys\ndef f():\n    sys.exit(0)",
    "catch the assertion": "def f():\n"
    "    try:\n        assert False\n"
    "    except AssertionError:\n        return None",
    "equal to everything": "class Any:\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __hash__(self):\n        return 0\n"
    "def f():\n    return Any()",
    "a text equal to everything": "class Any(str):\n"
    "    def __eq__(self, other):\n        return True\n"
    "    def __hash__(self):\n        return 0\n"
    "def f():\n    return Any('x')",
    "patched builtins": "import builtins, json, sys\n"
    "builtins.AssertionError = KeyError\n"
    "for name, module in list(sys.modules.items()):\n"
    "    if name.startswith('lorapar_cli'):\n"
    "        module.send = module.describe_error = lambda *a, **k: {'passed': True}\n"
    "json.dumps = lambda *a, **k: '{\"passed\": true}'\n"
    "def f():\n    return 'no'",
    "deep recursion": "import sys\nsys.setrecursionlimit(10**9)\ndef f():\n    return f()",
    "deep result": "def f():\n"
    "    x = []\n"
    "    for _ in range(10**5):\n        x = [x]\n"
    "    return x",
    "huge result": "def f():\n    return 'x' * (64 * 2**20)",
    "endless result": "import itertools\ndef f():\n    return itertools.count()",
    "endless output": "import sys\n"
    "def f():\n    while True:\n        sys.stderr.write('x' * 65536)",
    "writing outside": "def f():\n"
    "    written = 0\n"
    f"    for place in {[p for p in PLACES if p not in ('/tmp', '.')]!r}:\n"
    "        try:\n"
    f"            open(place + '/{MARK}', 'w').write('x')\n            written += 1\n"
    "        except OSError:\n            pass\n"
    "    return 'done' if written else 'held'",
    "files left behind": "def f():\n"
    f"    for place in {PLACES!r}:\n"
    "        try:\n"
    f"            open(place + '/{MARK}', 'w').write('x')\n"
    "        except OSError:\n            pass\n"
    "    return 'left'",
    "read the arguments": "import sys\n"
    "def f():\n    return 'done' if 'nonce' in str(sys.argv[1:]) else 'held'",
    "descriptors": "import os\n"
    "def f():\n"
    "    held = []\n"
    "    for n in range(64):\n"
    "        try:\n            os.fstat(n)\n            held.append(n)\n"
    "        except OSError:\n            pass\n"
    "    return 'done' if len(held) > 4 else 'held'",
    "read the environment": "import os\n"
    f"def f():\n    return 'done' if set(os.environ) - {OWN_VARIABLES!r} else ''",
    "syntax error": "def f(:\n",
    "no such function": "def g():\n    return 'done'",
}

# Those that only the deadline ends.
ENDLESS = {
    "endless loop",
    "endless loop at import",
    "sleep",
    "ignored signals",
    "endless output",
    # Millions of frames, and a server that no longer sends.
    "deep recursion",
    "patched builtins",
}
