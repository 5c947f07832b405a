"""An Azure ML scoring script: its file is executed once, `init()` runs once, `run()` runs per request.

Nothing here knows HTTP or JSON: `run()` takes the text it takes in Azure ML and its result is returned as it is.
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from scoring_server import termination

logger = logging.getLogger("scoring_server.script")

# The name under which Azure ML's server executes the script; pickles made there refer to it.
_MODULE_NAME = "entry_module"


@dataclass(frozen=True)
class Script:
    """A loaded script. `wants_headers` says whether `run()` takes `request_headers`."""

    path: Path
    init: Callable[[], Any]
    run: Callable[..., Any]
    parameter: str
    wants_headers: bool

    def call(self, raw_data: str, headers: Mapping[str, str] | None) -> Any:
        if self.wants_headers:
            return self.run(**{self.parameter: raw_data, "request_headers": headers})
        return self.run(**{self.parameter: raw_data})


def load(entry_script: str, app_root: Path) -> Script:
    """Execute the script's file. Raises StartError with the user's own exception."""
    path = app_root / entry_script
    if not path.is_file():
        listing = termination.listing(app_root)
        message = f"The entry script {entry_script} is not in {app_root}."
        raise termination.StartError(
            termination.Failure("Init", "ScriptNotFound", message, script=entry_script, listing=listing)
        )
    for folder in (str(app_root), str(path.parent)):
        if folder not in sys.path:
            # At the end, as in Azure ML: a user's json.py must not shadow the standard library's.
            sys.path.append(folder)
    module = _execute(path)
    for name in ("init", "run"):
        if not callable(getattr(module, name, None)):
            raise _invalid(path, f"{path.name} has no {name}() function; define init() and run(raw_data).")
    driver = getattr(module, "driver_module", None)
    run = driver.run if isinstance(driver, ModuleType) and hasattr(driver, "run") else module.run
    parameter, wants_headers = _parameters(run, path)
    return Script(path, module.init, run, parameter, wants_headers)


def initialise(script: Script, model_dir: Path | None) -> None:
    """Call `init()`. Raises StartError with the user's own exception, its line, and what the model folder holds."""
    try:
        script.init()
    except BaseException as error:
        logger.error(
            "init() of %s raised %s", script.path.name, describe(error), exc_info=user_part(error, script.path)
        )
        raise termination.StartError(_failure(error, script.path, "in init()", model_dir)) from error


def describe(error: BaseException) -> str:
    """The exception as Python prints it in the last line of a traceback."""
    return "".join(traceback.format_exception_only(error)).strip()


def user_part(error: BaseException, script: Path) -> tuple[type[BaseException], BaseException, TracebackType | None]:
    """The exception with its traceback from the script's first frame on: our own frames tell the user nothing."""
    tb = error.__traceback__
    start = tb
    while start is not None and start.tb_frame.f_code.co_filename != str(script):
        start = start.tb_next
    return type(error), error, start or tb


def _execute(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(_MODULE_NAME, path)
    if spec is None or spec.loader is None:
        raise _invalid(path, f"{path.name} is not a Python file; the entry script's name must end in .py.")
    module = importlib.util.module_from_spec(spec)
    # Registered, so that dataclasses and pickles defined in the script find their module.
    sys.modules[_MODULE_NAME] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        logger.error("%s cannot be parsed", path.name, exc_info=(type(error), error, None))
        where = f"line {error.lineno} of {Path(error.filename or path).name}"
        message = f"{path.name} cannot be imported: {error.msg} in {where}."
        raise termination.StartError(
            termination.Failure(
                "Init", "ScriptInvalid", message, describe(error).splitlines()[-1], path.name, error.lineno
            )
        ) from error
    except BaseException as error:
        logger.error("%s raised %s", path.name, describe(error), exc_info=user_part(error, path))
        raise termination.StartError(_failure(error, path, "while it was imported", None)) from error
    return module


def _failure(error: BaseException, path: Path, when: str, model_dir: Path | None) -> termination.Failure:
    exception, line = describe(error), _line(error, path)
    place = f"{path.name} line {line}" if line else path.name
    listing = termination.listing(model_dir) if model_dir is not None else ()
    if isinstance(error, ImportError):
        message = (
            f"{place} imports what is not here ({error}). "
            "Put the module beside the script, or choose an image that has it: spec.environment.image."
        )
        return termination.Failure("Environment", "ImportFailed", message, exception, path.name, line, listing)
    message = f"{place} raised {type(error).__name__} {when}: {error}"
    return termination.Failure("Init", "InitFailed", message, exception, path.name, line, listing)


def _line(error: BaseException, path: Path) -> int | None:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return lines[-1] if lines else None


def _parameters(run: Callable[..., Any], path: Path) -> tuple[str, bool]:
    parameters = list(inspect.signature(run).parameters.values())
    if any(item.kind not in (item.KEYWORD_ONLY, item.POSITIONAL_OR_KEYWORD) for item in parameters):
        raise _invalid(path, "run() cannot accept positional-only arguments, *args, or **kwargs.")
    names = [item.name for item in parameters]
    wants_headers = "request_headers" in names
    names = [name for name in names if name != "request_headers"]
    if not names:
        besides = ' other than "request_headers"' if wants_headers else " for input data"
        raise _invalid(path, f"run() needs to accept an argument{besides}.")
    return names[0], wants_headers


def _invalid(path: Path, message: str) -> termination.StartError:
    return termination.StartError(termination.Failure("Init", "ScriptInvalid", message, script=path.name))
