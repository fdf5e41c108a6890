"""Sections of bench/run about what outlives a process: the log, resume, order, and shared quotas."""

import signal
import socket
import subprocess
import time

from harness import BenchError, Provider, fresh_state, measure, median, memory_mib, note, table, write_ids
from steps import alternate, clear, medians, run_of, served_once, take_lines

CONNECTIONS = 64


# ---- log: what it costs to know after a kill what was sent ----


def log(binary, folder, options):
    rows = 100_000 if options.quick else 1_000_000
    rounds = options.rounds or (1 if options.quick else 5)
    ids, out = write_ids(folder / "ids.txt", rows), folder / "out.jsonl"
    with Provider(binary) as provider:
        with_log = run_of(binary, ids, provider, out, "--connections", CONNECTIONS)
        # Results on stdout have no log.
        at = with_log.index("-o")
        tools = {"with the log": with_log, "without": with_log[:at] + with_log[at + 2 :]}
        sizes = []

        def turn(name):
            cost = measure(tools[name], timeout_s=300)
            served_once(rows, provider, name)
            if name == "with the log":
                sizes.append((out.parent / "out.tidegate" / "log").stat().st_size / rows)
                take_lines(out, rows)
            return rows / cost.wall_s, rows / cost.cpu_s, cost.peak_mib

        figures = alternate("log", provider, list(tools), rounds, turn)
    print(f"LOG  no limit, zero latency, {CONNECTIONS} connections; a file with a log, or /dev/null without")
    table(
        ["", "requests/s", "requests per client-CPU-second", "peak RSS MiB"],
        [[name, *(f"{figure:,.0f}" for figure in medians(figures[name]))] for name in tools],
    )
    pairs = list(zip(figures["with the log"], figures["without"], strict=True))
    lines = []
    for place, label in ((0, "requests/s"), (1, "requests per client-CPU-second")):
        ratio = [with_log[place] / without[place] for with_log, without in pairs]
        lines.append([label, f"{median(ratio):.3f}", f"{min(ratio):.3f} … {max(ratio):.3f}"])
    table(["with the log / without", "median of pairs", "least … most"], lines)
    bytes_per_attempt(binary, folder, options, median(sizes))


def bytes_per_attempt(binary, folder, options, unlimited):
    lines = [["no limit", f"{unlimited:.1f}"]]
    out = folder / "out.jsonl"
    cases = [("1000/s", 3_000), ("600/min", 50)] if options.quick else [("1000/s", 20_000), ("100/min", 200)]
    for rate, rows in cases:
        ids = write_ids(folder / "ids.txt", rows)
        with Provider(binary, "--limit", f"rolling {rate}", "--service", "lognormal 60ms 0.5") as provider:
            note(f"log: {rows} rows at {rate}")
            measure(run_of(binary, ids, provider, out, "--rate", rate), timeout_s=300)
            size = (folder / "out.tidegate" / "log").stat().st_size
            take_lines(out, rows)
        lines.append([f"{rate}, {rows:,} calls", f"{size / rows:.1f}"])
    print("LOG  its size, what it says of the run itself included")
    table(["", "bytes per attempt"], lines)


# ---- resume: a long job that is nearly done ----


