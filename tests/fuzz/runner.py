"""Feed a reader many damaged inputs in a process of its own, watched from outside."""

import json
import mmap
import os
import random
import resource
import signal
import struct
import tempfile
import time
import traceback
from pathlib import Path

from detection.errors import DetectionError

PROGRESS = struct.Struct("qqqq")
"""Next input, accepted, refused, most bytes of memory; in memory that both processes see."""

GIB = 1 << 30


def mutant(reader, seed, index):
    """Return input ``index`` of a seed: the same in every run, the valid ones first."""
    if index < len(reader.seeds):
        return reader.seeds[index]
    return reader.mutate(random.Random(f"{seed} {index}"))


def fuzz(reader, inputs, *, seed=0, seconds=3600, hang=20, memory_gib=1):
    """Read so many inputs, or as many as the time allows; return counts and bugs.

    Args:
        reader: of `tests.fuzz.readers`.
        inputs: how many.
        seed: of the damage.
        seconds: stop after them.
        hang: seconds that one input may take.
        memory_gib: address space that reading may add.

    Returns:
        A dictionary that JSON can hold; ``bugs`` is empty if all went well.
    """
    shared = mmap.mmap(-1, PROGRESS.size)
    started = time.monotonic()
    bugs, deadline = {}, started + seconds
    while PROGRESS.unpack(shared)[0] < inputs and time.monotonic() < deadline:
        with tempfile.TemporaryFile() as log:
            child = os.fork()
            if child == 0:
                _work(reader, inputs, seed, shared, log, deadline, memory_gib)
            end = _watch(child, shared, hang)
            log.seek(0)
            for bug in map(json.loads, log):
                bugs.setdefault((bug["what"], bug["where"]), bug | {"count": 0})["count"] += 1
        if end:  # it died or hung on the input it was at
            index, *rest = PROGRESS.unpack(shared)
            bugs[end, index] = {"what": end, "where": "", "input": index, "trace": "", "count": 1}
            shared[:] = PROGRESS.pack(index + 1, *rest)
    done, accepted, refused, peak = PROGRESS.unpack(shared)
    return {
        "inputs": done,
        "accepted": accepted,
        "refused": refused,
        "seconds": round(time.monotonic() - started, 1),
        "peak_mib": round(peak / (1 << 20), 1),
        "bugs": list(bugs.values()),
    }


def _work(reader, inputs, seed, shared, log, deadline, memory_gib):
    """Read input after input; never comes back."""
    space = int(Path("/proc/self/statm").read_text().split()[0]) * mmap.PAGESIZE
    limit = space + int(memory_gib * GIB)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    before = _peak()
    index, accepted, refused, most = PROGRESS.unpack(shared)
    while index < inputs and time.monotonic() < deadline:
        try:
            reader.read(mutant(reader, seed, index))
            accepted += 1
        except DetectionError as error:
            refused += 1
            if not 0 < len(str(error)) < 2000:
                _report(log, index, AssertionError(f"a message of {len(str(error))} letters"))
        except Exception as error:  # what this is all for
            _report(log, index, error)
        index += 1
        shared[:] = PROGRESS.pack(index, accepted, refused, max(most, _peak() - before))
    os._exit(0)


def _report(log, index, error):
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if f"{os.sep}detection{os.sep}" in f.filename] or frames
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
    trace = "".join(traceback.format_exception(error))[-1500:]
    what = type(error).__name__
    if isinstance(error, AssertionError):
        what += f": {error}"
    row = {"what": what, "where": where, "input": index, "trace": trace}
    os.write(log.fileno(), (json.dumps(row) + "\n").encode())


def _watch(child, shared, hang):
    """Wait for the end of a process; say how it ended if not well."""
    at, since = -1, time.monotonic()
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return f"killed by signal {status}" if status else ""
        index = PROGRESS.unpack(shared)[0]
        if index != at:
            at, since = index, time.monotonic()
        elif time.monotonic() - since > hang:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang"
        time.sleep(0.05)


def _peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
