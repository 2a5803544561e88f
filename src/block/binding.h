/* binding.h (block) — what calling an output binding, and an event of an input binding, means.
 * Owner:  results live in the caller's arena; inputs run until bindings_stop().
 * Thread: any worker.   Failure: ERR_INVOKE_OUTPUT_BINDING, 500 in every case. */
#pragma once

#include "block/core/block.h"

int binding_attach(struct blocks *b, struct instance *i, struct error *err) WUR;
/* metadata of the result is filled even when the call failed. */
CO int block_binding_invoke(struct blocks *b, str name, str operation, str data,
                            struct kvs metadata, struct arena *a, struct binding_result *ret,
                            struct error *err) WUR;

/* Starts every input binding that says direction: input, or whose route the app takes (OPTIONS). */
CO void bindings_start(struct blocks *b, uint64_t probe_timeout_ns);
CO void bindings_stop(struct blocks *b);
/* Stops one that is about to go. */
CO void binding_leave(struct instance *i);