def resume(binary, folder, options):
    rows = 200_000 if options.quick else 5_000_000
    runs = 3 if options.quick else 5
    ids, out = write_ids(folder / "ids.txt", rows), folder / "out.jsonl"
    with Provider(binary) as provider:
        port = int(provider.url.rpartition(":")[2])
        command = run_of(binary, ids, provider, out, "--connections", CONNECTIONS)
        note(f"resume: {rows * 9 // 10:,} of {rows:,} rows first")
        interrupt_at(command, provider, rows * 9 // 10, fresh_state(folder))
    with open(out, "rb") as lines:
        done = sum(1 for _ in lines)
    figures = [first_request(command, port, fresh_state(folder)) for _ in range(runs)]
    print(f"RESUME  {done:,} of {rows:,} rows are done; until the first byte of a new request; {runs} runs")
    times, peaks = zip(*figures, strict=True)
    table(
        ["", "median", "most"],
        [
            ["ms to the first request", f"{median(times):.0f}", f"{max(times):.0f}"],
            ["peak RSS MiB by then", f"{median(peaks):.1f}", f"{max(peaks):.1f}"],
        ],
    )
    clear(out)


def interrupt_at(command, provider, served, env):
    client = start(command, env)
    while provider.stats()["served_200"] < served:
        if client.poll() is not None:
            raise BenchError(f"ended with {client.returncode} before {served} rows were done")
        time.sleep(0.05)
    client.send_signal(signal.SIGINT)
    if client.wait(timeout=60) != 130:
        raise BenchError(f"expected exit code 130, got {client.returncode}")


def start(command, env):
    return subprocess.Popen(
        list(map(str, command)), env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def first_request(command, port, env):
    """Milliseconds until a bare socket, in the provider's place, hears the first request, and the peak
    of the client's memory by then; the client is killed."""
    with socket.create_server(("127.0.0.1", port)) as server:
        server.settimeout(60)
        started = time.monotonic()
        client = start(command, env)
        try:
            connection, _ = server.accept()
            with connection:
                connection.settimeout(60)
                first = connection.recv(1)
                heard = time.monotonic()
                peak = memory_mib(client.pid)[1]
        except TimeoutError as error:
            raise BenchError(f"expected a request within 60 s (exit code so far: {client.poll()})") from error
        finally:
            client.kill()
            client.wait()
    if not first:
        raise BenchError("expected a request, the connection was closed")
    return (heard - started) * 1000, peak


# ---- order: results in the order of the input ----


def order(binary, folder, options):
    rows = 200_000 if options.quick else 5_000_000
    ids, out = write_ids(folder / "ids.txt", rows), folder / "out.jsonl"
    lines = []
    with Provider(binary) as provider:
        for name in ("completion", "input"):
            provider.reset()
            note(f"order: {rows:,} rows in the order of {name}")
            command = run_of(binary, ids, provider, out, "--connections", CONNECTIONS, "--order", name)
            cost = measure(command, timeout_s=1800, every_s=0.02)
            served_once(rows, provider, name)
            if name == "input":
                check_order(out, rows)
            clear(out)
            lines.append([name, f"{cost.wall_s:.1f}", f"{cost.cpu_s:.1f}", f"{cost.peak_mib:.1f}"])
    print(f"ORDER  {rows:,} rows, no limit, zero latency")
    table(["order", "wall s", "CPU s", "peak RSS MiB"], lines)


def check_order(out, rows):
    with open(out, "rb") as lines:
        count = 0
        for count, line in enumerate(lines, 1):
            if not line.startswith(b'{"index":%d,' % (count - 1)):
                raise BenchError(f"line {count} is out of order: {line[:80]!r}")
    if count != rows:
        raise BenchError(f"expected {rows} lines, found {count}")


# ---- store: what it costs that processes share a quota ----


def store(binary, folder, options):
    rounds = options.rounds or (1 if options.quick else 5)
    rate, seconds = 10_000, 2 if options.quick else 10
    rows = rate * seconds
    ids, out = write_ids(folder / "ids.txt", rows), folder / "out.jsonl"
    with Provider(binary, "--limit", f"rolling {rate}/s", "--service", "10ms") as provider:
        command = run_of(binary, ids, provider, out, "--rate", f"{rate}/s", "--latency", "20ms")
        tools = {name: [*command, "--store", name] for name in ("sqlite", "memory")}

        def turn(name):
            cost = measure(tools[name], timeout_s=60 + 10 * seconds)
            served_once(rows, provider, name)
            take_lines(out, rows)
            cpu = cost.cpu_s * 10_000 / rows
            return rows / cost.wall_s, cpu, cost.quota_s / cost.wall_s, cost.cpu_s / cost.wall_s

        figures = alternate("store", provider, list(tools), rounds, turn)
    print(f"STORE  {rate:,} permits a second from a quota in SQLite, or in memory; median of {rounds} rounds")
    lines = []
    for name in tools:
        calls, cpu, quota, core = medians(figures[name])
        lines.append([name, f"{calls:,.0f}", f"{cpu:.3f}", f"{100 * quota:.2f}%", f"{100 * core:.0f}%"])
    header = ["store", "calls/s", "CPU s per 10,000 calls", "a core's share of its thread", "of the process"]
    table(header, lines)
    pairs = zip(figures["sqlite"], figures["memory"], strict=True)
    more = [100 * (ours[3] - theirs[3]) for ours, theirs in pairs]
    table(
        ["sqlite less memory, per cent of a core", "median of pairs", "least … most"],
        [["whole process", f"{median(more):+.1f}", f"{min(more):+.1f} … {max(more):+.1f}"]],
    )
