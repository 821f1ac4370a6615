/* Workers' output as lines of the log: golden lines, with the bytes fed whole, byte by byte, and cut at every
 * place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <unistd.h>

#include "engine/base/frame.h"
#include "engine/base/log.h"
#include "engine/supervise/output.h"
#include "tests/support/log_pipe.h"

#define MARK "\0fscf" /* with the NUL at its end: what workers write after a request */
#define SAYS "WARNING: [pool www] child 42 said into stderr: \""
#define OUT  "WARNING: [pool www] child 42 said into stdout: \""
#define END  "\"\n"

static int set_up(void **state)
{
    (void)state;
    log_set_timestamps(false);
    return log_pipe_open();
}

static int tear_down(void **state)
{
    (void)state;
    log_pipe_close();
    return 0;
}

struct vector {
    const char *in;
    size_t n;
    bool decorate;
    const char *out;
};
#define IN(text) text, sizeof(text) - 1

static const struct vector vectors[] = {
    {IN(""), true, ""},
    {IN("\n\n\n"), true, ""},
    {IN("one\n"), true, SAYS "one" END},
    {IN("one\ntwo\n"), true, SAYS "one" END SAYS "two" END},
    {IN("one\n\ntwo\n"), true, SAYS "one" END SAYS "two" END},
    {IN("no end"), true, SAYS "no end\", pipe is closed\n"},
    {IN("a \"quoted\" 100%s\t\x01\xff\n"), true, SAYS "a \"quoted\" 100%s\t\x01\xff" END},
    {IN("one" MARK "\0"), true, SAYS "one" END},
    {IN(MARK "\0" MARK "\0one" MARK "\0"), true, SAYS "one" END},
    {IN("one" MARK "\0two\nthree" MARK "\0"), true, SAYS "one" END SAYS "two" END SAYS "three" END},
    {IN("one\n" MARK "\0two\n"), true, SAYS "one" END SAYS "two" END},
    /* beginnings of a mark that are something else: text, with blanks for the NULs that no line can have */
    {IN("a\0b\n"), true, SAYS "a b" END},
    {IN("a\0fsc\n"), true, SAYS "a fsc" END},
    {IN("a\0fsX" MARK "\0"), true, SAYS "a fsX" END},
    {IN("a\0\0fscf\0b\n"), true, SAYS "a " END SAYS "b" END},
    {IN("a\0fs\0fscf\0"), true, SAYS "a fs" END},
    {IN("a\0fsc"), true, SAYS "a fsc\", pipe is closed\n"},
    /* bare */
    {IN("one\ntwo"), false, "one\ntwo\n"},
    {IN("one" MARK "\0two\n"), false, "one\ntwo\n"},
    {IN("[a line of its own kind]\n"), false, "[a line of its own kind]\n"},
};

/* In three pieces, cut at a and b. */
static void feed(const struct vector *v, size_t a, size_t b)
{
    struct output *o = output_create("www", 42, v->decorate);
    assert_non_null(o);
    output_feed(o, OUTPUT_STDERR, v->in, a);
    output_feed(o, OUTPUT_STDERR, v->in + a, b - a);
    output_feed(o, OUTPUT_STDERR, v->in + b, v->n - b);
    output_close(o, OUTPUT_STDERR);
    output_destroy(o);
    if (strcmp(log_pipe_read(), v->out) != 0) {
        fail_msg("vector %d, cut at %zu and %zu: got '%s'", (int)(v - vectors), a, b, log_text);
    }
}

static void golden_lines_however_cut(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        for (size_t a = 0; a <= vectors[i].n; a++) {
            for (size_t b = a; b <= vectors[i].n; b++) {
                feed(&vectors[i], a, b);
            }
        }
    }
}

static void golden_lines_byte_by_byte(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        struct output *o = output_create("www", 42, vectors[i].decorate);
        for (size_t n = 0; n < vectors[i].n; n++) {
            output_feed(o, OUTPUT_STDERR, vectors[i].in + n, 1);
        }
        output_close(o, OUTPUT_STDERR);
        output_destroy(o);
        assert_string_equal(log_pipe_read(), vectors[i].out);
    }
}

