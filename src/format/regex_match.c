#include "format/json_chars.h"
#include "format/regex.h"
#include "format/regex_code.h"

/* The operations that are alive at one place of the text; sparse set: O(1) to add, test and clear.
 */
struct states {
    uint32_t *dense, *sparse, n;
    uint32_t *start; /* beside dense: where the match that it belongs to began; regex_find() */
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
    return (size_t)re->n_inst * 8 * sizeof(uint32_t);
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
    bool reached = false;
    m->stack[n++] = pc;
    while (n) {
        pc = m->stack[--n];
        if (!add(s, pc))
            continue;
        const struct regex_inst *i = &m->re->inst[pc];
        reached = reached || i->op == RE_MATCH;
        if (i->op == RE_MATCH || i->op == RE_CHAR || i->op == RE_CLASS || !holds(m, i->op))
            continue;
        if (i->op == RE_SPLIT || i->op == RE_JUMP)
            m->stack[n++] = pc + (uint32_t)i->arg;
        if (i->op != RE_JUMP)
            m->stack[n++] = pc + 1;
    }
    return reached;
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

static struct matcher matcher_of(const struct regex *re, void *scratch)
{
    uint32_t n = re->n_inst, *room = scratch;
    struct matcher m = { .re = re, .before = NONE };
    m.now = (struct states){ room, room + n, 0, room + 6 * n };
    m.next = (struct states){ room + 2 * n, room + 3 * n, 0, room + 7 * n };
    m.stack = room + 4 * n;
    memset(room, 0, 4 * (size_t)n * sizeof *room);
    return m;
}

static void swap_states(struct matcher *m)
{
    struct states spare = m->now;
    m->now = m->next;
    m->next = spare;
    m->next.n = 0;
}

bool regex_match(const struct regex *re, str text, void *scratch)
{
    struct matcher m = matcher_of(re, scratch);
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
        swap_states(&m);
    }
}

/* ---- where ---- */

struct found {
    bool any;
    uint32_t start, end;
};

/* What pc leads to belongs to the match that began at start; at is the place. States are added in
 * the order of their starts, so that the first to come to an operation is the leftmost. */
static void follow_from(struct matcher *m, struct states *s, uint32_t pc, uint32_t start,
                        uint32_t at, struct found *f)
{
    uint32_t n = s->n;
    bool reached = follow(m, s, pc);
    for (; n < s->n; n++)
        s->start[n] = start;
    if (reached && (!f->any || start <= f->start))
        *f = (struct found){ true, start, at };
}

bool regex_find(const struct regex *re, str text, size_t from, size_t *ret_start, size_t *ret_end,
                void *scratch)
{
    struct matcher m = matcher_of(re, scratch);
    struct found f = { 0 };
    const char *p = text.p, *end = text.p + text.n, *next;
    if (text.n >= UINT32_MAX || from > text.n)
        return false;
    while (p < text.p + from) /* what stands before may be asked for */
        m.before = decode(&p, end);
    next = p;
    m.after = decode(&next, end);
    for (;;) {
        if (!f.any)
            follow_from(&m, &m.now, 0, (uint32_t)(p - text.p), (uint32_t)(p - text.p), &f);
        if (m.after == NONE || (f.any && !m.now.n))
            break;
        uint32_t c = m.before = m.after;
        p = next;
        m.after = decode(&next, end);
        for (uint32_t i = 0; i < m.now.n; i++)
            if ((!f.any || m.now.start[i] <= f.start) && takes(re, &re->inst[m.now.dense[i]], c))
                follow_from(&m, &m.next, m.now.dense[i] + 1, m.now.start[i], (uint32_t)(p - text.p),
                            &f);
        swap_states(&m);
    }
    *ret_start = f.any ? f.start : *ret_start;
    *ret_end = f.any ? f.end : *ret_end;
    return f.any;
}

void regex_replace(const struct regex *re, str text, str with, void *scratch, struct buf *out)
{
    size_t copied = 0, from = 0, start, end, last = SIZE_MAX;
    while (from <= text.n && regex_find(re, text, from, &start, &end, scratch)) {
        buf_put(out, str_of(text.p + copied, start - copied));
        if (start < end || start != last) /* nothing right behind a match is no match of its own */
            buf_put(out, with);
        copied = last = end;
        from = end;
        if (start == end) {
            size_t n = from < text.n ? utf8_len(text.p + from, text.p + text.n) : 1;
            from += n ? n : 1;
        }
    }
    buf_put(out, str_skip(text, copied));
}
