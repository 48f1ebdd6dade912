import logging

from detection.serving.quiet_log import Counted


def test_lines_that_repeat_are_counted(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("detection.serving.quiet_log.time.monotonic", lambda: now[0])
    counted, shown = Counted(period=10), []
    for number in range(2000):
        now[0] = number / 100
        record = logging.makeLogRecord({"name": "a", "msg": "bad request %d", "args": (number,)})
        if counted.filter(record):
            shown.append(record.getMessage())
    assert shown == ["bad request 0", "bad request 1000 (999 more of these since)"]


def test_messages_that_differ_in_their_numbers_alone_are_counted_together():
    counted = Counted(period=10)

    def of(text):
        return logging.LogRecord("a", logging.WARNING, "a.py", 1, text, (), None)

    passed = [counted.filter(of(f"invalid character {n} in header at {3 * n}")) for n in range(50)]
    assert passed == [True] + [False] * 49
    assert counted.filter(of("something else"))