static void streams_do_not_mix(void **state)
{
    struct output *o = output_create("www", 42, true);
    (void)state;
    output_feed(o, OUTPUT_STDERR, "err", 3);
    output_feed(o, OUTPUT_STDOUT, "out", 3); /* the other one speaks: the line is at its end */
    output_feed(o, OUTPUT_STDERR, "or\n", 3);
    assert_string_equal(log_pipe_read(), SAYS "err" END OUT "out" END SAYS "or" END);
    output_feed(o, OUTPUT_STDOUT, "x\0fs", 4);
    output_feed(o, OUTPUT_STDERR, "y\n", 2);
    output_feed(o, OUTPUT_STDOUT, "cf\0", 3); /* the mark goes on where it was */
    assert_string_equal(log_pipe_read(), OUT "x" END SAYS "y" END);
    output_close(o, OUTPUT_STDERR);
    output_close(o, OUTPUT_STDOUT);
    assert_string_equal(log_pipe_read(), "");
    output_destroy(o);
}

/* No line of the log is longer than log_limit, and nothing of the text is lost. */
static void wraps_at(size_t limit, size_t n, bool decorate, const char *pool)
{
    static char text[20000], back[20000];
    size_t back_n = 0;
    struct output *o = output_create(pool, 42, decorate);
    log_set_limit(limit);
    for (size_t i = 0; i < n; i++) {
        text[i] = (char)('a' + i % 26);
    }
    output_feed(o, OUTPUT_STDERR, text, n);
    output_feed(o, OUTPUT_STDERR, "\n", 1);
    output_destroy(o);
    for (char *line = strtok((char *)(uintptr_t)log_pipe_read(), "\n"); line; line = strtok(NULL, "\n")) {
        size_t size = strlen(line) + 1;
        char *from = line;
        if (decorate) {
            from = strstr(line, ": \"") + 3;
            from[strlen(from) - 1] = '\0';
        }
        bool last = back_n + strlen(from) == n;
        assert_true(last ? size <= limit : size == limit);
        memcpy(back + back_n, from, strlen(from));
        back_n += strlen(from);
    }
    assert_int_equal(back_n, n);
    assert_memory_equal(back, text, n);
}

static void long_lines_wrap(void **state)
{
    (void)state;
    for (size_t n = 900; n < 1100; n++) {
        wraps_at(1024, n, true, "www");
        wraps_at(1024, n, false, "www");
    }
    wraps_at(1024, 15000, true, "www");
    wraps_at(512, 15000, false, "www");
    wraps_at(2048, 10000, true, "a-pool-with-quite-a-long-name");
}

static void wrapped_text_keeps_the_mark(void **state)
{
    char text[2000];
    (void)state;
    for (size_t n = 950; n < 1050; n++) {
        struct output *o = output_create("www", 42, false);
        memset(text, 'x', n);
        memcpy(text + n, MARK "\0tail\n", 11);
        output_feed(o, OUTPUT_STDERR, text, n + 11);
        output_destroy(o);
        const char *lines = log_pipe_read();
        const char *tail = strstr(lines, "\ntail\n");
        assert_non_null(tail);
        size_t count = 0;
        for (const char *c = lines; *c; c++) {
            count += *c == 'x';
        }
        assert_int_equal(count, n);
    }
}

static void quiet_levels_hide_decorated_lines_only(void **state)
{
    struct output *o = output_create("www", 42, true);
    (void)state;
    log_set_level(LEVEL_ERROR);
    output_feed(o, OUTPUT_STDERR, "one\n", 4);
    assert_string_equal(log_pipe_read(), "");
    output_destroy(o);
    o = output_create("www", 42, false);
    output_feed(o, OUTPUT_STDERR, "one\n", 4);
    assert_string_equal(log_pipe_read(), "one\n");
    output_destroy(o);
}

