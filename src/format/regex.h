/* regex.h — regular expressions in time linear in the text: a set of states, no backtracking.
 * Owner:  a compiled pattern lives in the arena it was given.
 * Thread: a pattern is immutable; a match needs scratch of its own.
 * Limits: below.   Failure: NULL and *ret_why, a static text; matching can't fail. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"

/* Syntax: a subset of RE2's. Literals, . [classes] with [:names:], \d \s \w and their opposites, \b
 * \B \A \z ^ $, groups (…) (?:…) (?P<n>…) (?ims) (?i:…), a|b, * + ? {m,n} (lazy forms match the
 * same). Text and pattern are UTF-8; (?i) and the classes know ASCII only. */
enum {
    REGEX_OPS_MAX = 4096, /* size of the compiled pattern */
    REGEX_REPEAT_MAX = 1000,
    REGEX_DEPTH_MAX = 50,
};

struct regex;

extern const char regex_no_memory[]; /* a *ret_why of its own: the arena is full */
struct regex *regex_compile(struct arena *a, str pattern, const char **ret_why) WUR;
/* Number of operations: a match costs at most this many steps for each byte. */
size_t regex_size(const struct regex *re);
/* Bytes of scratch that a match needs; aligned for uint32_t, contents don't matter. */
size_t regex_scratch(const struct regex *re);
/* Whether the pattern occurs anywhere in text. */
bool regex_match(const struct regex *re, str text, void *scratch) WUR;
/* The first place where it occurs at or after from, at its longest: text[*ret_start, *ret_end). */
bool regex_find(const struct regex *re, str text, size_t from, size_t *ret_start, size_t *ret_end,
                void *scratch) WUR;
/* text with every such place replaced by with, which is taken as it is. */
void regex_replace(const struct regex *re, str text, str with, void *scratch, struct buf *out);
