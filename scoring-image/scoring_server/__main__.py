"""The command line: `scoring-server [serve|fetch|register]`. Parses, dispatches, and turns failures into exit codes.

Each verb's module is imported only when that verb runs: a fetch container needs no onnxruntime, and start-up time
of `serve` is what a scale-out waits for.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence

_VERBS = ("serve", "fetch", "register")

#: option → (environment variable, metavar, help). An option wins over its variable.
_SERVE_OPTIONS: tuple[tuple[str, str, str, str], ...] = (
    ("--entry-script", "AZUREML_ENTRY_SCRIPT", "FILE", "script with init() and run(); without one, ONNX is served"),
    ("--app-root", "AML_APP_ROOT", "DIR", "folder of the script's own modules (default: the working directory)"),
    ("--model-dir", "AZUREML_MODEL_DIR", "DIR", "folder that init() finds as AZUREML_MODEL_DIR"),
    ("--host", "SCORING_HOST", "ADDRESS", "address to listen on (default 0.0.0.0)"),
    ("--port", "SCORING_PORT", "PORT", "port to listen on (default 5001)"),
    ("--key-dir", "SCORING_KEY_DIR", "DIR", "folder with the files primaryKey and secondaryKey; asks for a key"),
    ("--auth-mode", "SCORING_AUTH_MODE", "Key|None", "default: Key with a key folder, otherwise None"),
    ("--timeout-ms", "SCORING_TIMEOUT_MS", "MS", "time from arrival to answer before 408 (default 60000)"),
    ("--max-concurrent-requests", "SCORING_MAX_CONCURRENT_REQUESTS", "N", "requests that run at once (default 8)"),
    ("--max-queue-wait-ms", "SCORING_MAX_QUEUE_WAIT_MS", "MS", "wait for a free place before 429 (default 500)"),
    ("--init-timeout-seconds", "SCORING_INIT_TIMEOUT_SECONDS", "S", "time for init() (default 300)"),
    ("--max-body-bytes", "SCORING_MAX_BODY_BYTES", "BYTES", "largest body before 413 (default 100 MiB)"),
    ("--drain-seconds", "SCORING_DRAIN_SECONDS", "S", "time for running requests after SIGTERM (default 25)"),
    ("--log-level", "SCORING_LOG_LEVEL", "LEVEL", "debug, info, warning or error (default info)"),
)


def main(arguments: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    variables = dict(os.environ if environ is None else environ)
    if not given or (given[0] not in _VERBS and given[0] not in ("-h", "--help")):
        given.insert(0, "serve")
    options = _parser().parse_args(given)
    match options.verb:
        case "fetch":
            from scoring_server import fetch

            return int(fetch.main(variables))
        case "register":
            from scoring_server import register

            return int(register.main(variables))
        case _:
            from scoring_server import server

            for flag, variable, _, _ in _SERVE_OPTIONS:
                value = getattr(options, flag.removeprefix("--").replace("-", "_"))
                if value is not None:
                    variables[variable] = value
            return server.main(variables, models=tuple(options.model))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scoring-server",
        description="Serves Azure ML scoring scripts unchanged, and ONNX models without any code.",
        epilog="Without a verb, serve is meant: scoring-server --entry-script score.py --model-dir models",
    )
    verbs = parser.add_subparsers(dest="verb", metavar="{serve,fetch,register}")
    serve = verbs.add_parser("serve", help="load the model and answer requests (the default)")
    serve.add_argument(
        "--model",
        action="append",
        default=[],
        metavar="NAME=PATH",
        help="an ONNX file (or a folder with one) to serve without code; may be given several times",
    )
    for flag, variable, metavar, text in _SERVE_OPTIONS:
        serve.add_argument(flag, metavar=metavar, help=f"{text} [{variable}]")
    verbs.add_parser("fetch", help="download the models of SCORING_MODELS and verify their digests")
    verbs.add_parser("register", help="read the source of SCORING_SOURCE once and report digest, format and signature")
    return parser


if __name__ == "__main__":
    sys.exit(main())
