/* sqlite_row_fuzz.c — any row that a file may hold, read by the SQLite engines: no crash, no
 * overread, and an error has a text. Byte 0: bit 0 the engine, then per column a type, a length and
 * bytes. */
#include "test/fuzz/fuzz.h"

#include "components/pubsub/sqlite/row.h"
#include "components/state/sqlite/row.h"

#include <sqlite3.h>

enum { STATE_COLUMNS = 4, QUEUE_COLUMNS = 8 };

static sqlite3 *db;
static sqlite3_stmt *state_row, *queue_row;

static void set_up(void)
{
    FUZZ_CHECK(sqlite3_open(":memory:", &db) == SQLITE_OK);
    FUZZ_CHECK(sqlite3_prepare_v2(db, "SELECT ?1, ?2, ?3, ?4", -1, &state_row, NULL) == SQLITE_OK);
    FUZZ_CHECK(sqlite3_prepare_v2(db, "SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8", -1, &queue_row,
                                  NULL) == SQLITE_OK);
}

static str take(str *in, size_t n)
{
    str s = str_take(*in, n);
    *in = str_skip(*in, n);
    return s;
}

static void bind(sqlite3_stmt *s, int i, str *in)
{
    str head = take(in, 2);
    if (head.n < 2)
        return; /* NULL */
    str bytes = take(in, (uint8_t)head.p[1]);
    int64_t number = 0;
    double real = 0;
    memcpy(&number, bytes.p, min_size(bytes.n, sizeof number));
    memcpy(&real, bytes.p, min_size(bytes.n, sizeof real));
    switch (head.p[0] & 7) {
    case 0:
        break;
    case 1:
        (void)sqlite3_bind_int64(s, i, number);
        break;
    case 2:
        (void)sqlite3_bind_double(s, i, real);
        break;
    case 3:
        (void)sqlite3_bind_blob(s, i, bytes.p, (int)bytes.n, SQLITE_STATIC);
        break;
    default:
        (void)sqlite3_bind_text(s, i, bytes.p, (int)bytes.n, SQLITE_STATIC);
    }
}

static void read_state(struct arena *a)
{
    struct state_value v = { 0 };
    struct error err = { 0 };
    int r = state_row_decode(state_row, S("key"), a, &v, &err);
    FUZZ_CHECK(r == 0 ? v.found && v.value.p && v.etag.p : err.text[0] != 0);
    for (size_t i = 0; r == 0 && i < v.value.n; i++)
        FUZZ_CHECK(v.value.p[i] == v.value.p[i]); /* is all of it readable? */
}

static void read_queue(struct arena *a)
{
    struct pubsub_message m = { 0 };
    struct error err = { 0 };
    struct queue_row row = queue_row_head(queue_row);
    size_t sum = row.part.n;
    int r = queue_row_message(queue_row, S("topic"), a, &m, &err);
    FUZZ_CHECK(r == 0 || err.text[0]);
    for (size_t i = 0; r == 0 && i < m.metadata.n; i++)
        sum += m.metadata.v[i].key.n + m.metadata.v[i].value.n;
    FUZZ_CHECK(sum < MIB(1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    str in = str_of(data, size);
    if (!db)
        set_up();
    if (!size)
        return 0;
    bool queue = take(&in, 1).p[0] & 1;
    sqlite3_stmt *s = queue ? queue_row : state_row;
    for (int i = 1; i <= (queue ? QUEUE_COLUMNS : STATE_COLUMNS); i++)
        bind(s, i, &in);
    arena_init(&a, MIB(1));
    if (sqlite3_step(s) == SQLITE_ROW) {
        if (queue)
            read_queue(&a);
        else
            read_state(&a);
    }
    (void)sqlite3_reset(s);
    (void)sqlite3_clear_bindings(s);
    arena_done(&a);
    return 0;
}
