/* The last hour's samples. See the header.
 *
 * Stacks have much in common, so a step is a tree: a node is a name below another node, and a name is kept
 * once. Only the step of this moment has the tables by which both are found; nothing is taken out of a step,
 * it is thrown away as a whole. */
#include "engine/supervise/profile_hour.h"

#include <stdlib.h>
#include <string.h>

#include "engine/base/hash.h"
#include "engine/base/profile_format.h"

#define SLOTS       (2 * HOUR_NODES)
#define NAME_SLOTS  (2 * HOUR_NAMES)
#define PROBES_MAX  32 /* what is seen chooses its names: not those that take for ever to find */
#define FEW_NODES   (HOUR_NODES / 2) /* so many may differ by their URL alone */
#define FRAMES_MAX  160
#define LINE_MAX    4096
#define TEXT_MAX    (2u << 20) /* of a step as it is written */
#define TEXT_REST   (1u << 20) /* of what may be written: for what is left of every step */
#define OTHER_URLS  STR("(other URLs)")
#define OTHER_STACK STR("cpu;(other stacks)")

struct node {
    uint32_t count;
    uint16_t parent, name; /* of node 0, which is no node, neither is used */
};

struct name {
    uint32_t at;
    uint16_t size;
};

/* Of numbers: of nodes as they are, of names one more; 0 = free. */
struct tables {
    uint16_t nodes[SLOTS], names[NAME_SLOTS];
};

struct step {
    uint64_t number; /* of all steps of the clock; 0 = free */
    uint64_t others;
    struct node *nodes;
    struct name *names;
    uint16_t node_count, node_size, name_count, name_size; /* size: there is room for */
    struct buf text;                                       /* the names, one behind the other */
    struct tables *tables;                                 /* NULL: it is over */
};

struct profile_hour {
    struct step steps[HOUR_STEPS];
};

/* -- a step -- */

static void drop_step(struct step *s)
{
    free(s->nodes);
    free(s->names);
    free(s->tables);
    buf_free(&s->text);
    *s = (struct step){0};
}

static bool begin_step(struct step *s, uint64_t number)
{
    drop_step(s);
    s->tables = calloc(1, sizeof(*s->tables));
    s->node_size = s->name_size = 64;
    s->nodes = calloc(s->node_size, sizeof(*s->nodes));
    s->names = calloc(s->name_size, sizeof(*s->names));
    s->node_count = 1;
    s->number = number;
    s->text.wiped = true; /* engine processes are copies of us, as below */
    if (!s->tables || !s->nodes || !s->names) {
        drop_step(s);
    }
    return s->number != 0;
}

static void end_step(struct step *s)
{
    free(s->tables);
    s->tables = NULL;
}

/* Room for one more of a list that doubles. */
static bool grow(void **list, uint16_t count, uint16_t *size, size_t most, size_t bytes)
{
    if (count < *size) {
        return true;
    }
    size_t next = (size_t)*size * 2 < most ? (size_t)*size * 2 : most;
    void *grown = count < next ? realloc(*list, next * bytes) : NULL;
    if (grown) {
        *list = grown;
        *size = (uint16_t)next;
    }
    return grown != NULL;
}

static struct str name_of(const struct step *s, uint16_t name)
{
    return (struct str){s->text.p + s->names[name].at, s->names[name].size};
}

/* -1: there is no room for another one. */
static int find_name(struct step *s, struct str name)
{
    uint16_t *table = s->tables->names;
    size_t i = hash_str(name, 0) % NAME_SLOTS, at = s->text.n;
    void *list = s->names;
    int probes = 0;
    for (; table[i] && probes < PROBES_MAX; i = (i + 1) % NAME_SLOTS, probes++) {
        if (str_eq(name_of(s, (uint16_t)(table[i] - 1)), name)) {
            return table[i] - 1;
        }
    }
    bool room = probes < PROBES_MAX && name.n > 0 && at + name.n <= HOUR_BYTES &&
                grow(&list, s->name_count, &s->name_size, HOUR_NAMES, sizeof(*s->names));
    s->names = list;
    if (room) {
        buf_str(&s->text, name);
        room = !s->text.failed;
        s->text.failed = false;
    }
    if (!room) {
        return -1;
    }
    s->names[s->name_count] = (struct name){(uint32_t)at, (uint16_t)name.n};
    table[i] = ++s->name_count;
    return s->name_count - 1;
}

