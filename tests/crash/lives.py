"""Run commands that are killed, interrupted, or whose disk is full, until they are done; compare.

Each life of a command is forked from a process that has run it once, so that all is imported,
compiled and loaded, and a random moment of it is a moment of its work. Linux only.
"""

import atexit
import contextlib
import fcntl
import gc
import io
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from detection.__main__ import main
from tests.crash.commands import COMMANDS, run_command

LEFT = ".*.tmp"
"""Temporary files and folders of atomic writes."""

REFUSALS = ("no space: need", "got a limit of", "got one that was cut off")
"""What a command says for want of room."""

SIGNALS = {
    "killed": (signal.SIGKILL, {-signal.SIGKILL}),
    "interrupted": (signal.SIGINT, {130}),
    "terminated": (signal.SIGTERM, {-signal.SIGTERM, 143}),
}
"""What is done to a command -> the signal, and how the command then may end."""

LONGEST = 600.0
"""Seconds that a life may take; then it hangs."""


class Life:
    """A command in a process of its own, in the folder ``folder_of_run``."""

    def __init__(self, folder_of_run, words, *, file_limit=None):
        folder_of_run.mkdir(parents=True, exist_ok=True)
        self._said, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)  # more than a command says
        self.began = time.monotonic()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        self.process = os.fork()
        if self.process == 0:
            code = 1
            try:
                os.chdir(folder_of_run)
                sys.stdout, sys.stderr = (os.fdopen(os.dup2(writing, n), "w") for n in (1, 2))
                if file_limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
                code = run_as_from_a_shell(words)
            except SystemExit as ended:
                code = ended.code
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(writing)

    def has_ended(self):
        """Return whether it has; ``end`` still has to be called."""
        return os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def has_computed(self):
        """Return the processor time so far: seconds of the clock depend on what else computes."""
        return time.clock_gettime(~self.process << 3 | 2)  # as clock_getcpuclockid(3) makes it

    def disturb_after(self, computed, number):
        """Send it a signal after seconds of processor time; return False if it has ended."""
        while not self.has_ended() and (left := computed - self.has_computed()) > 0:
            if time.monotonic() - self.began > LONGEST:
                return False
            time.sleep(min(max(left, 0.0005), 0.005))
        if self.has_ended():
            return False
        os.kill(self.process, number)
        return True

    def end(self):
        """Wait for it; return (exit code, negative for a signal, None if it hangs; its words)."""
        wait, hangs = 0.0005, False
        while not self.has_ended():
            if time.monotonic() - self.began > LONGEST:
                hangs = True
                os.kill(self.process, signal.SIGKILL)
            time.sleep(wait := min(2 * wait, 0.01))
        _, status = os.waitpid(self.process, 0)
        with os.fdopen(self._said) as said:
            return None if hangs else os.waitstatus_to_exitcode(status), said.read()


def run_as_from_a_shell(words):
    """Run a command in this forked process; give its exit code."""
    atexit._clear()  # the temporary folder of all rounds is not this process's to remove
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, below a background job
    sys.argv = ["detection", *map(str, words)]
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    except KeyboardInterrupt:  # came before a command could begin
        return 130
    return main()


def finish(folder_of_run, words, again):
    """Run a command to its end as another command line; give what it said."""
    code, said = Life(folder_of_run, [*words, *again]).end()
    if code != 0:
        message = f"{' '.join(map(str, words))} ended with {code}: {said[-2000:]}"
        raise AssertionError(message)
    return said


@dataclass(frozen=True)
class Straight:
    """A command that nothing disturbed.

    Attributes:
        trained: folder of the run that it needs; None for those that need none.
        result: of it.
        computed: its processor time, in seconds.
        sizes: of the files that it wrote.
    """

    trained: Path | None
    result: dict
    computed: float
    sizes: list


def run_here(folder, name, folder_of_run, trained=None):
    """Run a command in this process: what it imports and loads is there in those forked later."""
    start_from(folder_of_run, trained)
    said = io.StringIO()
    with (
        contextlib.chdir(folder_of_run),
        contextlib.redirect_stdout(said),
        contextlib.redirect_stderr(said),
    ):
        code = run_command(COMMANDS[name].words(folder))
    if code:
        message = f"{name} ended with {code}: {said.getvalue()[-2000:]}"
        raise AssertionError(message)


