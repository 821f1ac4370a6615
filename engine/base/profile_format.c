/* Folded stacks and what becomes of them. See the header. */
#include "engine/base/profile_format.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/clock.h"
#include "engine/base/hash.h"

#define FRAMES_MAX 1024 /* of a stack; its line is bounded, too */

bool profile_format_named(const char *word, enum profile_format *out)
{
    static const char *const names[] = {"folded", "speedscope", "pprof"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(word, names[i]) == 0) {
            *out = (enum profile_format)i;
            return true;
        }
    }
    return false;
}

const char *profile_format_type(enum profile_format format)
{
    static const char *const types[] = {"text/plain; charset=utf-8", "application/json",
                                        "application/octet-stream"};
    return types[format];
}

/* -- lines -- */

/* For a terminal, which may be root's: C0, DEL, and C1 as UTF-8 has them. */
static bool has_controls(struct str line)
{
    for (size_t i = 0; i < line.n; i++) {
        unsigned char c = (unsigned char)line.p[i], before = i ? (unsigned char)line.p[i - 1] : 0;
        if (c < 0x20 || c == 0x7f || (before == 0xc2 && c >= 0x80 && c < 0xa0)) {
            return true;
        }
    }
    return false;
}

bool profile_next(struct str *rest, struct profile_line *out)
{
    struct str line;
    while (rest->p && rest->n && str_split(rest, '\n', &line)) {
        const char *blank = line.n ? memrchr(line.p, ' ', line.n) : NULL;
        if (blank && !has_controls(line) &&
            str_to_u64((struct str){blank + 1, line.n - (size_t)(blank + 1 - line.p)}, &out->count)) {
            out->stack = (struct str){line.p, (size_t)(blank - line.p)};
            return true;
        }
    }
    return false;
}

/* Its frames without the word in front, outermost first. */
static size_t frames_of(struct str stack, struct str out[FRAMES_MAX], bool *slept)
{
    struct str frame;
    size_t n = 0;
    *slept = false;
    for (bool first = true; stack.p && n < FRAMES_MAX && str_split(&stack, ';', &frame); first = false) {
        if (first) {
            *slept = str_eq(frame, STR("wait"));
        } else {
            out[n++] = frame;
        }
    }
    return n;
}

/* -- names -- */

/* Numbers of names, from 0 on, in the order in which they came. */
struct names {
    struct str *list;
    uint32_t *table;    /* number + 1; 0 = free */
    size_t count, room; /* room: of list, half of the table's */
};

static size_t slot_of(const struct names *names, struct str name)
{
    size_t at = hash_str(name, 0) % (2 * names->room);
    while (names->table[at] && !str_eq(names->list[names->table[at] - 1], name)) {
        at = (at + 1) % (2 * names->room);
    }
    return at;
}

static bool grow(struct names *names)
{
    struct names larger = {.room = names->room ? 2 * names->room : 256, .count = names->count};
    larger.list = realloc(names->list, larger.room * sizeof *larger.list);
    larger.table = calloc(2 * larger.room, sizeof *larger.table);
    if (larger.list) {
        names->list = larger.list;
    }
    if (!larger.list || !larger.table) {
        free(larger.table);
        return false;
    }
    for (size_t i = 0; i < larger.count; i++) {
        larger.table[slot_of(&larger, larger.list[i])] = (uint32_t)i + 1;
    }
    free(names->table);
    *names = larger;
    return true;
}

/* -1: out of memory. */
static int64_t number_of(struct names *names, struct str name)
{
    if (names->count == names->room && !grow(names)) {
        return -1;
    }
    size_t at = slot_of(names, name);
    if (!names->table[at]) {
        names->list[names->count++] = name;
        names->table[at] = (uint32_t)names->count;
    }
    return names->table[at] - 1;
}

static void forget_names(struct names *names)
{
    free(names->list);
    free(names->table);
}

/* -- speedscope -- */

