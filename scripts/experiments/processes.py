"""What Linux tells of the processes below one."""

from __future__ import annotations

from pathlib import Path


def told(process: int, name: str) -> str:
    """Return a file of a process in /proc; nothing where it has ended."""
    try:
        return Path(f"/proc/{process}/{name}").read_text(errors="replace")
    except OSError:
        return ""


def descendants(process: int) -> list[int]:
    """Return the processes below one."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*"):
        if said := told(int(path.name), "stat"):
            parent = int(said.rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.name))
    found, waiting = [], [process]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def ticks(process: int) -> int:
    """Return the processor time of a process so far; 0 where it has ended."""
    fields = told(process, "stat").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12]) if fields else 0
