#include "format/json_chars.h"
#include "format/regex.h"
#include "format/regex_code.h"

/* The operations that are alive at one place of the text; sparse set: O(1) to add, test and clear.
 */
struct states {
    uint32_t *dense, *sparse, n;
};

struct matcher {
    const struct regex *re;
    struct states now, next;
    uint32_t *stack;        /* operations still to be followed */
    uint32_t before, after; /* code points around the place; NONE at the ends */
};

enum { NONE = 0x110000 };

size_t regex_size(const struct regex *re)
{
    return re->n_inst;
}

size_t regex_scratch(const struct regex *re)
{
    return (size_t)re->n_inst * 6 * sizeof(uint32_t);
}

static bool add(struct states *s, uint32_t pc)
{
    uint32_t at = s->sparse[pc];
    if (at < s->n && s->dense[at] == pc)
        return false;
    s->sparse[pc] = s->n;
    s->dense[s->n++] = pc;
    return true;
}

static bool is_word(uint32_t c)
{
    return c == '_' || (c >= '0' && c <= '9') ||
           (c < 128 && (c | 0x20) >= 'a' && (c | 0x20) <= 'z');
}

static bool holds(const struct matcher *m, enum regex_op op)
{
    switch (op) {
    case RE_BEGIN:
        return m->before == NONE;
    case RE_END:
        return m->after == NONE;
    case RE_BEGIN_LINE:
        return m->before == NONE || m->before == '\n';
    case RE_END_LINE:
        return m->after == NONE || m->after == '\n';
    case RE_WORD:
        return is_word(m->before) != is_word(m->after);
    case RE_NOT_WORD:
        return is_word(m->before) == is_word(m->after);
    default:
        return true;
    }
}

/* Adds pc and all that it leads to without taking a character. The stack can't overflow: an
 * operation is followed once, and puts two on it at most. Returns whether RE_MATCH was reached. */
static bool follow(struct matcher *m, struct states *s, uint32_t pc)
{
    uint32_t n = 0;
    m->stack[n++] = pc;
    while (n) {
        pc = m->stack[--n];
        if (!add(s, pc))
            continue;
        const struct regex_inst *i = &m->re->inst[pc];
        if (i->op == RE_MATCH)
            return true;
        if (i->op == RE_CHAR || i->op == RE_CLASS || !holds(m, i->op))
            continue;
        if (i->op == RE_SPLIT || i->op == RE_JUMP)
            m->stack[n++] = pc + (uint32_t)i->arg;
        if (i->op != RE_JUMP)
            m->stack[n++] = pc + 1;
    }
    return false;
}

static bool takes(const struct regex *re, const struct regex_inst *i, uint32_t c)
{
    if (i->op == RE_CHAR)
        return (uint32_t)i->arg == c;
    if (i->op != RE_CLASS)
        return false;
    const struct regex_class *k = &re->cls[i->arg];
    for (uint32_t r = 0; r < k->n; r++)
        if (c >= re->range[k->first + r].low && c <= re->range[k->first + r].high)
            return !k->negated;
    return k->negated;
}

static uint32_t decode(const char **p, const char *end)
{
    if (*p >= end)
        return NONE;
    size_t n = utf8_len(*p, end);
    uint32_t c = n ? utf8_get(*p, n) : 0xfffd; /* a stray byte counts as one character */
    *p += n ? n : 1;
    return c;
}

bool regex_match(const struct regex *re, str text, void *scratch)
{
    uint32_t n = re->n_inst, *room = scratch;
    struct matcher m = { .re = re, .before = NONE };
    m.now = (struct states){ room, room + n, 0 };
    m.next = (struct states){ room + 2 * n, room + 3 * n, 0 };
    m.stack = room + 4 * n;
    memset(room, 0, 4 * (size_t)n * sizeof *room);

    const char *p = text.p, *end = text.p + text.n;
    m.after = decode(&p, end);
    for (;;) {
        if (follow(&m, &m.now, 0)) /* a match may begin at any place */
            return true;
        uint32_t c = m.after;
        if (c == NONE)
            return false;
        m.before = c;
        m.after = decode(&p, end);
        for (uint32_t i = 0; i < m.now.n; i++) {
            uint32_t pc = m.now.dense[i];
            if (takes(re, &re->inst[pc], c) && follow(&m, &m.next, pc + 1))
                return true;
        }
        struct states spare = m.now;
        m.now = m.next;
        m.next = spare;
        m.next.n = 0;
    }
}
