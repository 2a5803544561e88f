/* envsubst.h — $VAR and ${VAR} in a whole text, by the rules of Go's os.Expand.
 * Owner:  the result is in out.   Thread: any.
 * Failure: a full out (buf_ok()); malformed references vanish as they do in Go. */
#pragma once

#include "base/buf.h"

/* Value of a variable; .p == NULL = unset, which expands to nothing. */
typedef str (*envsubst_lookup)(void *arg, str name);

/* Appends text with each $name, ${name} and $ + one of *#$@!?-0…9 replaced by lookup's answer. A
 * '$' that no name follows stays; "${}" and an unclosed "${" are eaten. */
void envsubst(str text, envsubst_lookup lookup, void *arg, struct buf *out);