static void reads_a_pipe_to_its_end(void **state)
{
    int pipe_fds[2];
    struct output_sources *o = output_sources_create("www", 42, false);
    struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);
    (void)state;
    assert_int_equal(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC), 0);
    assert_true(output_pipe_read(p, pipe_fds[0], &(int){4})); /* nothing yet */
    assert_int_equal(write(pipe_fds[1], "one\nhalf", 8), 8);
    assert_true(output_pipe_read(p, pipe_fds[0], &(int){4}));
    assert_string_equal(log_pipe_read(), "one\n");
    close(pipe_fds[1]);
    assert_false(output_pipe_read(p, pipe_fds[0], &(int){4}));
    output_pipe_close(p);
    assert_string_equal(log_pipe_read(), "half\n");
    close(pipe_fds[0]);
    output_sources_destroy(o);
}

/* One who talks without a pause gets a turn, not the whole day. */
static void a_turn_is_bounded(void **state)
{
    int pipe_fds[2];
    char noise[60000];
    size_t lines = 0;
    struct output_sources *o = output_sources_create("www", 42, false);
    struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);
    (void)state;
    assert_int_equal(pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC), 0);
    memset(noise, '\n', sizeof(noise));
    for (size_t i = 0; i < sizeof(noise); i += 100) {
        memset(noise + i, 'n', 99);
    }
    assert_int_equal(write(pipe_fds[1], noise, sizeof(noise)), sizeof(noise));
    assert_true(output_pipe_read(p, pipe_fds[0], &(int){2}));
    for (const char *c = log_pipe_read(); *c; c++) {
        lines += *c == '\n';
    }
    assert_in_range(lines, 2 * 4096 / 100 - 1, 2 * 4096 / 100 + 1);
    output_sources_destroy(o);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

static size_t frame_of(char *out, int worker, const char *request, const char *text, size_t n)
{
    struct frame_head head = {.mark = FRAME_MARK, .worker = worker, .n = (uint16_t)n};

    snprintf(head.request, sizeof head.request, "%s", request);
    memcpy(out, &head, sizeof head);
    memcpy(out + sizeof head, text, n);
    return sizeof head + n;
}

static size_t frame(char *out, int worker, const char *request, const char *text)
{
    return frame_of(out, worker, request, text, strlen(text));
}

/* Two workers and a program talk into one pipe: each line is whole and has its speaker, however it is cut. */
static void sources_do_not_mix(void **state)
{
    char in[1024];
    size_t n = 0;

    (void)state;
    n += frame(in + n, 7, "r7", "one of ");
    n += frame(in + n, 8, "r8", "one of ");
    memcpy(in + n, "of a prog\0ram\n", 14);
    n += 14;
    n += frame(in + n, 7, "r7", "seven\ntwo");
    n += frame(in + n, 8, "r8", "eight\n");
    memcpy(in + n, "\0fscx\n", 6);
    n += 6;
    n += frame_of(in + n, 7, "r9", MARK, 6);
    memcpy(in + n, "end\n", 4);
    n += 4;
    n += frame(in + n, 8, "r8", "last");
    for (size_t cut = 0; cut <= n; cut++) {
        struct output_sources *o = output_sources_create("www", 42, true);
        struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);

        output_pipe_feed(p, in, cut);
        output_pipe_feed(p, in + cut, n - cut);
        output_pipe_close(p);
        output_sources_destroy(o);
        assert_string_equal(log_pipe_read(),
                            "WARNING: [pool www] child 42 said into stderr: \"of a prog ram\"\n"
                            "WARNING: [pool www] child 7 said into stderr: \"one of seven\", request r7\n"
                            "WARNING: [pool www] child 8 said into stderr: \"one of eight\", request r8\n"
                            "WARNING: [pool www] child 42 said into stderr: \" fscx\"\n"
                            "WARNING: [pool www] child 7 said into stderr: \"two\", request r7\n"
                            "WARNING: [pool www] child 42 said into stderr: \"end\"\n"
                            "WARNING: [pool www] child 8 said into stderr: \"last\", pipe is closed\n");
    }
}

