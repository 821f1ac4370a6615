/* A PHP backtrace from inside a signal handler: slow log, crash report.
 *
 * Async-signal-safe, on the thread that runs the script. Nothing of PHP's memory is dereferenced: after a
 * crash any pointer may be wild, so everything is copied by the kernel, which says no instead of faulting.
 * Lines are php-fpm's: "[0xADDRESS] function() FILE:LINE". */
#include "engine/php/backtrace.h"

#include <unistd.h>

#include "engine/base/peek.h"

#define NAME_MAX_SHOWN 256
#define FRAMES_ABOVE   64 /* how far to look for the caller's line */

#define COPY(to, from) peek(&(to), (from), sizeof(to))

/* -- text without stdio -- */

struct line {
    char p[1024];
    size_t n;
};

static void add(struct line *line, const char *text, size_t n)
{
    for (size_t i = 0; i < n && line->n < sizeof line->p - 1; i++) {
        char c = text[i];

        line->p[line->n++] = (unsigned char)c < ' ' ? '?' : c;
    }
}

static void add_text(struct line *line, const char *text)
{
    add(line, text, strlen(text));
}

static void add_number(struct line *line, uint64_t value, unsigned base, unsigned digits)
{
    char reversed[24];
    unsigned n = 0;

    do {
        reversed[n++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value || n < digits);
    while (n) {
        add(line, &reversed[--n], 1);
    }
}

static bool add_string(struct line *line, const zend_string *string)
{
    char text[NAME_MAX_SHOWN];
    size_t n;

    if (!peek(&n, &string->len, sizeof n) || n > 1u << 20) {
        return false;
    }
    n = n < sizeof text ? n : sizeof text;
    if (n && !peek(text, ZSTR_VAL(string), n)) {
        return false;
    }
    add(line, text, n);
    return true;
}

/* -- frames -- */

/* The name of what runs in a frame. 1: the outermost frame, which is not shown; -1: damaged. */
static int add_name(struct line *line, const zend_execute_data *frame)
{
    zend_string *name, *class_name;
    zend_class_entry *class;

    if (!frame->func) {
        add_text(line, "???");
        return 0;
    }
    if (!peek(&name, &frame->func->common.function_name, sizeof name) ||
        !peek(&class, &frame->func->common.scope, sizeof class)) {
        return -1;
    }
    if (!name) {
        if (ZEND_CALL_KIND_EX(frame->This.u1.type_info) == ZEND_CALL_TOP_CODE) {
            return 1;
        }
        add_text(line, "[INCLUDE_OR_EVAL]");
        return 0;
    }
    if (class && peek(&class_name, &class->name, sizeof class_name) && add_string(line, class_name)) {
        add_text(line, "::");
    }
    return add_string(line, name) ? 0 : -1;
}

/* Where the frame was called from: the line that the next frame of PHP code is at. */
static bool add_place(struct line *line, const zend_execute_data *frame)
{
    for (int i = 0; frame && i < FRAMES_ABOVE; i++) {
        zend_execute_data caller;
        uint8_t type;
        zend_string *file;
        uint32_t number = 0;

        if (!COPY(caller, frame)) {
            return false;
        }
        if (caller.func && peek(&type, &caller.func->type, sizeof type) && ZEND_USER_CODE(type)) {
            if (!peek(&file, &caller.func->op_array.filename, sizeof file) || !add_string(line, file)) {
                return false;
            }
            if (caller.opline) {
                peek(&number, &caller.opline->lineno, sizeof number);
            }
            add_text(line, ":");
            add_number(line, number, 10, 1);
            return true;
        }
        frame = caller.prev_execute_data;
    }
    add_text(line, "unknown:0");
    return true;
}

static int write_frame(int fd, const zend_execute_data *at, const zend_execute_data *frame)
{
    struct line line = {.n = 0};

    add_text(&line, "[0x");
    add_number(&line, (uintptr_t)at, 16, 16);
    add_text(&line, "] ");
    int kind = add_name(&line, frame);

    if (kind != 0) {
        return kind;
    }
    add_text(&line, "() ");
    if (!add_place(&line, frame->prev_execute_data)) {
        return -1;
    }
    line.p[line.n++] = '\n';
    return write(fd, line.p, line.n) == (ssize_t)line.n ? 0 : -1;
}

int backtrace_write(const struct php_thread *t, int fd, int depth)
{
    const zend_execute_data *at;

    if (!t || !t->executor || !peek(&at, &t->executor->current_execute_data, sizeof at)) {
        return -1;
    }
    for (; at && depth > 0; depth--) {
        zend_execute_data frame;

        if (!COPY(frame, at)) {
            return -1;
        }
        int result = write_frame(fd, at, &frame);

        if (result != 0) {
            return result < 0 ? -1 : 0;
        }
        at = frame.prev_execute_data;
    }
    return 0;
}
