/* regex_code.h — the compiled form, between regex.c and regex_match.c; private to src/format.
 * Owner:  as in regex.h.   Thread: immutable.   Failure: none. */
#pragma once

#include "format/regex.h"

enum regex_op {
    RE_CHAR,  /* arg = code point */
    RE_CLASS, /* arg = index of the class */
    RE_SPLIT, /* goes to pc + 1 and to pc + arg */
    RE_JUMP,  /* goes to pc + arg */
    RE_BEGIN, /* of the text */
    RE_END,
    RE_BEGIN_LINE,
    RE_END_LINE,
    RE_WORD,     /* at a word boundary */
    RE_NOT_WORD, /* not at one */
    RE_MATCH,
};

struct regex_inst {
    enum regex_op op;
    int32_t arg;
};

struct regex_range {
    uint32_t low, high;
};

struct regex_class {
    uint32_t first, n; /* ranges */
    bool negated;
};

struct regex {
    struct regex_inst *inst;
    struct regex_class *cls;
    struct regex_range *range;
    uint32_t n_inst, n_classes, n_ranges;
    uint32_t max_classes, max_ranges;
};
