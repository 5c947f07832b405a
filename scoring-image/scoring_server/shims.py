"""`azureml.core.model.Model.get_model_path` for scripts that call it, without the azureml-core package.

The modules are offered at the very end of the import system: where the real package is installed, it is used.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_MODULES = ("azureml", "azureml.core", "azureml.core.model")


def install(models_root: Path, model_dir: Path | None) -> None:
    """Make the modules importable; models are looked up as `<name>/<version>` in the folders given."""
    sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, _Finder)]
    sys.meta_path.append(_Finder(_roots(models_root, model_dir)))


def model_path(name: str, version: int | None, roots: Sequence[Path]) -> str:
    """The registered file, if the version's folder holds one entry, otherwise that folder. Newest version by default.

    Raises FileNotFoundError naming what there is.
    """
    for root in roots:
        folder = root / name
        if not folder.is_dir():
            continue
        versions = sorted((item for item in folder.iterdir() if item.name.isdigit()), key=lambda item: int(item.name))
        wanted = [item for item in versions if version is None or item.name == str(version)]
        if wanted:
            entries = list(wanted[-1].iterdir())
            return str(entries[0] if len(entries) == 1 else wanted[-1])
    known = sorted({f"{path.parent.name}:{path.name}" for root in roots for path in root.glob("*/*") if path.is_dir()})
    asked = name if version is None else f"{name}:{version}"
    raise FileNotFoundError(f"Model {asked} is not in this deployment; there are: {', '.join(known) or 'none'}")


def _roots(models_root: Path, model_dir: Path | None) -> tuple[Path, ...]:
    roots = [models_root]
    if model_dir is not None:
        # With one model AZUREML_MODEL_DIR is <root>/<name>/<version>, with several it is <root>.
        roots += [model_dir, model_dir.parent.parent]
    return tuple(dict.fromkeys(roots))


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in _MODULES:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=fullname != _MODULES[-1])

    def exec_module(self, module: ModuleType) -> None:
        if module.__name__ == "azureml":
            return
        roots = self._roots

        class Model:
            """The part of azureml-core's Model that a scoring script uses."""

            @staticmethod
            def get_model_path(model_name: str, version: int | None = None, _workspace: Any = None) -> str:
                return model_path(model_name, version, roots)

        module.Model = Model  # type: ignore[attr-defined]
