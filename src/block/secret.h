/* secret.h (block) — what reading secrets means: scopes, the contract's errors.
 * Owner:  results live in the caller's arena.   Thread: any worker; suspends in the store. */
#pragma once

#include "block/core/block.h"

int secret_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
int secret_find(struct blocks *b, str name, struct instance **ret, struct error *err) WUR;
CO int block_secret_get(struct blocks *b, struct instance *store, str key, struct kvs metadata,
                        struct arena *a, struct kvs *ret, struct error *err) WUR;
/* Leaves out what the scopes deny (surprise 21). */
CO int block_secret_bulk(struct blocks *b, struct instance *store, struct kvs metadata,
                         struct arena *a, struct secret **ret, size_t *ret_n, struct error *err)
    WUR;
