"""Nothing that is read from a file, a formula or the network may run: no unpickling, `eval` or `exec` in our code.

The tree of every module is walked. What runs code by design stands in `BY_DESIGN`, each with its reason.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FILES = sorted(path for top in ("src", "papers", "benchmarks", "docs") for path in (ROOT / top).rglob("*.py"))

MODULES = {
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "jsonpickle", "code"),
    *("codeop", "runpy", "pty", "commands", "yaml", "ruamel", "telnetlib", "imp", "copyreg", "xmlrpc"),
}
BARE = {"eval", "exec", "compile", "__import__", "execfile", "input"}
# Attributes that evaluate text or unpickle, whoever has them: DataFrame.eval, pd.read_pickle, torch.load, os.system ...
ATTRIBUTES = {
    *("read_pickle", "to_pickle", "loads_pickle", "load_pickle", "unpickle", "unsafe_load", "full_load"),
    *("spawnl", "spawnv", "execv", "execl", "extractall", "extract", "unpack_archive", "urlretrieve"),
    *("literal_eval_code", "exec_module", "run_path", "run_module", "deserialize_and_load"),
}
OF_MODULES = {  # name of a module: what of it may not be called
    "os": {"system", "popen"},
    "pd": {"eval"},
    "pandas": {"eval"},
    "torch": {"load"},
    "joblib": {"load"},
    "yaml": {"load"},
    "tarfile": {"open"},
    "ssl": {"_create_unverified_context"},
    "urllib": {"urlopen"},
    "request": {"urlopen"},
    "np": {"load", "fromregex"},
    "numpy": {"load"},
}
KEYWORDS = {"allow_pickle": True, "shell": True, "verify": False, "unsafe": True, "weights_only": False}

BY_DESIGN = {
    # `jensen fit file.py:function` runs the file that the user names
    ("src/jensen/_cli/models.py", "exec_module"),
    # reads, in a process of its own, the arrays that the benchmark has just written
    ("benchmarks/jensen_bench/cold_start.py", "np.load"),
}


def findings(source: str) -> list[str]:
    """What of `source` could run loaded content, by name."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [a.name for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom) and node.module:
            found += [node.module] if node.module.split(".")[0] in MODULES else []
            found += [a.name for a in node.names if a.name in BARE | ATTRIBUTES]
        elif isinstance(node, ast.Call):
            found += _call(node)
        elif isinstance(node, ast.Name) and node.id in ("eval", "exec", "__import__"):
            found.append(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "\n" in node.value:
            found += _script(node.value)
    return found


def _call(node: ast.Call) -> list[str]:
    found = []
    if isinstance(node.func, ast.Name) and node.func.id in BARE:
        found.append(node.func.id)
    if isinstance(node.func, ast.Attribute):
        owner = node.func.value
        name = owner.id if isinstance(owner, ast.Name) else owner.attr if isinstance(owner, ast.Attribute) else ""
        if node.func.attr in ATTRIBUTES:
            found.append(node.func.attr)
        if node.func.attr in OF_MODULES.get(name, ()):
            found.append(f"{name}.{node.func.attr}")
    for keyword in node.keywords:
        if keyword.arg in KEYWORDS and getattr(keyword.value, "value", None) is KEYWORDS[keyword.arg]:
            found.append(f"{keyword.arg}={KEYWORDS[keyword.arg]}")
    return found


def _script(text: str) -> list[str]:
    """Findings in a text that is itself a program, such as one for another process."""
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return []
    return [name for name in findings(text) if name not in ("eval", "exec")] if "import " in text else []


@pytest.mark.parametrize("top", ["src", "papers", "benchmarks", "docs"])
def test_no_module_runs_loaded_content(top):
    chosen = [path for path in FILES if path.relative_to(ROOT).parts[0] == top]
    assert chosen
    found = {
        (str(path.relative_to(ROOT)), name) for path in chosen for name in findings(path.read_text(encoding="utf-8"))
    }
    assert found - BY_DESIGN == set()
    assert {entry for entry in BY_DESIGN if entry[0].startswith(f"{top}/")} <= found  # no exception outlives its reason


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from pickle import loads",
        "import cloudpickle as cp",
        "eval('1')",
        "run = eval",
        "exec(text)",
        "compile(text, 'x', 'exec')",
        "__import__('os')",
        "np.load(path)",
        "numpy.load(path)",
        "f(path, allow_pickle=True)",
        "pd.eval('x')",
        "pd.read_pickle(path)",
        "import yaml",
        "joblib.load(path)",
        "torch.load(path)",
        "subprocess.run(words, shell=True)",
        "os.system(words)",
        "archive.extractall(path)",
        "urllib.request.urlopen(url)",
        "SCRIPT = '''import pickle\\npickle.loads(data)\\n'''",
    ],
)
def test_the_walk_sees_each_of_these(source):
    assert findings(source)
