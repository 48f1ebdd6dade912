"""The examples in docstrings run and say what is printed."""

import doctest
import importlib

import pytest

MODULES = {
    "detection.data.image_like": 1,
    "detection.detector": 2,
    "detection.model_io": 1,
    "detection.structures": 2,
    "detection.tiny": 1,
}
"""Module -> how many of its docstrings have examples, at least."""


@pytest.mark.parametrize("name", MODULES)
def test_examples_hold(name):
    module = importlib.import_module(name)
    tests = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    assert len(tests) >= MODULES[name]
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in tests:
        runner.run(test)
    assert runner.failures == 0
