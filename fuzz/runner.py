"""How a target runs for hours: under atheris, which is libFuzzer for Python, with the core instrumented.

`pytest fuzz` needs none of this; there hypothesis makes the inputs.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

CORPUS = Path(__file__).resolve().parent / "corpus"


def run(one_input: Callable[[bytes], None]) -> None:
    """Tries `one_input` on inputs without end. The command line is libFuzzer's: options, and folders of inputs.

    The target's own corpus is where it begins. What libFuzzer adds goes into the first folder that it is given;
    where there is none, or that one is a corpus of this project, into a temporary one, as inputs that fail do.
    """
    target = Path(one_input.__code__.co_filename).stem
    try:
        atheris = import_module("atheris")
    except ModuleNotFoundError:
        sys.exit(f"atheris is not installed here; without it, run this target with: pytest fuzz -k {target}")
    # What was imported before could not be instrumented, so it is imported anew.
    for name in [name for name in sys.modules if name.partition(".")[0] in ("core", "fuzz")]:
        del sys.modules[name]
    with atheris.instrument_imports(include=["core"]):
        instrumented = import_module(f"fuzz.{target}")
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    if not any(Path(folder).is_file() for folder in folders):
        if not folders or Path(folders[0]).resolve().is_relative_to(CORPUS):
            folders.insert(0, tempfile.mkdtemp(prefix=f"fuzz-{target}-"))
        if str(CORPUS / target) not in map(str, map(Path.resolve, map(Path, folders))):
            folders.append(str(CORPUS / target))
        if not any(option.startswith("-artifact_prefix") for option in options):
            options.append(f"-artifact_prefix={folders[0]}/failed-")
    atheris.Setup([sys.argv[0], *options, *folders], instrumented.one_input)
    atheris.Fuzz()
