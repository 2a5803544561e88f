/* yaml_scalar.h — what a plain scalar means; private to src/format.
 * Owner:  canonical text goes to the arena.
 * Thread: any.   Failure: -EXHAUSTED; what looks like nothing else is a string. */
#pragma once

#include "format/yaml.h"

/* Sets type and canon from n->text, by goyaml v2's rules for an unquoted scalar. */
int yaml_resolve(struct arena *a, struct yaml_node *n) WUR;
