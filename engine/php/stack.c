/* The stack of a running script, for the profiler: read by the control thread while the script goes on.
 *
 * Nobody is stopped or signalled, so that no system call of the script ends early, and the script pays
 * nothing. All of it is copied by the kernel, which says no instead of faulting: many pieces a call, since
 * the calls are what it costs. What runs may go on meanwhile. Frames in the middle of a call or a return are
 * known by a chain that does not end where a script begins; then it is read again. A frame that has changed
 * between two looks is one that ran at that moment, too. */
#include "engine/php/stack.h"

#include "engine/base/clock.h"
#include "engine/base/peek.h"

#define TRIES       6
#define WINDOW      8192 /* bytes of PHP's stack that are copied at once; frames lie close together */
#define STRING_HEAD offsetof(zend_string, val)
#define STRING_SEEN 72 /* of a name, at first: most are shorter */
#define NAME_SHOWN  200
#define KNOWN       1024 /* functions whose names are kept */
#define KNOWN_US    (1 * CLOCK_US_PER_SECOND)
#define KNOWN_SIZE  90
#define CHUNK_BYTES ((uintptr_t)2 << 20) /* ZendMM's; below its begin there may be nothing */

/* -- frames -- */

struct walk {
    const zend_function *functions[CALL_STACK_DEPTH]; /* innermost first */
    unsigned count;
    bool cut, outside;
    uintptr_t window_at; /* what of PHP's stack is copied; window_n: 0 = nothing */
    size_t window_n;
    char window[WINDOW];
};

/* At the end of the window, as its callers lie before it. */
static bool fill_window(struct walk *w, uintptr_t at)
{
    uintptr_t end = at + sizeof(zend_execute_data), begin = end - WINDOW, chunk = at & ~(CHUNK_BYTES - 1);

    begin = begin < chunk ? chunk : begin;
    for (int i = 0; i < 2; i++) {
        w->window_at = i == 0 ? begin : at;
        w->window_n = end - w->window_at;
        if (w->window_n <= WINDOW && peek(w->window, (const void *)w->window_at, w->window_n)) {
            return true;
        }
    }
    w->window_n = 0;
    return false;
}

static bool frame_at(struct walk *w, const zend_execute_data *at, zend_execute_data *out)
{
    uintptr_t address = (uintptr_t)at;

    if (address % sizeof(void *) != 0 || address < 4096) {
        return false;
    }
    bool here = address >= w->window_at && address + sizeof(*out) <= w->window_at + w->window_n;

    if (!here && !fill_window(w, address)) {
        return false;
    }
    memcpy(out, w->window + (address - w->window_at), sizeof(*out));
    return true;
}

/* True: it leads to where the script begins. A generator's place holder has no function. */
static bool walk_frames(struct walk *w, const zend_execute_data *at)
{
    zend_execute_data frame;
    unsigned steps = 0;

    w->count = 0;
    w->window_n = 0;
    w->cut = false;
    w->outside = at == NULL;
    while (at) {
        if (!frame_at(w, at, &frame) || ++steps > 4 * CALL_STACK_DEPTH) {
            return false;
        }
        if (w->count == CALL_STACK_DEPTH) {
            w->cut = true;
            return true;
        }
        if (frame.func) {
            w->functions[w->count++] = frame.func;
        }
        if (!frame.prev_execute_data && !(ZEND_CALL_KIND_EX(frame.This.u1.type_info) & ZEND_CALL_TOP)) {
            return false;
        }
        at = frame.prev_execute_data;
    }
    return true;
}

static const zend_execute_data *current_frame(const struct php_thread *t)
{
    const zend_execute_data *at = NULL;

    return peek(&at, &t->executor->current_execute_data, sizeof at) ? at : NULL;
}

/* The last try need not have stood still: it leads somewhere. */
static bool walk(struct walk *w, const struct php_thread *t)
{
    bool whole = false;

    for (int i = 0; i < TRIES; i++) {
        const zend_execute_data *at = current_frame(t);

        whole = walk_frames(w, at);
        if (whole && current_frame(t) == at) {
            return true;
        }
    }
    return whole;
}

