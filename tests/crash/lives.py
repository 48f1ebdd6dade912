"""Run commands that are killed, or whose disk is full, until they are done; compare the results.

Each life of a command is forked from a process that has imported and compiled what is needed, so
that a random moment of it is a moment of its work.
"""

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

from tests.crash.commands import COMMANDS, run_command

LEFT = ".*.tmp"
"""Temporary files of atomic writes."""


class Life:
    """A command in a process of its own, in the folder ``folder_of_run``."""

    def __init__(self, folder_of_run, words, *, file_limit=None):
        folder_of_run.mkdir(parents=True, exist_ok=True)
        self._said, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)  # more than a command says
        self.began = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            code = 1
            try:
                os.chdir(folder_of_run)
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                if file_limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
                code = run_command(words)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)

    def kill_after(self, seconds):
        """Kill it then, or find that it has ended; return the seconds that it has lived."""
        ended = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while (lived := time.monotonic() - self.began) < seconds:
            if os.waitid(os.P_PID, self.process, ended):
                return lived
            time.sleep(min(seconds - lived, 0.005))
        os.kill(self.process, signal.SIGKILL)
        return lived

    def end(self):
        """Wait for it; give (exit code, negative for a signal, what it said)."""
        _, status = os.waitpid(self.process, 0)
        with os.fdopen(self._said) as said:
            return os.waitstatus_to_exitcode(status), said.read()


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


def killed_rounds(folder, name, rounds, seed=0, trained=None):
    """Kill a command at a random moment of each round, perhaps again, then let it finish."""
    command = COMMANDS[name]
    expected, seconds = undisturbed(folder, name, trained)
    chance = random.Random(f"{name} {seed}")
    report = {"verb": name, "rounds": 0, "kills": 0, "resumed": 0}
    report |= {"different": 0, "left_over": 0}
    while report["rounds"] < rounds:
        folder_of_run = folder / f"{name}-killed"
        start_from(folder_of_run, trained)
        kills, again = 0, ()
        for number in range(chance.choice((1, 1, 2, 3))):
            life = Life(folder_of_run, [*command.words(folder), *again])
            lived = life.kill_after(chance.uniform(0, seconds))
            code, said = life.end()
            if code not in {0, -signal.SIGKILL}:
                message = f"{name}: round {report['rounds']}: ended with {code}: {said[-2000:]}"
                raise AssertionError(message)
            if code == 0 and number == 0:  # the undisturbed one may have had to compile
                seconds = min(seconds, lived)
            kills += code == -signal.SIGKILL
            again = command.again
        if kills:
            said = finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["kills"] += kills
            report["resumed"] += "resumed after" in said
            report["different"] += command.result(folder_of_run) != expected
            report["left_over"] += any(folder_of_run.rglob(LEFT)) or any(
                folder_of_run.rglob(".lock")
            )
        shutil.rmtree(folder_of_run)
    return report | {"seconds": round(seconds, 2)}


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
                clear = "no space: need" in said or "got a limit of" in said
                if code not in {1, 2} or not clear or "Traceback" in said:
                    report["unclear"].append({"code": code, "said": said[-1500:]})
            if mounted:
                _run("mount", "-o", "remount,size=64m", folder_of_run)
            finish(folder_of_run, command.words(folder), command.again)
            report["rounds"] += 1
            report["different"] += command.result(folder_of_run) != expected
            report["left_over"] += any(folder_of_run.rglob(LEFT)) or any(
                folder_of_run.rglob(".lock")
            )
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


def all_rounds(folder, names, kills, fills, seed=0, *, mounts=True):
    """Do every kind of round with every command; yield the reports."""
    trained = None
    if any(COMMANDS[name].needs for name in names):
        undisturbed(folder, "train")
        trained = folder / "for-evaluation"
        shutil.move(folder / "train-straight", trained)
    mounted = mounts and can_mount()
    for name in names:
        start = trained if COMMANDS[name].needs else None
        if kills:
            yield {"what": "killed"} | killed_rounds(folder, name, kills, seed, start)
            shutil.rmtree(folder / f"{name}-straight")
        for kind in ([True] if mounted else []) + [False]:
            if fills:
                report = full_rounds(folder, name, fills, seed, start, mounted=kind)
                yield {"what": "full disk" if kind else "limited files"} | report
                shutil.rmtree(folder / f"{name}-straight")
