/* textproto.h — protobuf's text format as a tree, as far as test data need it.
 * Owner:  nodes live in the arena, texts too.
 * Thread: one.   Failure: NULL and a place; only for files that we trust to be short. */
#pragma once

#include "base/arena.h"

struct textproto {
    str name;  /* of the field; "[type.googleapis.com/…]" of an Any */
    str value; /* of a scalar: a word, a number, or the bytes of a string */
    bool is_message, is_string;
    struct textproto *first, *next; /* fields of a message; sibling */
};

/* The whole file as one message. *ret_line = where an error is. */
struct textproto *textproto_parse(struct arena *a, str text, unsigned *ret_line);
/* First field of that name, NULL when absent (m may be NULL). */
const struct textproto *textproto_get(const struct textproto *m, const char *name);
str textproto_text(const struct textproto *m, const char *name); /* empty when absent */