/* A clock that is set back is not believed, but it is where it went wrong before, as at the machine's start.
 */
static void forget_future(struct profile_hour *hour, uint64_t number)
{
    for (int i = 0; i < HOUR_STEPS; i++) {
        if (hour->steps[i].number > number + 2 * HOUR_STEPS) {
            drop_step(&hour->steps[i]);
        }
    }
}

/* The step of that moment; NULL: it is over, or there is no memory. */
static struct step *step_at(struct profile_hour *hour, uint64_t now_s)
{
    uint64_t number = now_s / HOUR_STEP_S;
    struct step *s = &hour->steps[number % HOUR_STEPS];
    forget_future(hour, number);
    if (s->number < number) {
        for (int i = 0; i < HOUR_STEPS; i++) {
            if (hour->steps[i].number + HOUR_STEPS <= number) {
                drop_step(&hour->steps[i]);
            }
            end_step(&hour->steps[i]);
        }
        begin_step(s, number);
    }
    return s->number == number && s->tables ? s : NULL;
}

/* 0: there is none, and none can be made. */
static uint16_t child_of(struct step *s, uint16_t parent, uint16_t name, uint16_t most)
{
    uint16_t *table = s->tables->nodes;
    size_t i = ((size_t)parent * 40503u + (size_t)name * 2654435761u) % SLOTS;
    void *list = s->nodes;
    int probes = 0;
    for (; table[i] && probes < PROBES_MAX; i = (i + 1) % SLOTS, probes++) {
        const struct node *n = &s->nodes[table[i]];
        if (n->parent == parent && n->name == name) {
            return table[i];
        }
    }
    bool room = probes < PROBES_MAX && s->node_count < most &&
                grow(&list, s->node_count, &s->node_size, HOUR_NODES, sizeof(*s->nodes));
    s->nodes = list;
    if (!room) {
        return 0;
    }
    s->nodes[s->node_count] = (struct node){.parent = parent, .name = name};
    table[i] = s->node_count;
    return s->node_count++;
}

/* The node of that stack; 0: it has no place. url: what the second frame is called. */
static uint16_t find_stack(struct step *s, struct str stack, struct str url, uint16_t most)
{
    struct str frame;
    uint16_t at = 0;
    for (int i = 0; stack.p && i < FRAMES_MAX && str_split(&stack, ';', &frame); i++) {
        int name = find_name(s, i == 1 && url.n ? url : frame);
        at = name >= 0 ? child_of(s, at, (uint16_t)name, most) : 0;
        if (at == 0) {
            return 0;
        }
    }
    return at;
}

static void add_line(struct step *s, const struct profile_line *line)
{
    uint64_t count = line->count < UINT32_MAX / 2 ? line->count : UINT32_MAX / 2;
    uint16_t at = 0;
    if (line->stack.n <= LINE_MAX) {
        at = find_stack(s, line->stack, STR_NONE, FEW_NODES);
        at = at ? at : find_stack(s, line->stack, OTHER_URLS, HOUR_NODES);
    }
    if (at == 0) {
        s->others += count;
    } else {
        uint32_t room = UINT32_MAX - s->nodes[at].count;
        s->nodes[at].count += count < room ? (uint32_t)count : room;
    }
}

static void add_lines(struct step *s, struct str folded)
{
    struct profile_line line;
    while (profile_next(&folded, &line)) {
        add_line(s, &line);
    }
}

/* -- writing -- */

