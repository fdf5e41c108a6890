"""What the sections of bench/run share: tools, processes and what they cost, the provider, tables."""

import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
TOOLS = ROOT / ".tools"
VENV = TOOLS / "bench"
OHA_VERSION = "1.16.0"

# Client and provider get a core each, so that neither is paid for by the other.
CLIENT_CORE, PROVIDER_CORE = "0", "1"


class BenchError(Exception):
    """A run that does not count: its message says what was expected."""


# ---- processes ----


@dataclass
class Cost:
    """What one client process took, from its start to its exit."""

    wall_s: float
    cpu_s: float
    peak_mib: float
    samples: list = field(default_factory=list)  # (seconds, MiB, whatever `observe` returned)
    quota_s: float = 0.0  # of the CPU time, the thread's that exchanges with the store


def measure(command, *, timeout_s, every_s=0.05, observe=None, cores=CLIENT_CORE):
    """Runs `command` to its end and returns its Cost; more than `timeout_s` seconds end it as an error.

    Memory is read from /proc while it runs: the maximum that wait4 reports would count the pages
    of this interpreter, from which the child was forked.
    """
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as folder:
        # What one run has used of a quota is not waited for by the next.
        return measure_in(fresh_state(folder), command, timeout_s, every_s, observe, cores)


def measure_in(env, command, timeout_s, every_s, observe, cores):
    started = time.monotonic()
    child = subprocess.Popen(
        [*pinned(cores), *map(str, command)],
        env=env,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    cost = Cost(0.0, 0.0, 0.0)
    ended = threading.Event()
    errors = bytearray()

    def watch():
        while not ended.wait(every_s):
            now = time.monotonic() - started
            if now > timeout_s:
                child.kill()
                return
            resident, peak = memory_mib(child.pid)
            cost.quota_s = max(cost.quota_s, thread_s(child.pid, "quota"))
            if peak:
                cost.peak_mib = max(cost.peak_mib, peak)
                cost.samples.append((now, resident, observe() if observe else None))

    def drain():
        for chunk in iter(lambda: child.stderr.read1(65536), b""):
            errors.extend(chunk)
            del errors[:-4096]

    threads = [threading.Thread(target=target, daemon=True) for target in (watch, drain)]
    for thread in threads:
        thread.start()
    try:
        _, status, usage = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()
        raise
    cost.wall_s = time.monotonic() - started
    ended.set()
    for thread in threads:
        thread.join()
    child.stderr.close()
    child.returncode = os.waitstatus_to_exitcode(status)
    cost.cpu_s = usage.ru_utime + usage.ru_stime
    if child.returncode == -signal.SIGKILL and cost.wall_s >= timeout_s:
        raise BenchError(f"{command[0]} did not end within {timeout_s:.0f} s")
    if child.returncode != 0:
        raise BenchError(f"{command[0]} ended with {child.returncode}: {errors.decode(errors='replace')}")
    return cost


def memory_mib(pid):
    """(resident, peak) of a process in MiB; zeros once it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0, 0.0
    kib = {name: int(size) for name, size in re.findall(r"^(VmRSS|VmHWM):\s+(\d+) kB$", status, re.MULTILINE)}
    return kib.get("VmRSS", 0) / 1024, kib.get("VmHWM", 0) / 1024


def fresh_state(folder):
    """An environment in which no quota was ever used; its folder is made in `folder`."""
    return {**os.environ, "TIDEGATE_STATE_DIR": tempfile.mkdtemp(prefix="state-", dir=folder)}


def thread_s(pid, name):
    """CPU seconds of the thread with this name; 0 if there is none."""
    for task in Path(f"/proc/{pid}/task").glob("*"):
        try:
            if (task / "comm").read_text().strip() == name:
                return int((task / "schedstat").read_text().split()[0]) / 1e9
        except OSError:
            pass  # it has just ended
    return 0.0


def pinned(core):
    """The prefix that keeps a command on one core; empty where that is impossible or `core` is None."""
    if core is None or not can_pin():
        return []
    return ["taskset", "-c", core]


def can_pin():
    return shutil.which("taskset") is not None and {0, 1} <= os.sched_getaffinity(0)


# ---- the provider ----


class Provider:
    """`tidegate sim` on loopback, on a core of its own; for use in a `with` statement."""

    def __init__(self, tidegate, *options):
        self.command = [*pinned(PROVIDER_CORE), tidegate, "sim", "--listen", "127.0.0.1:0", *options]

    def __enter__(self):
        self.process = subprocess.Popen(
            list(map(str, self.command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.url = self.process.stdout.readline().strip()
        if not self.url.startswith("http://127.0.0.1:"):
            self.__exit__()
            raise BenchError(f"expected the address of the provider, got {self.url!r}")
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def stats(self):
        return json.loads(self._call("/_stats"))

    def reset(self):
        self._call("/_reset", method="POST")

    def _call(self, path, method="GET"):
        request = urllib.request.Request(self.url + path, method=method)
        # No proxy from the environment: this never leaves the machine.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as answer:
            return answer.read()


def write_ids(path, rows):
    with open(path, "w") as out:
        out.writelines(f"{index}\n" for index in range(1, rows + 1))
    return path


# ---- tools, installed when missing ----


def tidegate():
    """The binary under test: $TIDEGATE, else this checkout's, built now (nothing to do when it is fresh)."""
    if given := os.environ.get("TIDEGATE"):
        if not os.access(given, os.X_OK):
            raise BenchError(f"TIDEGATE={given} is not a program")
        return Path(given).resolve()
    run("cargo", "build", "--release", "--locked", "--quiet")
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")).resolve() / "release" / "tidegate"


def oha():
    binary = TOOLS / "bin" / "oha"
    if not binary.exists():
        note(f"installing oha {OHA_VERSION} into {TOOLS.name}/ (minutes)")
        run("cargo", "install", "oha", "--locked", "--version", OHA_VERSION, "--root", TOOLS)
    return binary


def wrk():
    if shutil.which("wrk") is None:
        note("installing wrk")
        root = [] if os.geteuid() == 0 else ["sudo"]
        run(*root, "apt-get", "update", "-qq")
        run(*root, "apt-get", "install", "-y", "-qq", "--no-install-recommends", "wrk")
    return "wrk"


def python():
    """The interpreter of an environment with what the comparison scripts need."""
    wanted, stamp = BENCH / "requirements.txt", VENV / "requirements.txt"
    interpreter = VENV / "bin" / "python"
    if not stamp.exists() or stamp.read_bytes() != wanted.read_bytes():
        note(f"installing {wanted.name} into {VENV.relative_to(ROOT)}/")
        run(sys.executable, "-m", "venv", VENV)
        run(interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", wanted)
        shutil.copy(wanted, stamp)
    return interpreter


def run(*command):
    """Runs an installer or builder; what it prints goes to stderr, which is for people."""
    try:
        subprocess.run([str(part) for part in command], cwd=ROOT, stdout=sys.stderr, check=True, timeout=3600)
    except FileNotFoundError as error:
        raise BenchError(f"needed and not found: {command[0]}") from error
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"could not be installed or built: {error}") from error


# ---- words and tables ----


def machine():
    """Lines that say on what the figures were taken."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    lines = [
        f"machine   {cores} cores, {model}; {platform.system()} {platform.release()}",
        f"load      {load:.1f} at the start"
        + ("  (BUSY: the figures below are not to be quoted)" if load > 0.5 else ""),
    ]
    if not can_pin():
        lines.append("pinning   none (taskset or a second core is missing): client and provider share cores")
    return lines


def table(header, rows):
    """Prints a table: the first column to the left, the others to the right."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        columns = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        columns[0] = row[0].ljust(widths[0])
        print("  ".join(columns).rstrip())
    print(flush=True)


def median(values):
    return statistics.median(values)


def note(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)