static void add_profile(struct str folded, bool slept, const char *name, struct names *names, unsigned hz,
                        struct buf *out)
{
    struct str rest = folded, frames[FRAMES_MAX];
    struct buf weights = {0};
    struct profile_line s;
    uint64_t all = 0;
    bool first = true, sleeps;
    buf_printf(
        out, "{\"type\":\"sampled\",\"name\":\"%s\",\"unit\":\"milliseconds\",\"startValue\":0,\"samples\":[",
        name);
    while (!out->failed && profile_next(&rest, &s)) {
        size_t n = frames_of(s.stack, frames, &sleeps);
        if (sleeps != slept) {
            continue;
        }
        buf_text(out, first ? "[" : ",[");
        for (size_t i = 0; i < n; i++) {
            buf_printf(out, "%s%lld", i ? "," : "", (long long)number_of(names, frames[i]));
        }
        buf_text(out, "]");
        buf_printf(&weights, "%s%llu", first ? "" : ",", (unsigned long long)(s.count * 1000 / hz));
        all += s.count * 1000 / hz;
        first = false;
    }
    buf_text(out, "],\"weights\":[");
    buf_str(out, (struct str){weights.p ? weights.p : "", weights.n});
    buf_printf(out, "],\"endValue\":%llu}", (unsigned long long)all);
    out->failed |= weights.failed;
    buf_free(&weights);
}

static void write_speedscope(struct str folded, unsigned hz, struct buf *out)
{
    struct names names = {0};
    buf_text(out,
             "{\"$schema\":\"https://www.speedscope.app/file-format-schema.json\",\"exporter\":\"tokiophp\","
             "\"profiles\":[");
    add_profile(folded, false, "on the processor", &names, hz, out);
    buf_text(out, ",");
    add_profile(folded, true, "waiting", &names, hz, out);
    buf_text(out, "],\"shared\":{\"frames\":[");
    for (size_t i = 0; i < names.count; i++) {
        buf_text(out, i ? ",{\"name\":\"" : "{\"name\":\"");
        buf_json(out, names.list[i]);
        buf_text(out, "\"}");
    }
    buf_text(out, "]}}\n");
    forget_names(&names);
}

/* -- pprof: profile.proto -- */

enum { PB_VARINT = 0, PB_BYTES = 2 };

static void add_varint(struct buf *out, uint64_t n)
{
    char bytes[10];
    size_t count = 0;
    do {
        bytes[count++] = (char)((n & 127) | (n > 127 ? 128 : 0));
        n >>= 7;
    } while (n);
    buf_add(out, bytes, count);
}

static void add_number(struct buf *out, unsigned field, uint64_t n)
{
    add_varint(out, field << 3 | PB_VARINT);
    add_varint(out, n);
}

static void add_bytes(struct buf *out, unsigned field, struct str bytes)
{
    add_varint(out, field << 3 | PB_BYTES);
    add_varint(out, bytes.n);
    buf_add(out, bytes.p ? bytes.p : "", bytes.n);
}

/* A message is put together in `part`, which is empty again afterwards. */
static void add_message(struct buf *out, unsigned field, struct buf *part)
{
    add_bytes(out, field, (struct str){part->p, part->n});
    out->failed |= part->failed;
    part->n = 0;
}

/* ValueType: names by number. */
static void add_value_type(struct buf *out, unsigned field, uint64_t type, uint64_t unit, struct buf *part)
{
    add_number(part, 1, type);
    add_number(part, 2, unit);
    add_message(out, field, part);
}

/* Sample: locations innermost first (packed), values (packed), and whether the thread slept, as a label. */
static void add_sample(struct buf *out, const struct profile_line *s, struct names *names, uint64_t period_ns,
                       struct buf *part)
{
    struct str frames[FRAMES_MAX];
    struct buf packed = {0};
    bool slept;
    size_t n = frames_of(s->stack, frames, &slept);
    while (n > 0) {
        add_varint(&packed, (uint64_t)(number_of(names, frames[--n]) + 1));
    }
    add_bytes(part, 1, (struct str){packed.p, packed.n});
    packed.n = 0;
    add_varint(&packed, s->count);
    add_varint(&packed, s->count * period_ns);
    add_bytes(part, 2, (struct str){packed.p, packed.n});
    packed.n = 0;
    add_number(&packed, 1, (uint64_t)number_of(names, STR("state")));
    add_number(&packed, 2, (uint64_t)number_of(names, slept ? STR("waiting") : STR("on the processor")));
    add_message(part, 3, &packed);
    buf_free(&packed);
    add_message(out, 2, part);
}

