#!/usr/bin/env python3
"""Finds the engines under components/ and writes the list of their tables.

An engine is a folder <root>/<kind>/<engine>/ with *.c files, one of which exports
`const struct <kind>_ops <symbol> = {`. A file `deps` beside them names pkg-config modules, one to
a line. Nothing else has to be told about an engine. A folder <root>/common/<x>/ holds what several
engines share and exports no table: they name it `common_<x>` in their `deps`.

  list ROOT...              one line per engine: id|folder|file;file|dep;dep (for meson, at configure)
  write OUT MESON ENGINES FOLDERS ROOT...
                            the C file with the tables of FOLDERS (a;b); ENGINES is the text of
                            `list` when meson was configured. When the folders have changed since,
                            MESON is touched, so that the next run of ninja configures anew, and
                            this one fails.
"""
import os
import pathlib
import re
import sys

TABLE = re.compile(
    r'^const struct (source|state|pubsub|secret|resolver|binding|middleware|configuration|lock|crypto)_ops '
    r'(\w+)\s*=', re.MULTILINE)
HEADER = {kind: f'component/{kind}.h'
          for kind in ('source', 'state', 'pubsub', 'configuration', 'lock', 'crypto')}


def engines(roots):
    for root in map(pathlib.Path, roots):
        folders = [p for p in root.glob('*/*/') if p.is_dir()]
        for folder in sorted(folders, key=lambda p: (p.parent.name != 'common', p)):
            files = sorted(p for p in folder.glob('*.c') if not p.name.startswith('.'))
            if files:
                yield folder, files


def deps(folder):
    path = folder / 'deps'
    lines = path.read_text().splitlines() if path.exists() else []
    return [line.split('#')[0].strip() for line in lines if line.split('#')[0].strip()]


def listing(roots):
    lines = []
    for folder, files in engines(roots):
        ident = re.sub(r'\W', '_', f'{folder.parent.name}_{folder.name}')
        lines.append('|'.join([ident, str(folder), ';'.join(map(str, files)),
                               ';'.join(deps(folder))]))
    return '\n'.join(lines)


def tables(enabled, roots):
    found = []
    for folder, files in engines(roots):
        if str(folder) not in enabled or folder.parent.name == 'common':
            continue
        here = [m for f in files for m in TABLE.findall(f.read_text(errors='replace'))]
        if not here:
            sys.exit(f'{folder}: no table: a file must say '
                     '`const struct <kind>_ops <symbol> = {` at the start of a line')
        found += [(kind, symbol, folder) for kind, symbol in here]
    symbols = [s for _, s, _ in found]
    twice = {s for s in symbols if symbols.count(s) > 1}
    if twice:
        sys.exit('the same name is used by two tables: ' + ', '.join(sorted(twice)))
    return found


def c_text(found):
    out = ['/* Written by tools/gen_registry.py from the folders that hold engines. */']
    headers = sorted({HEADER.get(kind, 'component/kinds.h') for kind, _, _ in found})
    out += [f'#include "{h}"' for h in ['component/registry.h'] + headers] + ['']
    out += [f'extern const struct {kind}_ops {symbol}; /* {folder.parent.name}/{folder.name} */'
            for kind, symbol, folder in found]
    out += ['', 'const struct component_type *const component_list[] = {']
    out += [f'    &{symbol}.t,' for _, symbol, _ in found]
    out += ['    NULL,', '};', f'const size_t component_list_n = {len(found)};', '']
    return '\n'.join(out)


def write(out, meson, configured, enabled, roots):
    if configured.split() != listing(roots).split():
        try:
            os.utime(meson)
        except OSError:
            pass
        sys.exit('the folders of the engines have changed: run ninja again, it will configure anew')
    text = c_text(tables(enabled, roots))
    path = pathlib.Path(out)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def main(argv):
    if len(argv) > 2 and argv[1] == 'list':
        print(listing(argv[2:]))
    elif len(argv) > 6 and argv[1] == 'write':
        write(argv[2], argv[3], argv[4], argv[5].split(';'), argv[6:])
    else:
        sys.exit(__doc__)


if __name__ == '__main__':
    main(sys.argv)
