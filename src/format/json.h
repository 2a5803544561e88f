/* json.h — JSON that keeps values as the slices they came in: a view, an iterator and a writer.
 * Owner:  a view borrows the text it was parsed from; decoded strings go to the caller's arena.
 * Thread: any.   Limits: JSON_DEPTH_MAX levels of nesting; the text's size is the caller's limit.
 * Failure: -INVALID with offset, line, column and Go's words; no text can crash a reader. */
#pragma once

#include "base/arena.h"
#include "base/buf.h"
#include "base/error.h"

enum { JSON_DEPTH_MAX = 512 };

enum json_type {
    JSON_NONE, /* absent: what json_get() returns for a member that isn't there */
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* One validated value. raw is its exact text, without white space around it. */
struct json {
    str raw;
    enum json_type type;
};

struct json_error {
    size_t offset;         /* bytes before the offending one */
    unsigned line, column; /* both from 1; column counts bytes */
    char text[128];        /* "invalid character 'x' looking for beginning of value" */
};

/* Validates the whole of text strictly (RFC 8259, UTF-8 included; white space around is fine) and
 * gives its one value. err may be NULL. Returns 0 or -INVALID. */
int json_parse(str text, struct json *ret, struct json_error *err) WUR;
const char *json_type_name(enum json_type type); /* "object"; "nothing" for JSON_NONE */

/* ---- reading; every function takes any view, JSON_NONE included ---- */

struct json_iter {
    const char *p, *end;
    bool object;
};

/* Walks an object or an array (anything else is empty):
 *   struct json_iter it = json_iter(v);
 *   while (json_next(&it, &key, &item)) …
 * key is a JSON_STRING view (JSON_NONE in an array); key may be NULL. Cost: the bytes passed. */
struct json_iter json_iter(struct json v);
bool json_next(struct json_iter *it, struct json *ret_key, struct json *ret_value);
size_t json_count(struct json v); /* members or items; 0 for anything else */

/* The member called name; of duplicates the last one, as in Go. JSON_NONE when absent or v is no
 * object. json_get_fold() ignores ASCII case, as Go does when it fills a struct. */
struct json json_get(struct json v, str name);
struct json json_get_fold(struct json v, str name);
struct json json_at(struct json v, size_t index); /* array item; JSON_NONE past the end */
bool json_eq_str(struct json v, str text);        /* a string with exactly this decoded content */

static inline bool json_is_null(struct json v) /* null or absent */
{
    return v.type <= JSON_NULL;
}

/* Decoded content; borrows from raw when there is no escape, else a copy in the arena. A lone
 * surrogate becomes U+FFFD. Returns 0, -INVALID when v is no string, -EXHAUSTED. */
int json_string(struct arena *a, struct json v, str *ret) WUR;
/* As above, but absent or null gives def. */
int json_string_or(struct arena *a, struct json v, str def, str *ret) WUR;
/* Appends the decoded content to out (see buf_ok()). Returns 0 or -INVALID. */
int json_string_put(struct buf *out, struct json v) WUR;

/* false, *ret untouched, when v isn't a number that fits exactly (1.0 and 1e2 are integers). */
bool json_i64(struct json v, int64_t *ret) WUR;
bool json_u64(struct json v, uint64_t *ret) WUR;
bool json_double(struct json v, double *ret) WUR; /* false also when it overflows */
bool json_bool(struct json v, bool *ret) WUR;

/* ---- writing; commas and colons come by themselves ---- */

enum json_w_flags {
    JSON_W_HTML = 1, /* < > & as \u003c …, and U+2028, U+2029: what Go's encoder does */
};

struct json_w {
    struct buf *out; /* failures stay there: check buf_ok(out) once at the end */
    unsigned flags;
    bool comma; /* a value stands before, on this level */
};

void json_w_init(struct json_w *w, struct buf *out, unsigned flags);
void json_w_object(struct json_w *w);
void json_w_object_end(struct json_w *w);
void json_w_array(struct json_w *w);
void json_w_array_end(struct json_w *w);
void json_w_key(struct json_w *w, str key);
void json_w_str(struct json_w *w, str s);   /* bytes that aren't UTF-8 become U+FFFD */
void json_w_raw(struct json_w *w, str raw); /* already JSON; empty is written as null */
void json_w_i64(struct json_w *w, int64_t v);
void json_w_u64(struct json_w *w, uint64_t v);
void json_w_double(struct json_w *w, double v); /* shortest, in Go's form; NaN and ±Inf as null */
void json_w_bool(struct json_w *w, bool v);
void json_w_null(struct json_w *w);
void json_w_base64(struct json_w *w, str bytes);      /* as a string */
void json_w_kv(struct json_w *w, str key, str value); /* key and string value */

/* Appends s as a JSON string, quotes included. */
void json_put_string(struct buf *out, str s, unsigned flags);
/* Appends v without white space between tokens; the tokens stay byte for byte. */
void json_put_compact(struct buf *out, struct json v);
