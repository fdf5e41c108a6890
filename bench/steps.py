"""Steps that several sections of bench/run take."""

import shutil

from harness import BenchError, median, note


def run_of(binary, ids, provider, out, *options):
    return [binary, "run", ids, "--url", provider.url + "/v1/users/{line}", "-o", out, "-q", *options]


def alternate(label, provider, names, rounds, turn):
    """What `turn(name)` returns, per name and round, on a provider that has forgotten the one before.

    Each round starts with another name, so that none always runs on a cold or a tired machine.
    """
    figures = {name: [] for name in names}
    for number in range(rounds):
        start = number % len(names)
        for name in names[start:] + names[:start]:
            note(f"{label}, round {number + 1} of {rounds}: {name}")
            provider.reset()
            figures[name].append(turn(name))
    return figures


def medians(figures):
    """Per column, the median over the rounds."""
    return [median(column) for column in zip(*figures, strict=True)]


def served_once(rows, provider, name):
    """Anything but one answer of 200 for each row spoils the run."""
    stats = provider.stats()
    if (stats["served_200"], stats["served_twice"]) != (rows, 0):
        raise BenchError(
            f"{name}: expected {rows} rows answered once, "
            f"the provider gave {stats['served_200']} answers and {stats['served_twice']} rows more than one"
        )


def take_lines(out, expected):
    """Counts the results, then removes them, so that the next run starts anew instead of carrying on."""
    with open(out, "rb") as lines:
        found = sum(1 for _ in lines)
    if found != expected:
        raise BenchError(f"expected {expected} lines in {out.name}, found {found}")
    clear(out)


def clear(out):
    for path in out.parent.glob(f"{out.stem}.*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
