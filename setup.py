"""What setup.cfg cannot say: ``configs/`` becomes ``detection/configs`` in what is built.

From a clone, and in an editable installation, the files are read where they are.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    """Copies the configurations beside the package's modules."""

    def run(self) -> None:
        """Copy the modules, then the configurations."""
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "detection" / "configs"
            shutil.rmtree(target, ignore_errors=True)  # what was renamed since an earlier build
            shutil.copytree("configs", target)


setup(cmdclass={"build_py": BuildWithConfigs})
