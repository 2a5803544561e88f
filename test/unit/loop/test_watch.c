#include "loop/watch.h"
#include "test/testing.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct folder {
    char path[64], file[80], other[80];
};

static void make_folder(struct folder *f)
{
    snprintf(f->path, sizeof f->path, "/tmp/proa-watch-XXXXXX");
    REQUIRE(mkdtemp(f->path));
    snprintf(f->file, sizeof f->file, "%s/a.yaml", f->path);
    snprintf(f->other, sizeof f->other, "%s/.a.yaml", f->path);
}

static void remove_folder(struct folder *f)
{
    (void)unlink(f->file);
    (void)unlink(f->other);
    (void)rmdir(f->path);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0);
    CHECK_EQ(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static int next_within(struct watch *w, uint64_t ns)
{
    DEADLINE(ns);
    return watch_next(w);
}

/* Several changes may be told one after the other. */
static void drain(struct watch *w)
{
    while (next_within(w, MS(20)) == 0)
        ;
}

TEST_LOOP(new_changed_replaced_and_removed_files_are_told)
{
    struct folder f;
    struct watch *w;
    struct error err = { 0 };
    make_folder(&f);
    const char *path = f.path;
    REQUIRE(watch_open(&path, 1, &w, &err) == 0, "%s", err.text);
    CHECK_EQ(next_within(w, MS(10)), -TIMEOUT);
    write_file(f.file, "one");
    CHECK_OK(next_within(w, SEC(5)), "new");
    drain(w);
    write_file(f.file, "two");
    CHECK_OK(next_within(w, SEC(5)), "changed");
    drain(w);
    write_file(f.other, "three");
    drain(w);
    CHECK_OK(rename(f.other, f.file));
    CHECK_OK(next_within(w, SEC(5)), "replaced");
    drain(w);
    CHECK_OK(unlink(f.file));
    CHECK_OK(next_within(w, SEC(5)), "removed");
    watch_close(w);
    remove_folder(&f);
}

TEST_LOOP(change_before_the_wait_is_not_missed)
{
    struct folder f;
    struct watch *w;
    struct error err = { 0 };
    make_folder(&f);
    const char *path = f.path;
    REQUIRE(watch_open(&path, 1, &w, &err) == 0, "%s", err.text);
    write_file(f.file, "one");
    CHECK_OK(fiber_sleep(MS(20))); /* the event comes while nobody waits */
    CHECK_OK(next_within(w, SEC(5)));
    watch_close(w);
    remove_folder(&f);
}

TEST_LOOP(folder_that_is_not_there_is_a_clear_error)
{
    struct folder f;
    struct watch *w = NULL;
    struct error err = { 0 };
    make_folder(&f);
    const char *path[] = { f.path, "/nowhere/at/all" };
    CHECK_EQ(watch_open(path, 2, &w, &err), -UNAVAILABLE);
    CHECK(!w);
    CHECK(strstr(err.text, "/nowhere/at/all"), "%s", err.text);
    const char *many[WATCH_MAX + 1] = { 0 };
    err = (struct error){ 0 };
    CHECK_EQ(watch_open(many, COUNT(many), &w, &err), -EXHAUSTED);
    remove_folder(&f);
}

TEST_LOOP(watch_survives_each_failing_allocation)
{
    struct folder f;
    make_folder(&f);
    const char *path = f.path;
    FAIL_EACH_ALLOC(n)
    {
        struct watch *w = NULL;
        struct error err = { 0 };
        int r = watch_open(&path, 1, &w, &err);
        CHECK(r == 0 || r == -EXHAUSTED, "allocation %zu", n);
        watch_close(w);
    }
    remove_folder(&f);
}
