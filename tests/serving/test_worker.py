import threading
import time

from detection.serving.worker import Worker


def test_a_cancelled_job_is_skipped():
    hold, done = threading.Event(), []
    worker = Worker(lambda job: (hold.wait(60), done.append(job)), places=2)
    first = worker.submit(1)
    while worker.waiting:
        time.sleep(0.01)
    second, third = worker.submit(2), worker.submit(3)
    assert second.cancel()
    hold.set()
    third.result(60)
    assert first.done()
    assert done == [1, 3]
    worker.close()
