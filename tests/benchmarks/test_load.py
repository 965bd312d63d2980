import os
import time

from benchmarks._load import Load


def burn(seconds):
    start = time.process_time()
    while time.process_time() - start < seconds:
        pass


def test_own_work_is_not_that_of_others_and_others_are_counted():
    mine, nobodys = Load([os.getpid()]), Load([])
    burn(0.2)
    assert 0.0 <= mine.of_others() < nobodys.of_others()
