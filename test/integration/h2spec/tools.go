//go:build tools

// Package h2spec only pins what tools/suites.py builds for test_h2spec.py: h2spec, with modules that
// Debian 12's Go 1.19 can build.
package h2spec

import _ "github.com/summerwind/h2spec/cmd/h2spec"