/* Through its own pipe a worker and its programs: all is the worker's, whatever a frame says. */
static void a_worker_s_own_pipe(void **state)
{
    char in[2048];
    size_t n = 0;

    (void)state;
    n += frame(in + n, 7, "r1", "");
    memcpy(in + n, "of a prog\0ram\n", 14);
    n += 14;
    n += frame(in + n, 7, "r1", "of the script\nbegun ");
    memcpy(in + n, "and ended\nopen", 14);
    n += 14;
    n += frame_of(in + n, 7, "r1", MARK, 6);
    n += frame(in + n, 7, "", "");
    memcpy(in + n, "later\n", 6);
    n += 6;
    n += frame(in + n, 7, "r2", "next\n");
    memcpy(in + n, "even later\n", 11);
    n += 11;
    n += frame(in + n, 8, "made-up", "not of eight\n");
    memcpy(in + n, "last", 4);
    n += 4;
    for (size_t cut = 0; cut <= n; cut++) {
        struct output_sources *o = output_sources_create("www", 42, true);
        struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 7);

        output_pipe_feed(p, in, cut);
        output_pipe_feed(p, in + cut, n - cut);
        output_pipe_close(p);
        output_sources_destroy(o);
        assert_string_equal(
            log_pipe_read(),
            "WARNING: [pool www] child 7 said into stderr: \"of a prog ram\", request r1\n"
            "WARNING: [pool www] child 7 said into stderr: \"of the script\", request r1\n"
            "WARNING: [pool www] child 7 said into stderr: \"begun and ended\", request r1\n"
            "WARNING: [pool www] child 7 said into stderr: \"open\", request r1\n"
            "WARNING: [pool www] child 7 said into stderr: \"later\"\n"
            "WARNING: [pool www] child 7 said into stderr: \"next\", request r2\n"
            "WARNING: [pool www] child 7 said into stderr: \"even later\"\n"
            "WARNING: [pool www] child 7 said into stderr: \"not of eight\", request made-up\n"
            "WARNING: [pool www] child 7 said into stderr: \"last\", pipe is closed\n");
    }
}

/* What a worker began in the process's pipe goes on in its own, which may end without the other. */
static void a_line_in_two_pipes(void **state)
{
    struct output_sources *o = output_sources_create("www", 42, false);
    struct output_pipe *all = output_pipe_open(o, OUTPUT_STDERR, 0);
    struct output_pipe *own = output_pipe_open(o, OUTPUT_STDERR, 7);
    char in[256];

    (void)state;
    output_pipe_feed(all, in, frame(in, 7, "r", "one "));
    output_pipe_feed(all, in, frame(in, 8, "s", "eight"));
    output_pipe_feed(own, in, frame(in, 7, "r", ""));
    output_pipe_feed(own, "line\nhalf", 9);
    output_pipe_close(own);
    assert_string_equal(log_pipe_read(), "one line\nhalf\n");
    output_pipe_feed(all, in, frame(in, 7, "t", "again\n"));
    output_pipe_close(all);
    output_sources_destroy(o);
    assert_string_equal(log_pipe_read(), "again\neight\n");
}

/* Heads of no sense, and more workers than are remembered, cost lines at most. */
static void odd_frames(void **state)
{
    struct output_sources *o = output_sources_create("www", 42, false);
    struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);
    struct frame_head head = {.mark = FRAME_MARK, .worker = -1, .n = 65535};
    char in[256];

    (void)state;
    memset(head.request, 'x', sizeof head.request);
    output_pipe_feed(p, (const char *)&head, sizeof head);
    output_pipe_feed(p, "after\n", 6);
    assert_string_equal(log_pipe_read(), "after\n");
    for (int worker = 0; worker < 1000; worker++) {
        output_pipe_feed(p, in, frame(in, worker, "", "x"));
    }
    log_pipe_read();
    output_pipe_feed(p, in, frame(in, 3, "", "y\n"));
    assert_string_equal(log_pipe_read(), "xy\n");
    output_pipe_close(p);
    output_sources_destroy(o);
    log_pipe_read();
}

