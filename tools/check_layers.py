#!/usr/bin/env python3
"""Refuses an include against the direction of dependency: a module uses only what stands above it.

  check_layers.py [ROOT]      one line for each include that must not be; exit 1 if there is any
"""

import re
import sys
from pathlib import Path

import ctext

# Top to bottom, as in docs/architecture.md.
ORDER = (
    "base", "fiber", "loop", "format", "http", "telemetry", "policy", "component", "components",
    "block", "api", "runtime", "lib", "cli",
)  # fmt: skip
# Stricter than the order: these never touch a socket, a thread or each other.
ONLY = {
    "format": {"base"},
    "policy": {"base", "format"},
    "telemetry": {"base", "format"},
}
# Inside of a module, likewise: its folders, then what stands in the module's own ("").
WITHIN = {"block": ("core", "app", "call", "")}
# Beside the order: what is made by the build, and who may use it.
SPECIAL = {
    "dashboard": {"api", "runtime", "cli"},
    "proto": {"component", "components", "block", "api", "cli"},  # cli: proa scaler serves gRPC by itself
    "proa.h": {"lib"},
}
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', re.MULTILINE)


def module_of(parts):
    """src/<module>/… and components/<kind>/<engine>/… name their module; None is none of ours."""
    if parts[0] == "src" and len(parts) > 2:
        return parts[1]
    return parts[0] if parts[0] in ("components", "include", "dashboard") else None


def target_of(file, name, root):
    """(module, engine folder or None) that an include leads to; None for a neighbour's name."""
    parts = Path(name).parts
    if name.endswith(".pb-c.h"):
        return "proto", None
    if len(parts) == 1:
        neighbour = (file.parent / name).exists()
        return ("proa.h" if name == "proa.h" and not neighbour else None), None
    if ".." in parts:
        return "..", None
    if parts[0] == "components":
        return "components", "/".join(parts[:3])
    return parts[0], None


def why_not(module, engine, target, folder):
    """The reason against an include, or None."""
    if target is None or (target == module and module != "components"):
        return None
    if target == "..":
        return "leaves its folder: name it from src/"
    if target in SPECIAL:
        return None if module in SPECIAL[target] else f"{module} has no business with {target}"
    if target not in ORDER:
        return f"'{target}' is no module: add it to tools/check_layers.py and docs/architecture.md"
    if target == "components":
        own = folder in (engine, "components/common/" + (folder or "").split("/")[-1])
        if module == "components" and own:
            return None
        return "engines are known through the registry alone"
    if module in ONLY and target not in ONLY[module]:
        return f"{module} may use only {', '.join(sorted(ONLY[module]))}"
    if ORDER.index(target) > ORDER.index(module):
        return f"{target} stands below {module}"
    return None


def why_not_inside(module, folder, name):
    """The reason against an include of a module that has folders, or None."""
    order, parts = WITHIN.get(module), Path(name).parts
    if not order or parts[0] != module:
        return None
    target = parts[1] if len(parts) > 2 else ""
    for part in (folder, target):
        if part not in order:
            return f"'{part}' is no folder of {module}: add it to tools/check_layers.py"
    if order.index(target) > order.index(folder):
        return f"{module}/{target} stands below {module}/{folder}"
    return None


def check(root):
    problems = []
    for file in ctext.sources(root, ("src", "components", "include")):
        parts = file.relative_to(root).parts
        module = module_of(parts)
        if module is None:
            continue
        text = file.read_text()
        engine = "/".join(parts[:3]) if module == "components" else None
        for match in INCLUDE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            where = f"{'/'.join(parts)}:{line}"
            if module == "include":
                problems.append(f"{where}: the public header includes system headers alone")
                continue
            target, folder = target_of(file, match.group(1), root)
            inner = parts[2] if len(parts) > 3 else ""
            reason = why_not(module, engine, target, folder) or why_not_inside(
                module, inner, match.group(1))  # fmt: skip
            if reason:
                problems.append(f'{where}: "{match.group(1)}": {reason}')
    return problems


def main():
    root = Path(sys.argv[1]) if len(sys.argv) > 1 else ctext.repository()
    problems = check(root)
    print("\n".join(problems) or "layers: every include points upwards")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