/* -- names -- */

struct text_head {
    char head[STRING_HEAD];
    char text[STRING_SEEN];
};

/* What is copied of a function, a class, and their names. */
struct named {
    char function[offsetof(zend_function, common.scope) + sizeof(void *)];
    const zend_string *name, *class_name;
    const zend_class_entry *class;
    bool none; /* it is no function of anybody's: where a fiber begins, for example */
    bool stays;
    unsigned at; /* of its name in what is told */
    struct text_head name_text, class_text;
};

/* Names of functions that stay where they are as long as the process lives, or nearly: those of extensions,
 * and those in OPcache's memory. Looked up again after a while, as OPcache can begin anew. */
struct known {
    const zend_function *function;
    uint64_t until_us;
    uint8_t size;
    char text[KNOWN_SIZE];
};
static struct known known[KNOWN]; /* the control thread's */

static struct known *place_of(const zend_function *function)
{
    return &known[((uintptr_t)function >> 4) * 2654435761u / 64 % KNOWN];
}

/* One bit means another thing to each of the two kinds. */
static bool stays(uint8_t type, uint32_t flags)
{
    if (type == ZEND_INTERNAL_FUNCTION) {
        return !(flags & (ZEND_ACC_ARENA_ALLOCATED | ZEND_ACC_CALL_VIA_TRAMPOLINE | ZEND_ACC_FAKE_CLOSURE));
    }
    return (flags & ZEND_ACC_IMMUTABLE) && !(flags & (ZEND_ACC_CLOSURE | ZEND_ACC_FAKE_CLOSURE));
}

#define FIELD_OF(copied, type, field, out)                                                                   \
    memcpy(&(out), (const char *)(copied) + offsetof(type, field), sizeof(out))

static void take_functions(const zend_function *const *functions, unsigned count, struct named *all,
                           struct peek *pieces)
{
    for (unsigned i = 0; i < count; i++) {
        pieces[i] = (struct peek){all[i].function, functions[i], sizeof(all[i].function), false};
    }
    peek_all(pieces, count);
    for (unsigned i = 0; i < count; i++) {
        uint8_t type = (uint8_t)all[i].function[0];
        uint32_t flags;

        FIELD_OF(all[i].function, zend_function, common.fn_flags, flags);
        all[i].name = all[i].class_name = NULL;
        all[i].class = NULL;
        if (pieces[i].copied) {
            FIELD_OF(all[i].function, zend_function, common.function_name, all[i].name);
            FIELD_OF(all[i].function, zend_function, common.scope, all[i].class);
        }
        if (!all[i].name) {
            all[i].class = NULL;
        }
        all[i].none = !pieces[i].copied || (!all[i].name && type == ZEND_INTERNAL_FUNCTION);
        all[i].stays = all[i].name && stays(type, flags);
    }
}

static void take_classes(unsigned count, struct named *all, struct peek *pieces)
{
    size_t n = 0;

    for (unsigned i = 0; i < count; i++) {
        if (all[i].class && i > 0 && all[i].class == all[i - 1].class) {
            continue;
        }
        if (all[i].class) {
            pieces[n++] = (struct peek){&all[i].class_name, &all[i].class->name, sizeof(void *), false};
        }
    }
    peek_all(pieces, n);
    for (unsigned i = 1; i < count; i++) {
        if (all[i].class && all[i].class == all[i - 1].class) {
            all[i].class_name = all[i - 1].class_name;
        }
    }
}

static void take_texts(unsigned count, struct named *all, struct peek *pieces)
{
    size_t n = 0;

    for (unsigned i = 0; i < count; i++) {
        memset(all[i].name_text.head, 0, sizeof(all[i].name_text.head));
        memset(all[i].class_text.head, 0, sizeof(all[i].class_text.head));
        if (all[i].name) {
            pieces[n++] = (struct peek){&all[i].name_text, all[i].name, sizeof(struct text_head), false};
        }
        if (all[i].class_name) {
            pieces[n++] =
                (struct peek){&all[i].class_text, all[i].class_name, sizeof(struct text_head), false};
        }
    }
    peek_all(pieces, n);
}

