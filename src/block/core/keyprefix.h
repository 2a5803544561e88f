/* keyprefix.h — what stands before the keys of a component, so that apps which share a store don't
 * meet: spec.metadata keyPrefix.
 * Owner:  *ret lives in the instance's arena.   Thread: any.
 * Failure: -INVALID a prefix or key with "||" in it, -EXHAUSTED. */
#pragma once

#include "block/core/block.h"

#define KEY_SEPARATOR S("||")

/* appid (default), name, namespace, none, or any other text, lower case. *ret is "" or ends in the
 * separator: "app||". */
int keyprefix_of(const struct blocks *b, struct instance *i, str *ret, struct error *err) WUR;
/* prefix + key in the arena. A key with the separator is -INVALID, without a story of the API. */
int keyprefix_join(str prefix, str key, struct arena *a, str *ret, struct error *err) WUR;
