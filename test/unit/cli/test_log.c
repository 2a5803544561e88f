#include "cli/run_backoff.h"
#include "cli/run_log.h"

#include "test/testing.h"

#include <unistd.h>

struct collected {
    char text[40000];
    size_t n, longest;
};

static void collect(void *arg, str line)
{
    struct collected *c = arg;
    c->n++;
    c->longest = line.n > c->longest ? line.n : c->longest;
    size_t used = strlen(c->text);
    snprintf(c->text + used, sizeof(c->text) - used, "[%.*s]", (int)line.n, line.p);
}

TEST(lines_are_whole_however_the_bytes_arrive)
{
    static const char text[] = "one\ntwo\r\n\nthree";
    for (size_t step = 1; step <= sizeof(text); step++) {
        static struct log_lines l;
        static struct collected c;
        l.n = 0;
        c = (struct collected){ 0 };
        for (str rest = str_c(text); rest.n; rest = str_skip(rest, step))
            log_lines_feed(&l, str_take(rest, step), collect, &c);
        CHECK_TEXT(c.text, "[one][two][]", "in steps of %zu", step);
        log_lines_end(&l, collect, &c);
        CHECK_TEXT(c.text, "[one][two][][three]", "in steps of %zu", step);
    }
}

TEST(a_line_without_end_is_cut)
{
    static struct log_lines l;
    static struct collected c;
    static char chunk[LOG_LINE_MAX * 2 + 10];
    memset(chunk, 'x', sizeof(chunk));
    l.n = 0;
    c = (struct collected){ 0 };
    for (int i = 0; i < 2; i++)
        log_lines_feed(&l, str_of(chunk, sizeof(chunk)), collect, &c);
    log_lines_feed(&l, S("\n"), collect, &c);
    CHECK_EQ(c.n, 5);
    CHECK_EQ(c.longest, LOG_LINE_MAX);
    log_lines_end(&l, collect, &c);
    CHECK_EQ(c.n, 5, "nothing was left");
}

TEST(trouble_in_a_sidecars_log_is_seen_in_both_formats)
{
    static const struct {
        const char *line;
        bool trouble;
    } row[] = {
        { "time=\"…\" level=info msg=\"fine\" scope=dapr.runtime", false },
        { "time=\"…\" level=warning msg=\"hm\"", true },
        { "time=\"…\" level=fatal msg=\"dead\"", true },
        { "{\"level\":\"error\",\"msg\":\"x\"}", true },
        { "{\"level\":\"debug\",\"msg\":\"level:error\"}", false },
        { "", false },
    };
    EACH (row, r)
        CHECK_EQ(log_is_trouble(str_c(r->line)), r->trouble, "%s", r->line);
}

TEST(pauses_double_up_to_a_limit_and_start_over_when_stable)
{
    struct backoff b = { 0 };
    CHECK_EQ(backoff_next(&b, 0, 0.5), MS(250));
    CHECK_EQ(backoff_next(&b, 0, 0.5), MS(500));
    CHECK_EQ(backoff_next(&b, MS(BACKOFF_STABLE_MS) - 1, 0.5), MS(1000));
    for (int i = 0; i < 100; i++)
        (void)backoff_next(&b, 0, 0.5);
    CHECK_EQ(backoff_next(&b, 0, 0.5), MS(BACKOFF_MAX_MS));
    CHECK_EQ(backoff_next(&b, 0, 0.0), MS(BACKOFF_MAX_MS) * 3 / 4);
    CHECK(backoff_next(&b, 0, 0.999) < MS(BACKOFF_MAX_MS) * 5 / 4);
    CHECK_EQ(backoff_next(&b, MS(BACKOFF_STABLE_MS), 0.5), MS(250));
}

/* The screen's fiber writes into a pipe that the test reads. */
static str read_all(int fd, char *to, size_t size)
{
    ssize_t n = read(fd, to, size);
    return str_of(to, n > 0 ? (size_t)n : 0);
}

TEST_LOOP(the_screen_aligns_labels_and_strips_escapes_when_plain)
{
    int fds[2];
    char text[4096];
    struct error err = { 0 };
    static struct log_screen s;
    REQUIRE(pipe(fds) == 0);
    CHECK_OK(log_screen_open(&s, fds[1], 6, &err));
    log_screen_line(&s, "orders", 0, " ", S("hello \033[31mred\033[0m end"));
    log_screen_line(&s, "a", 1, "◆", S(""));
    log_screen_line(&s, "proa", -1, " ", S("broken \033["));
    log_screen_status(&s, "never shown on a pipe");
    log_screen_close(&s);
    CHECK_STR(read_all(fds[0], text, sizeof(text)),
              "orders  | hello red end\na     ◆ | \nproa    | broken \n");
    close(fds[0]);
    close(fds[1]);
}

TEST_LOOP(a_reader_that_stands_still_stops_nobody_for_ever)
{
    int fds[2];
    struct error err = { 0 };
    static struct log_screen s;
    static char line[LOG_LINE_MAX];
    memset(line, 'y', sizeof(line));
    REQUIRE(pipe(fds) == 0);
    CHECK_OK(log_screen_open(&s, fds[1], 4, &err));
    size_t n = 0;
    for (; s.pending.len <= LOG_PENDING_MAX / 2; n++)
        log_screen_line(&s, "a", 0, " ", str_of(line, sizeof(line)));
    CHECK(n > 100);
    {
        DEADLINE(MS(20));
        CHECK_EQ(log_screen_wait_room(&s), -TIMEOUT);
    }
    uint64_t before = clock_now_ns();
    log_screen_close(&s);
    CHECK(clock_now_ns() - before < SEC(3));
    close(fds[0]);
    close(fds[1]);
}

TEST(a_log_file_that_grows_too_large_is_turned_over)
{
    char dir[] = "/tmp/proa-test-XXXXXX", path[64], old[64];
    static char block[1 << 20];
    struct log_file f;
    struct error err = { 0 };
    REQUIRE(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/x.log", dir);
    snprintf(old, sizeof(old), "%s/x.log.1", dir);
    CHECK_OK(log_file_open(&f, path, &err));
    for (uint64_t n = 0; n <= LOG_FILE_MAX; n += sizeof(block))
        log_file_write(&f, str_of(block, sizeof(block)));
    CHECK_EQ(access(old, F_OK), 0);
    CHECK_EQ(f.size, sizeof(block), "the last block is in the new file");
    log_file_close(&f);
    unlink(path);
    unlink(old);
    rmdir(dir);
}