/* A location and a function for each name: the name's number + 1 is both their ids. */
static void add_places(struct buf *out, const struct names *names, struct buf *part)
{
    struct buf line = {0};
    for (uint64_t id = 1; id <= names->count; id++) {
        add_number(&line, 1, id); /* function_id */
        add_number(part, 1, id);
        add_message(part, 4, &line);
        add_message(out, 4, part);
    }
    for (uint64_t id = 1; id <= names->count; id++) {
        add_number(part, 1, id);
        add_number(part, 2, id - 1); /* name */
        add_number(part, 3, id - 1); /* system_name */
        add_message(out, 5, part);
    }
    buf_free(&line);
}

static void write_pprof(struct str folded, unsigned hz, struct buf *out)
{
    struct names names = {0};
    struct buf part = {0};
    struct str rest = folded;
    struct profile_line s;
    uint64_t period_ns = 1000000000ULL / hz;
    uint64_t empty = (uint64_t)number_of(&names, STR("")); /* the first text has to be that one */
    uint64_t samples = (uint64_t)number_of(&names, STR("samples")),
             count = (uint64_t)number_of(&names, STR("count"));
    uint64_t wall = (uint64_t)number_of(&names, STR("wall")),
             ns = (uint64_t)number_of(&names, STR("nanoseconds"));
    (void)empty;
    add_value_type(out, 1, samples, count, &part);
    add_value_type(out, 1, wall, ns, &part);
    while (!out->failed && profile_next(&rest, &s)) {
        add_sample(out, &s, &names, period_ns, &part);
    }
    add_places(out, &names, &part);
    for (size_t i = 0; i < names.count; i++) {
        add_bytes(out, 6, names.list[i]);
    }
    add_number(out, 9, clock_wall_us() * 1000);
    add_value_type(out, 11, wall, ns, &part);
    add_number(out, 12, period_ns);
    out->failed |= part.failed;
    buf_free(&part);
    forget_names(&names);
}

/* -- folded -- */

static int by_stack(const void *a, const void *b)
{
    const struct profile_line *x = a, *y = b;
    size_t n = x->stack.n < y->stack.n ? x->stack.n : y->stack.n;
    int order = memcmp(x->stack.p, y->stack.p, n);
    return order ? order : x->stack.n < y->stack.n ? -1 : x->stack.n > y->stack.n;
}

/* Each stack once, in order. */
static void write_folded(struct str folded, struct buf *out)
{
    struct str rest = folded;
    struct profile_line *all = NULL, s;
    size_t count = 0, room = 0;
    while (profile_next(&rest, &s)) {
        if (count == room) {
            struct profile_line *larger = realloc(all, (room ? 2 * room : 256) * sizeof *all);
            if (!larger) {
                out->failed = true;
                break;
            }
            room = room ? 2 * room : 256;
            all = larger;
        }
        all[count++] = s;
    }
    if (count > 1) {
        qsort(all, count, sizeof *all, by_stack);
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t sum = all[i].count;
        while (i + 1 < count && str_eq(all[i].stack, all[i + 1].stack)) {
            sum += all[++i].count;
        }
        buf_str(out, all[i].stack);
        buf_printf(out, " %llu\n", (unsigned long long)sum);
    }
    free(all);
}

static bool too_many_lines(struct str folded)
{
    struct str line;
    size_t n = 0;
    while (folded.p && folded.n && n <= PROFILE_LINES_MAX && str_split(&folded, '\n', &line)) {
        n++;
    }
    return n > PROFILE_LINES_MAX;
}

void profile_write(struct str folded, enum profile_format format, unsigned hz, struct buf *out)
{
    if (too_many_lines(folded)) {
        out->failed = true;
        return;
    }
    switch (format) {
    case PROFILE_FOLDED: write_folded(folded, out); break;
    case PROFILE_SPEEDSCOPE: write_speedscope(folded, hz ? hz : 1, out); break;
    case PROFILE_PPROF: write_pprof(folded, hz ? hz : 1, out); break;
    }
}