def undisturbed(folder, name, trained=None):
    """Run a command twice without trouble, here and forked; return what it is compared with."""
    command = COMMANDS[name]
    warm, straight = folder / f"{name}-warm", folder / f"{name}-straight"
    run_here(folder, name, warm, trained)
    result = command.result(warm)
    gc.collect()
    gc.freeze()  # what is collected in a fork would be copied first
    start_from(straight, trained)
    brought = {p.relative_to(straight) for p in straight.rglob("*")}
    life = Life(straight, command.words(folder))
    computed = 0.0
    while not life.has_ended():
        computed = life.has_computed()
        time.sleep(0.002)
    code, said = life.end()
    written = [p for p in straight.rglob("*") if p.relative_to(straight) not in brought]
    sizes = [p.stat().st_size for p in written if p.is_file()]
    if code != 0 or command.result(straight) != result:
        message = f"{name}: expected the same result of two runs, got {code}: {said[-2000:]}"
        raise AssertionError(message)
    for path in (warm, straight):
        shutil.rmtree(path)
    return Straight(trained=trained, result=result, computed=computed, sizes=sizes)


def start_from(folder_of_run, trained):
    """Begin in a new folder, with the run that the command needs, without its proposals."""
    folder_of_run.mkdir(parents=True, exist_ok=True)
    if trained is not None:
        shutil.copytree(trained / "run", folder_of_run / "run")


def disturbed_rounds(folder, name, straight, moments, seed=0, what="killed"):
    """Send a command a signal at a random moment, perhaps again; let it finish; and so on.

    A command that ends well although the signal came has to have the result already.

    Args:
        folder: prepared.
        name: of the command.
        straight: the command undisturbed.
        moments: at which it is ended, at least.
        seed: of the moments.
        what: is done to it, one of ``SIGNALS``.
    """
    command, (number, ends) = COMMANDS[name], SIGNALS[what]
    chance = random.Random(f"{name} {seed}" if what == "killed" else f"{name} {seed} {what}")
    report = {"verb": name, "rounds": 0, "moments": 0, "resumed": 0}
    report |= {"different": 0, "left_over": 0, "unclear": []}
    began = time.monotonic()
    while report["moments"] < moments:
        folder_of_run = folder / f"{name}-{what}"
        start_from(folder_of_run, straight.trained)
        ended, again = 0, ()
        for _ in range(chance.choice((1, 1, 2, 3))):
            if command.is_done(folder_of_run):
                break
            life = Life(folder_of_run, [*command.words(folder), *again])
            sent = life.disturb_after(chance.uniform(0, straight.computed), number)
            code, said = life.end()
            if code not in {0, *ends} or "Traceback" in said:
                report["unclear"].append({"code": code, "said": said[-1500:]})
            if code == 0 and sent:
                report["different"] += command.result(folder_of_run) != straight.result
            ended += code != 0
            again = command.again
        if ended:
            said = ""
            if not command.is_done(folder_of_run):
                said = finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["moments"] += ended
            report["resumed"] += "resumed after" in said
            report["different"] += command.result(folder_of_run) != straight.result
            report["left_over"] += has_left_over(folder_of_run)
        shutil.rmtree(folder_of_run)
    times = {"computed": straight.computed, "seconds": time.monotonic() - began}
    return report | {name: round(value, 2) for name, value in times.items()}


def has_left_over(folder):
    """Return whether a temporary file or a lock is left."""
    return any(folder.rglob(LEFT)) or any(folder.rglob(".lock"))