static void write_node(const struct step *s, uint16_t node, struct buf *out)
{
    uint16_t path[FRAMES_MAX];
    size_t n = 0;
    for (uint16_t at = node; at != 0 && n < FRAMES_MAX; at = s->nodes[at].parent) {
        path[n++] = s->nodes[at].name;
    }
    while (n > 0) {
        n--;
        buf_str(out, name_of(s, path[n]));
        buf_text(out, n > 0 ? ";" : " ");
    }
    buf_printf(out, "%u\n", s->nodes[node].count);
}

static bool has_room(const struct buf *out, size_t from)
{
    return out->n - from < TEXT_MAX && (out->limit == 0 || out->n + TEXT_REST < out->limit);
}

static void write_step(const struct step *s, struct buf *out)
{
    uint64_t others = s->others;
    size_t from = out->n;
    for (uint16_t i = 1; i < s->node_count; i++) {
        if (s->nodes[i].count > 0 && has_room(out, from)) {
            write_node(s, i, out);
        } else {
            others += s->nodes[i].count;
        }
    }
    if (others > 0) {
        buf_str(out, OTHER_STACK);
        buf_printf(out, " %llu\n", (unsigned long long)others);
    }
}

void profile_hour_write(const struct profile_hour *hour, uint64_t since_s, struct buf *out)
{
    for (int i = 0; i < HOUR_STEPS; i++) {
        const struct step *s = &hour->steps[i];
        if (s->number && (s->number + 1) * HOUR_STEP_S > since_s) {
            write_step(s, out);
        }
    }
}

void profile_hour_save(const struct profile_hour *hour, struct buf *out)
{
    for (int i = 0; i < HOUR_STEPS; i++) {
        const struct step *s = &hour->steps[i];
        struct buf lines = {.wiped = true};
        if (s->number) {
            write_step(s, &lines);
            buf_printf(out, "step %llu %zu\n", (unsigned long long)s->number, lines.n);
            buf_str(out, (struct str){lines.p ? lines.p : "", lines.n});
        }
        out->failed |= lines.failed;
        buf_free(&lines);
    }
}

/* What stands behind "step ", and the lines that follow it. False: the end, or damage. */
static bool next_step(struct str *text, uint64_t *number, struct str *lines)
{
    struct str head, word;
    uint64_t n;
    if (!text->p || !str_split(text, '\n', &head) || !str_starts(head, STR("step "))) {
        return false;
    }
    head = (struct str){head.p + 5, head.n - 5};
    if (!str_split(&head, ' ', &word) || !str_to_u64(word, number) || !str_to_u64(head, &n) ||
        n > (text->p ? text->n : 0)) {
        return false;
    }
    *lines = (struct str){text->p, (size_t)n};
    *text = text->p ? (struct str){text->p + n, text->n - (size_t)n} : *text;
    return true;
}

void profile_hour_load(struct profile_hour *hour, uint64_t now_s, struct str text)
{
    uint64_t number, now = now_s / HOUR_STEP_S;
    struct str lines;
    while (next_step(&text, &number, &lines)) {
        struct step *s = &hour->steps[number % HOUR_STEPS];
        if (number <= now && number + HOUR_STEPS > now && s->number == 0 && begin_step(s, number)) {
            add_lines(s, lines);
            if (number < now) {
                end_step(s);
            }
        }
    }
}

/* -- life -- */

struct profile_hour *profile_hour_create(void)
{
    return calloc(1, sizeof(struct profile_hour));
}

void profile_hour_free(struct profile_hour *hour)
{
    for (int i = 0; hour && i < HOUR_STEPS; i++) {
        drop_step(&hour->steps[i]);
    }
    free(hour);
}

void profile_hour_wipe(struct profile_hour *hour)
{
    for (int i = 0; hour && i < HOUR_STEPS; i++) {
        if (hour->steps[i].text.p) {
            explicit_bzero(hour->steps[i].text.p, hour->steps[i].text.n);
        }
    }
}

void profile_hour_add(struct profile_hour *hour, uint64_t now_s, struct str folded)
{
    struct step *s = step_at(hour, now_s);
    if (s) {
        add_lines(s, folded);
    }
}
