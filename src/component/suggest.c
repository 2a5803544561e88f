#include "component/suggest.h"

#include <ctype.h>
#include <stdio.h>

enum { FOLD_MAX = 64 };

static str fold(str s, char room[FOLD_MAX])
{
    s = str_take(s, FOLD_MAX);
    for (size_t i = 0; i < s.n; i++)
        room[i] = (char)tolower((unsigned char)s.p[i]);
    return str_of(room, s.n);
}

void suggest_offer(struct suggest *s, str candidate)
{
    char a[FOLD_MAX], b[FOLD_MAX];
    if (!candidate.n || candidate.n >= FOLD_MAX)
        return;
    size_t far = (s->word.n < candidate.n ? candidate.n : s->word.n) / 3;
    size_t distance = str_distance(fold(s->word, a), fold(candidate, b));
    if (distance > (far ? far : 1) || distance >= candidate.n)
        return;
    if (s->best.p && distance >= s->distance)
        return;
    s->best = candidate;
    s->distance = distance;
}

const char *suggest_text(const struct suggest *s, char ret[SUGGEST_MAX])
{
    ret[0] = 0;
    if (s->best.p)
        snprintf(ret, SUGGEST_MAX, " (did you mean \"" STR_FMT "\"?)", STR_ARG(s->best));
    return ret;
}
