/* cel_lex.h — tokens of CEL; private to src/format.
 * Owner:  texts of strings live in the arena, names borrow from the source.
 * Thread: one.   Failure: TOKEN_BAD with a static text in .why. */
#pragma once

#include "format/cel_ast.h"

enum token_kind {
    TOKEN_END,
    TOKEN_BAD,
    TOKEN_IDENT,        /* text */
    TOKEN_QUOTED_IDENT, /* `a-b`: only a field */
    TOKEN_INT,          /* value.u = magnitude: the sign belongs to the parser */
    TOKEN_LITERAL,      /* value: uint, double, string, bytes */
    TOKEN_PUNCT,        /* text */
};

struct token {
    enum token_kind kind;
    unsigned pos;
    str text;
    struct cel_value value;
    const char *why;
};

/* The token at or after *at, which moves behind it. */
void cel_lex(struct arena *a, str source, size_t *at, struct token *ret);