def full_rounds(folder, name, straight, rounds, seed=0, *, mounted=False):
    """Run a command on too small a disk in each round, then with room, and let it finish.

    Args:
        folder: prepared.
        name: of the command.
        straight: the command undisturbed.
        rounds: how many.
        seed: of the sizes.
        mounted: on a small file system in memory, which takes a privilege; otherwise each file is
            limited.
    """
    command, trained = COMMANDS[name], straight.trained
    needed, largest = sum(map(pages, straight.sizes)), max(straight.sizes)
    chance = random.Random(f"{name} {seed}")
    report = {
        "verb": name,
        "rounds": 0,
        "refused": 0,
        "different": 0,
        "left_over": 0,
        "unclear": [],
    }
    while report["rounds"] < rounds:
        folder_of_run = folder / f"{name}-full"
        folder_of_run.mkdir()
        if mounted:
            run = (trained / "run").rglob("*") if trained else ()
            room = sum(pages(path.stat().st_size) for path in run if path.is_file())
            options = f"size={room + pages(chance.randrange(needed))}"
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", folder_of_run)
        try:
            start_from(folder_of_run, trained)
            limit = None if mounted else chance.randrange(1, largest)
            code, said = Life(folder_of_run, command.words(folder), file_limit=limit).end()
            if code != 0:
                report["refused"] += 1
                clear = any(words in said for words in REFUSALS)
                if code not in {1, 2} or not clear or "Traceback" in said:
                    report["unclear"].append({"code": code, "said": said[-1500:]})
            if mounted:
                _run("mount", "-o", "remount,size=64m", folder_of_run)
            if not command.is_done(folder_of_run):
                finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["different"] += command.result(folder_of_run) != straight.result
            report["left_over"] += has_left_over(folder_of_run)
        finally:
            if mounted:
                _run("umount", folder_of_run)
            shutil.rmtree(folder_of_run)
    return report


def pages(size):
    """Return the bytes that a file takes in memory."""
    return -(-size // 4096) * 4096


def _run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def can_mount():
    """Return whether this process may mount a small file system."""
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder],
            check=False,
            capture_output=True,
        )
        if done.returncode == 0:
            _run("umount", folder)
        return done.returncode == 0


def all_rounds(folder, names, counts, seed=0, *, mounts=True):
    """Do every kind of round with every command; yield the reports.

    Args:
        folder: prepared.
        names: of the commands.
        counts: moments of each of ``SIGNALS``, and rounds on a full disk as ``fills``.
        seed: of all that is random.
        mounts: whether small file systems may be mounted.
    """
    trained = None
    if any(COMMANDS[name].needs for name in names):
        trained = folder / "for-evaluation"
        run_here(folder, "train", trained)
        shutil.rmtree(trained / "proposals")
    mounted = mounts and can_mount()
    for name in names:
        straight = undisturbed(folder, name, trained if COMMANDS[name].needs else None)
        for what in SIGNALS:
            if counts[what]:
                report = disturbed_rounds(folder, name, straight, counts[what], seed, what)
                yield {"what": what} | report
        for kind in ([True] if mounted else []) + [False]:
            if counts["fills"]:
                report = full_rounds(folder, name, straight, counts["fills"], seed, mounted=kind)
                yield {"what": "full disk" if kind else "limited files"} | report


TITLES = {
    "killed": "SIGKILL",
    "interrupted": "SIGINT",
    "terminated": "SIGTERM",
    "full disk": "full disk",
    "limited files": "limited files",
}
"""What is done to a command -> how it stands in the table."""


def table(reports):
    """Return Markdown: how often each command was ended by what, and what was wrong afterwards."""
    whats = [what for what in TITLES if any(report["what"] == what for report in reports)]
    faults = ("different", "left_over", "unclear")
    rows = {}
    for report in reports:
        for row in (rows.setdefault(report["verb"], {}), rows.setdefault("**all**", {})):
            ended = report["moments"] if "moments" in report else report["refused"]
            row[report["what"]] = row.get(report["what"], 0) + ended
            for fault in faults:
                count = report[fault] if fault != "unclear" else len(report[fault])
                row[fault] = row.get(fault, 0) + count
    rows["**all**"] = rows.pop("**all**", {})
    heads = ["verb", *(TITLES[what] for what in whats), "different", "left over", "unclear"]
    lines = [heads, ["---"] * len(heads)]
    lines += [[verb, *(row.get(one, 0) for one in (*whats, *faults))] for verb, row in rows.items()]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in lines)
