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

from tests.crash.verbs import VERBS, run_verb

LEFT = ".*.tmp"
"""Temporary files of atomic writes."""


class Life:
    """A command in a process of its own, in the folder ``place``."""

    def __init__(self, place, words, *, file_limit=None):
        place.mkdir(parents=True, exist_ok=True)
        self._said, writing = os.pipe()
        fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 1 << 20)  # more than a command says
        self.began = time.monotonic()
        self.process = os.fork()
        if self.process == 0:
            code = 1
            try:
                os.chdir(place)
                os.dup2(writing, 1)
                os.dup2(writing, 2)
                if file_limit is not None:
                    resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
                code = run_verb(words)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        os.close(writing)

    def kill_after(self, seconds):
        """Kill it then, or find that it has ended; give the seconds that it has lived."""
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


def finish(place, words, again):
    """Run a command to its end, and once more if that is another command line."""
    code, said = Life(place, [*words, *again]).end()
    if code != 0:
        message = f"{' '.join(map(str, words))} ended with {code}: {said[-2000:]}"
        raise AssertionError(message)


def undisturbed(folder, name, trained=None):
    """Run a verb once without trouble; give (its result, its seconds)."""
    verb, place = VERBS[name], folder / f"{name}-straight"
    start_from(place, trained)
    began = time.monotonic()
    finish(place, verb.words(folder), ())
    seconds = time.monotonic() - began
    return verb.result(place), seconds


def start_from(place, trained):
    """Begin in a new folder, with the run that the verb needs, without its proposals."""
    place.mkdir(parents=True, exist_ok=True)
    if trained is not None:
        shutil.copytree(trained / "run", place / "run")


def killed_rounds(folder, name, rounds, seed=0, trained=None):
    """Kill a verb at a random moment of each round, perhaps again, then let it finish."""
    verb = VERBS[name]
    expected, seconds = undisturbed(folder, name, trained)
    chance = random.Random(f"{name} {seed}")
    report = {"verb": name, "rounds": 0, "kills": 0, "different": 0, "left_over": 0}
    while report["rounds"] < rounds:
        place = folder / f"{name}-killed"
        start_from(place, trained)
        kills, again = 0, ()
        for number in range(chance.choice((1, 1, 2, 3))):
            life = Life(place, [*verb.words(folder), *again])
            lived = life.kill_after(chance.uniform(0, seconds))
            code, said = life.end()
            if code not in {0, -signal.SIGKILL}:
                message = f"{name}: round {report['rounds']}: ended with {code}: {said[-2000:]}"
                raise AssertionError(message)
            if code == 0 and number == 0:  # the undisturbed one may have had to compile
                seconds = min(seconds, lived)
            kills += code == -signal.SIGKILL
            again = verb.again
        if kills:
            finish(place, verb.words(folder), verb.again)
            report["rounds"] += 1
            report["kills"] += kills
            report["different"] += verb.result(place) != expected
            report["left_over"] += any(place.rglob(LEFT)) or any(place.rglob(".lock"))
        shutil.rmtree(place)
    return report | {"seconds": round(seconds, 2)}


def full_rounds(folder, name, rounds, seed=0, trained=None, *, mounted=False):
    """Give a verb too small a disk in each round, then room, and let it finish.

    Args:
        folder: prepared.
        name: of the verb.
        rounds: how many.
        seed: of the sizes.
        trained: of the run that an evaluation needs.
        mounted: on a small file system in memory, which takes a privilege; otherwise each file is
            limited.
    """
    verb = VERBS[name]
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
        place = folder / f"{name}-full"
        place.mkdir()
        if mounted:
            run = (trained / "run").rglob("*") if trained else ()
            room = sum(pages(path.stat().st_size) for path in run if path.is_file())
            options = f"size={room + pages(chance.randrange(needed))}"
            _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", place)
        try:
            start_from(place, trained)
            limit = None if mounted else chance.randrange(1, largest)
            code, said = Life(place, verb.words(folder), file_limit=limit).end()
            if code:
                report["refused"] += 1
                clear = "no space: need" in said or "got a limit of" in said
                if code not in {1, 2} or not clear or "Traceback" in said:
                    report["unclear"].append({"code": code, "said": said[-1500:]})
            if mounted:
                _run("mount", "-o", "remount,size=64m", place)
            finish(place, verb.words(folder), verb.again)
            report["rounds"] += 1
            report["different"] += verb.result(place) != expected
            report["left_over"] += any(place.rglob(LEFT)) or any(place.rglob(".lock"))
        finally:
            if mounted:
                _run("umount", place)
            shutil.rmtree(place)
    return report


def pages(size):
    """Give the bytes that a file takes in memory."""
    return -(-size // 4096) * 4096


def _run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)


def can_mount():
    """Tell whether this process may mount a small file system."""
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
    """Do every kind of round with every verb; yield the reports."""
    trained = None
    if any(VERBS[name].needs for name in names):
        undisturbed(folder, "train")
        trained = folder / "for-evaluation"
        shutil.move(folder / "train-straight", trained)
    mounted = mounts and can_mount()
    for name in names:
        start = trained if VERBS[name].needs else None
        if kills:
            yield {"what": "killed"} | killed_rounds(folder, name, kills, seed, start)
            shutil.rmtree(folder / f"{name}-straight")
        for kind in ([True] if mounted else []) + [False]:
            if fills:
                report = full_rounds(folder, name, fills, seed, start, mounted=kind)
                yield {"what": "full disk" if kind else "limited files"} | report
                shutil.rmtree(folder / f"{name}-straight")
