#include "cli/scaler_read.h"

#include "format/number.h"

#include <math.h>

/* ---- one text ---- */

/* "name{labels} value" */
static bool cut_line(str line, str *name, str *labels, double *value)
{
    str head, rest;
    *labels = (str){ 0 };
    ptrdiff_t open = str_find_c(line, '{');
    if (open >= 0) {
        ptrdiff_t close = str_find(line, S("} "));
        if (close < open)
            return false;
        *name = str_take(line, (size_t)open);
        *labels = str_take(str_skip(line, (size_t)open + 1), (size_t)(close - open - 1));
        rest = str_skip(line, (size_t)close + 2);
    } else {
        if (!str_cut(line, ' ', &head, &rest))
            return false;
        *name = head;
    }
    str_cut(str_trim(rest), ' ', &head, &rest); /* a time may follow */
    return number_double(head, value);
}

static double limit_of(str labels)
{
    ptrdiff_t at = str_find(labels, S("le=\""));
    str text, rest;
    double le;
    if (at < 0 || !str_cut(str_skip(labels, (size_t)at + 4), '"', &text, &rest))
        return NAN;
    if (str_eq(text, S("+Inf")))
        return INFINITY;
    return number_double(text, &le) ? le : NAN;
}

static void add_bucket(struct scaler_reading *r, double le, double n)
{
    size_t i = 0;
    if (isnan(le))
        return;
    while (i < r->n_buckets && r->bucket[i].le < le)
        i++;
    if (i < r->n_buckets && !(r->bucket[i].le > le)) {
        r->bucket[i].n += n;
        return;
    }
    if (r->n_buckets == SCALER_BUCKETS)
        return;
    memmove(&r->bucket[i + 1], &r->bucket[i], (r->n_buckets++ - i) * sizeof r->bucket[0]);
    r->bucket[i].le = le;
    r->bucket[i].n = n;
}

static void take(struct scaler_reading *r, str name, str labels, double value)
{
    const struct {
        str name;
        double *sum;
    } row[] = {
        { S("proa_scale_concurrency"), &r->at_once },  { S("proa_scale_waiting"), &r->waiting },
        { S("proa_scale_requests_total"), &r->asked }, { S("proa_scale_done_total"), &r->done },
        { S("proa_scale_queue_depth"), &r->depth },
    };
    for (size_t i = 0; i < COUNT(row); i++)
        if (str_eq(name, row[i].name))
            *row[i].sum += value;
    if (str_eq(name, S("proa_scale_queue_age_milliseconds")))
        r->age_ms = fmax(r->age_ms, value);
    if (str_eq(name, S("dapr_http_client_roundtrip_latency_bucket")) ||
        str_eq(name, S("dapr_grpc_io_client_roundtrip_latency_bucket")))
        add_bucket(r, limit_of(labels), value);
}

void scaler_read(str text, uint64_t now_ns, struct scaler_reading *ret)
{
    *ret = (struct scaler_reading){ .at_ns = now_ns };
    while (text.n) {
        str line, name, labels, rest;
        double value;
        str_cut(text, '\n', &line, &rest);
        text = rest;
        if (line.n && line.p[0] != '#' && cut_line(line, &name, &labels, &value))
            take(ret, name, labels, value);
    }
}

/* ---- all of them ---- */

static double grown(double now, double before)
{
    return now >= before ? now - before : now; /* it began anew */
}

/* Of the calls between the two readings; 0 = there were none. */
static double p99_ms(const struct scaler_reading *sum)
{
    if (!sum->n_buckets || !(sum->bucket[sum->n_buckets - 1].n > 0))
        return 0;
    double rank = 0.99 * sum->bucket[sum->n_buckets - 1].n, low = 0, below = 0;
    for (size_t i = 0; i < sum->n_buckets; i++) {
        double n = sum->bucket[i].n, le = sum->bucket[i].le;
        if (n >= rank)
            return isinf(le) || n <= below ? low : low + (le - low) * (rank - below) / (n - below);
        low = le;
        below = n;
    }
    return low;
}

static double bucket_of(const struct scaler_reading *r, double le)
{
    for (size_t i = 0; i < r->n_buckets; i++)
        if (!(r->bucket[i].le < le) && !(r->bucket[i].le > le))
            return r->bucket[i].n;
    return 0;
}

void scaler_sample(const struct scaler_reading *now, const struct scaler_reading *before, size_t n,
                   struct scale_sample *ret)
{
    struct scaler_reading sum = { 0 };
    double done = 0, asked = 0;
    *ret = (struct scale_sample){ .instances = (unsigned)n };
    for (size_t i = 0; i < n; i++) {
        const struct scaler_reading *r = &now[i], *b = &before[i];
        if (!r->at_ns)
            continue;
        ret->ready++;
        sum.at_once += r->at_once;
        sum.waiting += r->waiting;
        sum.depth = fmax(sum.depth, r->depth); /* each sees the same queues */
        sum.age_ms = fmax(sum.age_ms, r->age_ms);
        if (!b->at_ns || r->at_ns <= b->at_ns)
            continue;
        double s = (double)(r->at_ns - b->at_ns) / 1e9;
        done += grown(r->done, b->done) / s;
        asked += grown(r->asked, b->asked) / s;
        for (size_t k = 0; k < r->n_buckets; k++)
            add_bucket(&sum, r->bucket[k].le, grown(r->bucket[k].n, bucket_of(b, r->bucket[k].le)));
    }
    double unknown = ret->ready ? 0 : NAN, shed = fmax(0, asked - done);
    double each_s = done > 0 ? (sum.at_once - sum.waiting) / done : 0;
    ret->done = done + unknown;
    ret->unmet = sum.waiting + shed + fmax(0, sum.depth - sum.at_once) + unknown;
    ret->value[SCALE_CONCURRENCY] = sum.at_once + shed * each_s + unknown;
    ret->value[SCALE_REQUESTS] = asked + unknown;
    ret->value[SCALE_LATENCY] = p99_ms(&sum) / 1e3 + unknown;
    ret->value[SCALE_QUEUE_DEPTH] = sum.depth + unknown;
    ret->value[SCALE_QUEUE_AGE] = sum.age_ms / 1e3 + unknown;
}
