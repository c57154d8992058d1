"""Take upstream's file locks.

locks.py hold DIR RESOURCE LEVEL TYPE       say "held", let go at the end of stdin
locks.py try DIR RESOURCE LEVEL TYPE        say "held" or "timeout"
locks.py count DIR RESOURCE FILE TIMES      add one to the number in FILE, TIMES times, under the scan's lock
"""
import sys

from plantdb.commons.fsdb.lock import LockLevel, LockManager, LockTimeoutError, LockType


def acquire(manager, resource, level, kind, **how):
    return manager.acquire_lock(resource, LockType(kind), "pia", LockLevel(level), **how)


def say(text):
    print("\n" + text, flush=True)  # upstream logs to the same stream


def main(what, path, resource, *args):
    manager = LockManager(path)
    if what == "hold":
        with acquire(manager, resource, *args):
            say("held")
            sys.stdin.read()
        say("released")
    elif what == "try":
        try:
            with acquire(manager, resource, *args, timeout=0.3):
                say("held")
        except LockTimeoutError:
            say("timeout")
    elif what == "count":
        name, times = args
        for _ in range(int(times)):
            with acquire(manager, resource, "scan", "exclusive"):
                with open(name) as f:
                    number = int(f.read())
                with open(name, "w") as f:
                    f.write(str(number + 1))
        say("counted")


main(*sys.argv[1:])
