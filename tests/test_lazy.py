import subprocess
import sys

from detection.lazy import LazyModule, lazy


def test_a_module_that_is_imported_is_taken_as_it_is():
    assert lazy("sys") is sys


def test_a_module_is_imported_at_the_first_use_of_a_name():
    code = (
        "import sys\n"
        "from detection.lazy import lazy\n"
        "decimal = lazy('decimal')\n"
        "assert 'decimal' not in sys.modules\n"
        "assert decimal.Decimal(1) == 1\n"
        "assert decimal.Decimal is sys.modules['decimal'].Decimal"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_it_stands_for_the_module_by_name():
    assert LazyModule("decimal").__name__ == "decimal"