static void add(struct call_stack *out, const char *text, size_t n)
{
    size_t room = sizeof(out->text) - out->text_n;

    n = n < room ? n : room;
    memcpy(out->text + out->text_n, text, n);
    out->text_n += n;
}

/* One that is longer than what was copied, or stands at the end of what is there, is fetched by itself. */
static void add_name(struct call_stack *out, const struct text_head *seen, const zend_string *string)
{
    char text[NAME_SHOWN];
    size_t n;

    FIELD_OF(seen->head, zend_string, len, n);
    if (n > 0 && n <= STRING_SEEN) {
        add(out, seen->text, n);
    } else if (peek(&n, &string->len, sizeof n) && n > 0 && n < 1u << 20) {
        n = n < sizeof text ? n : sizeof text;
        if (peek(text, ZSTR_VAL(string), n)) {
            add(out, text, n);
        }
    }
}

static void name_one(struct call_stack *out, const struct named *named)
{
    static const char included[] = "[include]";

    out->at[out->count] = (uint16_t)out->text_n;
    if (named->class_name) {
        add_name(out, &named->class_text, named->class_name);
        add(out, "::", 2);
    }
    if (named->name) {
        add_name(out, &named->name_text, named->name);
    } else {
        add(out, included, sizeof included - 1);
    }
    out->size[out->count] = (uint16_t)(out->text_n - out->at[out->count]);
    out->count++;
}

static void name_known(struct call_stack *out, const struct known *k)
{
    out->at[out->count] = (uint16_t)out->text_n;
    add(out, k->text, k->size);
    out->size[out->count] = (uint16_t)(out->text_n - out->at[out->count]);
    out->count++;
}

/* One that found no room is not whole. */
static void remember(const zend_function *function, const struct call_stack *named, unsigned at, uint64_t now)
{
    bool whole = named->at[at] + named->size[at] < sizeof(named->text);

    if (whole && named->size[at] <= KNOWN_SIZE) {
        struct known *k = place_of(function);

        *k = (struct known){function, now + KNOWN_US, (uint8_t)named->size[at], ""};
        memcpy(k->text, named->text + named->at[at], k->size);
    }
}

/* Which of them are known; the others, in the same order. */
static unsigned sort_out(const struct walk *w, uint64_t now, bool *found, const zend_function **others)
{
    unsigned n = 0;

    for (unsigned i = 0; i < w->count; i++) {
        const struct known *k = place_of(w->functions[i]);

        found[i] = k->function == w->functions[i] && k->until_us > now;
        if (!found[i]) {
            others[n++] = w->functions[i];
        }
    }
    return n;
}

static void name_all(const struct walk *w, struct call_stack *out)
{
    static struct named all[CALL_STACK_DEPTH]; /* the control thread's, both */
    static struct peek pieces[2 * CALL_STACK_DEPTH];
    const zend_function *others[CALL_STACK_DEPTH];
    bool found[CALL_STACK_DEPTH];
    uint64_t now = clock_us();
    unsigned count = sort_out(w, now, found, others), next = 0;

    take_functions(others, count, all, pieces);
    take_classes(count, all, pieces);
    take_texts(count, all, pieces);
    for (unsigned i = 0; i < w->count; i++) {
        if (found[i]) {
            name_known(out, place_of(w->functions[i]));
            continue;
        }
        struct named *named = &all[next];
        bool own = i + 1 == w->count && !w->cut && !named->name; /* the script that was asked for */

        named->at = out->count;
        if (!own && !named->none) {
            name_one(out, named);
        }
        next++;
    }
    for (unsigned i = 0; i < count; i++) { /* not before: they take each other's places */
        if (all[i].stays) {
            remember(others[i], out, all[i].at, now);
        }
    }
}

int stack_read(const struct php_thread *t, struct call_stack *out)
{
    static struct walk w; /* the control thread's */

    if (!t || !t->executor || !walk(&w, t)) {
        return -1;
    }
    out->count = 0;
    out->text_n = 0;
    out->cut = w.cut;
    out->outside = w.outside;
    name_all(&w, out);
    return 0;
}
