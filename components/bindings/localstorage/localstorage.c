/* localstorage.c — bindings.localstorage: an output binding that keeps files below one folder.
 * Owner:  the instance holds the folder's descriptor; answers go into the caller's arena.
 * Thread: any worker; the disk is waited for on the pool.   Limits: what fits into a request's
 * memory; those of folder.h.   Failure: as in folder.h; a name can't lead out of the folder. */
#include "base/id.h"
#include "component/kinds.h"
#include "folder.h"
#include "format/json.h"
#include "loop/worker.h"

#include <unistd.h>

enum { LIST_MAX = 64 << 20 };

struct localstorage {
    const char *root_path;
    struct arena arena; /* of .real */
    str real;
    int fd;
    bool open;
};

struct job {
    struct localstorage *s;
    int (*run)(struct job *j);
    str name, data;
    struct arena *a;
    str answer;
    struct error *err;
    int result;
};

/* ---- what is written ---- */

/* A JSON string counts without its quotes, and what then is base64 is decoded: the contract. */
static int decode(str data, struct arena *a, str *ret)
{
    struct json v;
    *ret = data;
    if (json_parse(data, &v, NULL) >= 0 && v.type == JSON_STRING && json_string(a, v, ret) < 0)
        return -EXHAUSTED;
    char *p = arena_alloc(a, ret->n);
    size_t n;
    if (!p)
        return -EXHAUSTED;
    if (base64_decode(*ret, p, &n))
        *ret = str_of(p, n);
    return 0;
}

static int answer_name(struct job *j)
{
    AUTO(buf_done) struct buf out;
    struct json_w w;
    buf_init(&out, KIB(64));
    json_w_init(&w, &out, JSON_W_HTML);
    json_w_object(&w);
    json_w_kv(&w, S("fileName"), j->name);
    json_w_object_end(&w);
    j->answer = buf_ok(&out) ? arena_dup(j->a, buf_str(&out)) : (str){ 0 };
    return j->answer.p ? 0 : fail(j->err, EXHAUSTED, NULL, "the file's name is too long to tell");
}

static int create(struct job *j)
{
    str data;
    if (!j->name.n) {
        char *id = arena_alloc(j->a, UUID_LEN);
        if (id)
            id_uuid4(id);
        j->name = (str){ id, id ? UUID_LEN : 0 };
    }
    if (!j->name.p || decode(j->data, j->a, &data) < 0)
        return fail(j->err, EXHAUSTED, NULL, "the file doesn't fit into the request's memory");
    int r = folder_write(j->s->fd, j->name, data, j->a, j->err);
    return r < 0 ? r : answer_name(j);
}

static int get(struct job *j)
{
    return folder_read(j->s->fd, j->name, j->a, &j->answer, j->err);
}

static int remove_file(struct job *j)
{
    return folder_remove(j->s->fd, j->name, j->a, j->err);
}

/* ---- what is there: whole paths, as the contract has it ---- */

struct listing {
    struct json_w w;
    struct job *j;
    bool full;
};

static void list_one(void *arg, str name)
{
    struct listing *l = arg;
    str part[] = { l->j->s->real, S("/"), name }, path = arena_join(l->j->a, part, COUNT(part));
    l->full = l->full || !path.p;
    if (path.p)
        json_w_str(&l->w, path);
}

static int list(struct job *j)
{
    AUTO(buf_done) struct buf out;
    struct listing l = { .j = j };
    buf_init(&out, LIST_MAX);
    json_w_init(&l.w, &out, JSON_W_HTML);
    json_w_array(&l.w);
    int r = folder_list(j->s->fd, j->name, list_one, &l, j->a, j->err);
    json_w_array_end(&l.w);
    if (r < 0)
        return r;
    j->answer = l.full || !buf_ok(&out) ? (str){ 0 } : arena_dup(j->a, buf_str(&out));
    return j->answer.p
               ? 0
               : fail(j->err, EXHAUSTED, NULL,
                      "the list doesn't fit into the request's memory: list a folder below");
}

/* ---- the component ---- */

static const char *const operations[] = { "create", "get", "list", "delete", NULL };

static int (*run_of(str operation))(struct job *)
{
    static int (*const run[])(struct job *) = { create, get, list, remove_file };
    for (size_t i = 0; operations[i]; i++)
        if (str_eq(operation, str_c(operations[i])))
            return run[i];
    return NULL;
}

static void run_job(void *arg)
{
    struct job *j = arg;
    j->result = j->run(j);
}

CO static int localstorage_invoke(void *self, str operation, str data, struct kvs metadata,
                                  struct arena *a, struct binding_result *ret, struct error *err)
{
    struct job j = { .s = self, .run = run_of(operation), .data = data, .a = a, .err = err };
    if (!j.run)
        return fail(err, INVALID, NULL, "unsupported operation " STR_FMT,
                    STR_ARG(str_take(operation, 64)));
    int r = folder_clean(kvs_get(metadata, S("fileName")), a, &j.name, err);
    if (r < 0)
        return r;
    if (blocking(run_job, &j) < 0)
        return fail(err, EXHAUSTED, NULL, "no thread is free for the disk: try again");
    if (j.result >= 0)
        *ret = (struct binding_result){ .data = j.answer };
    return j.result;
}

CO static int localstorage_open(void *self, const struct component_env *env, struct error *err)
{
    struct localstorage *s = self;
    arena_init(&s->arena, MIB(1));
    int r = folder_open(s->root_path, &s->arena, &s->real, &s->fd, err);
    s->open = r >= 0;
    return r;
}

CO static void localstorage_close(void *self)
{
    struct localstorage *s = self;
    if (s->open)
        (void)close(s->fd);
    s->open = false;
    arena_done(&s->arena);
}

static const struct cfg_field localstorage_fields[] = {
    { .name = "rootPath",
      .kind = CFG_STR,
      .off = offsetof(struct localstorage, root_path),
      .flags = CFG_REQUIRED,
      .doc = "the folder that the files are in; made where it isn't there" },
};

extern const struct binding_ops bindings_localstorage;
const struct binding_ops bindings_localstorage = {
    .t = {
        .kind = "bindings",
        .type = "bindings.localstorage",
        .version = "v1",
        .doc = "files below one folder",
        .size = sizeof(struct localstorage),
        .fields = localstorage_fields,
        .n_fields = COUNT(localstorage_fields),
        .open = localstorage_open,
        .close = localstorage_close,
    },
    .operations = operations,
    .invoke = localstorage_invoke,
};
