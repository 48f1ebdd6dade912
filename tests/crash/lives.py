"""Run commands that are killed, interrupted, or whose disk is full, until they are done; compare.

Each life of a command is forked from a process that has imported and compiled what is needed, so
that a random moment of it is a moment of its work.
"""

import atexit
import fcntl
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

from detection.__main__ import main
from tests.crash.commands import COMMANDS

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

    def disturb_after(self, seconds, number=signal.SIGKILL):
        """Send it a signal then, or find that it has ended; give (seconds lived, whether sent)."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (lived := time.monotonic() - self.began) < seconds:
            if os.waitid(os.P_PID, self.process, ended):
                return lived, False
            time.sleep(min(seconds - lived, 0.005))
        os.kill(self.process, number)
        return lived, True

    def end(self):
        """Wait for it; give (exit code, negative for a signal, what it said)."""
        _, status = os.waitpid(self.process, 0)
        with os.fdopen(self._said) as said:
            return os.waitstatus_to_exitcode(status), said.read()


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


def undisturbed(folder, name, trained=None):
    """Run a command once without trouble; give (its result, its seconds)."""
    command, folder_of_run = COMMANDS[name], folder / f"{name}-straight"
    start_from(folder_of_run, trained)
    began = time.monotonic()
    finish(folder_of_run, command.words(folder), ())
    seconds = time.monotonic() - began
    return command.result(folder_of_run), seconds


def start_from(folder_of_run, trained):
    """Begin in a new folder, with the run that the command needs, without its proposals."""
    folder_of_run.mkdir(parents=True, exist_ok=True)
    if trained is not None:
        shutil.copytree(trained / "run", folder_of_run / "run")


def disturbed_rounds(folder, name, rounds, seed=0, trained=None, what="killed"):
    """Send a command a signal at a random moment of each round, perhaps again; let it finish.

    A command that ends well although the signal came has to have the result already.

    Args:
        folder: prepared.
        name: of the command.
        rounds: how many.
        seed: of the moments.
        trained: of the run that some commands need.
        what: is done to it, one of ``SIGNALS``.
    """
    command, (number, ends) = COMMANDS[name], SIGNALS[what]
    expected, seconds = undisturbed(folder, name, trained)
    chance = random.Random(f"{name} {seed}" if what == "killed" else f"{name} {seed} {what}")
    report = {"verb": name, "rounds": 0, "kills": 0, "resumed": 0}
    report |= {"different": 0, "left_over": 0, "unclear": []}
    while report["rounds"] < rounds:
        folder_of_run = folder / f"{name}-{what}"
        start_from(folder_of_run, trained)
        kills, again = 0, ()
        for turn in range(chance.choice((1, 1, 2, 3))):
            if command.is_done(folder_of_run):
                break
            life = Life(folder_of_run, [*command.words(folder), *again])
            lived, sent = life.disturb_after(chance.uniform(0, seconds), number)
            code, said = life.end()
            if code not in {0, *ends} or "Traceback" in said:
                report["unclear"].append({"code": code, "said": said[-1500:]})
            if code == 0 and turn == 0:  # the undisturbed one may have had to compile
                seconds = min(seconds, lived)
            if code == 0 and sent:
                report["different"] += command.result(folder_of_run) != expected
            kills += code != 0
            again = command.again
        if kills:
            said = ""
            if not command.is_done(folder_of_run):
                said = finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["kills"] += kills
            report["resumed"] += "resumed after" in said
            report["different"] += command.result(folder_of_run) != expected
            report["left_over"] += has_left_over(folder_of_run)
        shutil.rmtree(folder_of_run)
    return report | {"seconds": round(seconds, 2)}


def has_left_over(folder):
    """Return whether a temporary file or a lock is left."""
    return any(folder.rglob(LEFT)) or any(folder.rglob(".lock"))


def full_rounds(folder, name, rounds, seed=0, trained=None, *, mounted=False):
    """Run a command on too small a disk in each round, then with room, and let it finish.

    Args:
        folder: prepared.
        name: of the command.
        rounds: how many.
        seed: of the sizes.
        trained: of the run that an evaluation needs.
        mounted: on a small file system in memory, which takes a privilege; otherwise each file is
            limited.
    """
    command = COMMANDS[name]
    expected, _ = undisturbed(folder, name, trained)
    brought = {p.relative_to(trained) for p in trained.rglob("*")} if trained else set()
    straight = folder / f"{name}-straight"
    written = [p for p in straight.rglob("*") if p.relative_to(straight) not in brought]
    sizes = [p.stat().st_size for p in written if p.is_file()]
    needed, largest = sum(map(pages, sizes)), max(sizes)
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
            if code:
                report["refused"] += 1
                clear = any(words in said for words in REFUSALS)
                if code not in {1, 2} or not clear or "Traceback" in said:
                    report["unclear"].append({"code": code, "said": said[-1500:]})
            if mounted:
                _run("mount", "-o", "remount,size=64m", folder_of_run)
            if not command.is_done(folder_of_run):
                finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["different"] += command.result(folder_of_run) != expected
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
        counts: rounds of each of ``SIGNALS``, and on a full disk as ``fills``.
        seed: of all that is random.
        mounts: whether small file systems may be mounted.
    """
    trained = None
    if any(COMMANDS[name].needs for name in names):
        undisturbed(folder, "train")
        trained = folder / "for-evaluation"
        shutil.move(folder / "train-straight", trained)
    mounted = mounts and can_mount()
    for name in names:
        start = trained if COMMANDS[name].needs else None
        for what in SIGNALS:
            if counts[what]:
                report = disturbed_rounds(folder, name, counts[what], seed, start, what)
                yield {"what": what} | report
                shutil.rmtree(folder / f"{name}-straight")
        for kind in ([True] if mounted else []) + [False]:
            if counts["fills"]:
                report = full_rounds(folder, name, counts["fills"], seed, start, mounted=kind)
                yield {"what": "full disk" if kind else "limited files"} | report
                shutil.rmtree(folder / f"{name}-straight")
