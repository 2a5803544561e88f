#!/usr/bin/env python3
"""tools/gen_registry.py: which folders are engines, and what is refused."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

GENERATOR = sys.argv.pop()
TABLE = '#include "component/state.h"\nconst struct state_ops {} = {{\n'


class GenRegistry(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.dir.name)
        self.meson = self.root / 'meson.build'
        self.meson.write_text('')

    def tearDown(self):
        self.dir.cleanup()

    def put(self, path, text):
        path = self.root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def run_it(self, *args):
        return subprocess.run([sys.executable, GENERATOR, *map(str, args)], text=True,
                              capture_output=True, check=False)

    def listed(self):
        return self.run_it('list', self.root).stdout.strip()

    def write(self, configured=None):
        configured = self.listed() if configured is None else configured
        folders = ';'.join(line.split('|')[1] for line in configured.splitlines())
        return self.run_it('write', self.root / 'out.c', self.meson, configured, folders, self.root)

    def test_engines_are_listed_with_their_files_and_deps(self):
        self.put('state/in-memory/b.c', '')
        self.put('state/in-memory/a.c', TABLE.format('state_memory'))
        self.put('state/in-memory/deps', 'sqlite3\n# not this\n\nlibpq  # nor this\n')
        self.put('state/empty/readme', '')
        folder = self.root / 'state/in-memory'
        self.assertEqual(self.listed(),
                         f'state_in_memory|{folder}|{folder}/a.c;{folder}/b.c|sqlite3;libpq')

    def test_every_table_is_in_the_registry(self):
        self.put('state/a/a.c', TABLE.format('state_a') + '};\n' + TABLE.format('state_a2'))
        self.put('pubsub/b/b.c', 'const struct pubsub_ops pubsub_b = {\n')
        self.put('common/x/x.c', 'int x;\n')
        result = self.write()
        self.assertEqual(result.returncode, 0, result.stderr)
        text = (self.root / 'out.c').read_text()
        for line in ('extern const struct state_ops state_a; /* state/a */', '    &state_a2.t,',
                     '    &pubsub_b.t,', '#include "component/pubsub.h"',
                     'const size_t component_list_n = 3;'):
            self.assertIn(line, text)

    def test_unchanged_registry_is_not_written_again(self):
        self.put('state/a/a.c', TABLE.format('state_a'))
        self.write()
        before = (self.root / 'out.c').stat().st_mtime_ns
        self.write()
        self.assertEqual((self.root / 'out.c').stat().st_mtime_ns, before)

    def test_engine_without_table_is_refused(self):
        self.put('state/a/a.c', 'static const struct state_ops hidden = {\n')
        result = self.write()
        self.assertNotEqual(result.returncode, 0)
        self.assertIn('state/a: no table', result.stderr)

    def test_name_used_twice_is_refused(self):
        self.put('state/a/a.c', TABLE.format('state_x'))
        self.put('state/b/b.c', TABLE.format('state_x'))
        self.assertIn('two tables: state_x', self.write().stderr)

    def test_new_folder_touches_the_build_file_and_says_what_to_do(self):
        self.put('state/a/a.c', TABLE.format('state_a'))
        configured = self.listed()
        self.put('state/b/b.c', TABLE.format('state_b'))
        before = self.meson.stat().st_mtime_ns
        result = self.write(configured)
        self.assertIn('run ninja again', result.stderr)
        self.assertGreater(self.meson.stat().st_mtime_ns, before)


if __name__ == '__main__':
    unittest.main()