/* What a worker writes arrives as it was, in frames of at most PIPE_BUF bytes. */
static void long_text_in_frames(void **state)
{
    struct output_sources *o = output_sources_create("www", 42, false);
    struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);
    int ends[2];
    char text[20001], *at = text;

    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    for (int i = 0; i < 20000; i++) {
        *at++ = (char)(i % 100 == 99 ? '\n' : 'a' + i % 26);
    }
    *at = '\0';
    log_author = (struct log_author){.worker = 9, .request = "id"};
    frame_write(ends[1], text, 20000);
    log_author = (struct log_author){0};
    assert_true(output_pipe_read(p, ends[0], &(int){100}));
    assert_string_equal(log_pipe_read(), text);
    output_sources_destroy(o);
    close(ends[0]);
    close(ends[1]);
}

/* Whoever reads on begins with a frame, wherever the last read has cut one, and nothing that was said is
 * lost. */
static void handed_on(void **state)
{
    int ends[2];
    char in[FRAME_TEXT + sizeof(struct frame_head)];
    (void)state;
    assert_int_equal(pipe2(ends, O_NONBLOCK | O_CLOEXEC), 0);
    for (size_t cut = 1; cut < sizeof(struct frame_head) + 4; cut++) {
        struct output_sources *o = output_sources_create("www", 42, false);
        struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 9);
        size_t n = frame_of(in, 9, "id", "half", 4);
        output_pipe_feed(p, in, cut);
        assert_int_equal(write(ends[1], in + cut, n - cut), n - cut);
        assert_int_equal(write(ends[1], "rest\n", 5), 5);
        output_pipe_settle(p, ends[0]);
        assert_string_equal(log_pipe_read(), "half\n");
        assert_int_equal(read(ends[0], in, sizeof in), 5);
        output_sources_destroy(o);
    }
    close(ends[0]);
    close(ends[1]);
}

/* A request's id is in every line of its text, and counts for log_limit; one that is made up ends where an id
 * does; it can be left away. */
static void requests_are_named(void **state)
{
    static const struct {
        const char *id, *said;
        bool names;
    } rows[] = {
        {"r7", ", request r7", true},
        {"", "", true},
        {"a\n[x] NOTICE: b", ", request a", true},
        {"r7", "", false},
    };
    char in[FRAME_TEXT + sizeof(struct frame_head)], text[1501], out[4096];

    (void)state;
    memset(text, 't', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    log_set_limit(1024);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct output_sources *o = output_sources_create("www", 42, true);
        struct output_pipe *p = output_pipe_open(o, OUTPUT_STDERR, 0);

        output_name_requests(rows[i].names);
        output_pipe_feed(p, in, frame(in, 7, rows[i].id, text));
        output_pipe_feed(p, in, frame(in, 7, "next", "n\n"));
        size_t first =
            1024 - strlen("WARNING: [pool www] child 7 said into stderr: \"\"\n") - strlen(rows[i].said);
        snprintf(out, sizeof out,
                 "WARNING: [pool www] child 7 said into stderr: \"%.*s\"%s\n"
                 "WARNING: [pool www] child 7 said into stderr: \"%.*s\"%s\n"
                 "WARNING: [pool www] child 7 said into stderr: \"n\"%s\n",
                 (int)first, text, rows[i].said, (int)(1500 - first), text, rows[i].said,
                 rows[i].names ? ", request next" : "");
        assert_string_equal(log_pipe_read(), out);
        output_sources_destroy(o);
    }
    output_name_requests(true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(golden_lines_however_cut),    TEST(golden_lines_byte_by_byte),
        TEST(streams_do_not_mix),          TEST(long_lines_wrap),
        TEST(wrapped_text_keeps_the_mark), TEST(quiet_levels_hide_decorated_lines_only),
        TEST(reads_a_pipe_to_its_end),     TEST(a_turn_is_bounded),
        TEST(sources_do_not_mix),          TEST(odd_frames),
        TEST(long_text_in_frames),         TEST(handed_on),
        TEST(requests_are_named),          TEST(a_worker_s_own_pipe),
        TEST(a_line_in_two_pipes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
