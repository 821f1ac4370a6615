/* The last hour. See the header. A server that rests is not looked at: its steps are those that are not
 * there, and whoever draws them draws nothing. */
#include "engine/supervise/story.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/proc_file.h"
#include "engine/supervise/inherited.h"
#include "engine/supervise/state.h"

#define STEP_US (STORY_STEP_S * CLOCK_US_PER_SECOND)

/* What a step's numbers are counted from. */
struct story_mark {
    bool known;
    uint64_t requests, classes[4], rejected, crashes;
    struct histogram_sum durations;
};

/* -- life -- */

static void set_layout(struct story *story)
{
    snprintf(story->layout, sizeof(story->layout), "story-1-%zu", sizeof(*story));
}

static bool load(struct story *story, int fd)
{
    struct story *left = xcalloc(1, sizeof(*left));
    bool good = pread(fd, left, sizeof(*left), 0) == (ssize_t)sizeof(*left) &&
                strncmp(left->layout, story->layout, sizeof(story->layout)) == 0 &&
                left->next < STORY_STEPS && left->count <= STORY_STEPS && left->scripts.count <= SCRIPT_FACTS;
    if (good) {
        *story = *left;
    }
    free(left);
    return good;
}

static void open_one(struct member *m)
{
    int fd = inherited_story(m->name);
    m->story = xcalloc(1, sizeof(*m->story));
    m->mark = xcalloc(1, sizeof(*m->mark));
    m->mark->known = !inherited();
    set_layout(m->story);
    if (fd >= 0) {
        if (load(m->story, fd)) {
            keeping_load(m, fd, sizeof(*m->story));
        }
        close(fd);
    }
}

void story_open(struct supervisor *s)
{
    for (struct member *m = s->members; m; m = m->next) {
        open_one(m);
    }
}

int story_save(const struct story *story)
{
    int fd = memfd_create("story", MFD_CLOEXEC);
    if (fd >= 0 && write(fd, story, sizeof(*story)) != (ssize_t)sizeof(*story)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* -- a step -- */

static uint32_t small(uint64_t n)
{
    return n < UINT32_MAX ? (uint32_t)n : UINT32_MAX;
}

static uint64_t since(uint64_t now, uint64_t before)
{
    return now > before ? now - before : 0;
}

static uint64_t resident_mb(const struct member *m)
{
    uint64_t pages = 0;
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        char path[64], text[128];
        unsigned long long size, resident;
        snprintf(path, sizeof(path), "/proc/%d/statm", (int)c->pid);
        if (c->member == m && proc_file_read(path, text, sizeof(text)) &&
            sscanf(text, "%llu %llu", &size, &resident) == 2) {
            pages += resident;
        }
    }
    return pages * (uint64_t)sysconf(_SC_PAGESIZE) >> 20;
}

static void add_percentiles(struct story_step *step, const struct histogram_sum *now,
                            struct histogram_sum *before)
{
    struct histogram_sum recent = {0};
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        recent.buckets[i] = since(now->buckets[i], before->buckets[i]);
        recent.count += recent.buckets[i];
    }
    step->p50_us = small(histogram_percentile(&recent, 50));
    step->p95_us = small(histogram_percentile(&recent, 95));
    step->p99_us = small(histogram_percentile(&recent, 99));
    *before = *now;
}

static struct story_step measure(struct member *m, const struct pool_view *pool)
{
    const struct metrics_sum *sum = &pool->sum;
    struct story_mark *mark = m->mark;
    uint64_t classes[4] = {0};
    struct story_step step = {
        .at = (uint32_t)(clock_wall_us() / CLOCK_US_PER_SECOND),
        .requests = small(since(sum->requests, mark->requests)),
        .busy = pool->active,
        .workers = pool->active + pool->idle,
        .pending = small(sum->pending > 0 ? (uint64_t)sum->pending : 0),
        .connections = small(sum->connections > 0 ? (uint64_t)sum->connections : 0),
        .memory_mb = small(resident_mb(m)),
        .rejected = small(since(sum->totals[TOTAL_REJECTED], mark->rejected)),
        .crashes = small(since(sum->totals[TOTAL_CRASHES], mark->crashes)),
    };
    for (int s = 200; s <= METRICS_STATUS_MAX; s++) {
        classes[s / 100 - 2] += sum->statuses[s - METRICS_STATUS_MIN];
    }
    for (int i = 0; i < 4; i++) {
        step.classes[i] = small(since(classes[i], mark->classes[i]));
        mark->classes[i] = classes[i];
    }
    add_percentiles(&step, &sum->histograms[HISTOGRAM_DURATION], &mark->durations);
    mark->requests = sum->requests;
    mark->rejected = sum->totals[TOTAL_REJECTED];
    mark->crashes = sum->totals[TOTAL_CRASHES];
    return step;
}

/* True: something happened in it. */
static bool take_step(struct member *m)
{
    struct view *view = boards_view(m->supervisor, m);
    bool happened = false;
    if (view && view->pool_count == 1) {
        bool known = m->mark->known;
        struct story_step step = measure(m, &view->pools[0]);
        m->mark->known = true;
        happened = !known || step.requests || step.busy || step.rejected || step.crashes;
        if (known) {
            m->story->steps[m->story->next] = step;
            m->story->next = (m->story->next + 1) % STORY_STEPS;
            m->story->count += m->story->count < STORY_STEPS;
        }
    }
    view_free(view);
    return happened;
}

static bool all_rest(const struct supervisor *s)
{
    for (const struct child *c = s->children; c; c = c->next) {
        if (!c->rests) {
            return false;
        }
    }
    return true;
}

/* After the last step in which something happened there is one more, so that a line comes down to zero. */
void story_tick(struct supervisor *s, uint64_t now)
{
    if (s->phase == PHASE_LAUNCHING || now < s->story_us || (all_rest(s) && !s->story_open)) {
        return;
    }
    bool happened = false;
    for (struct member *m = s->members; m; m = m->next) {
        happened |= m->story && m->conf && take_step(m);
    }
    keeping_tick(s);
    s->story_open = happened;
    s->story_us = now + STEP_US;
}

uint64_t story_next_us(const struct supervisor *s)
{
    return s->phase == PHASE_LAUNCHING || (all_rest(s) && !s->story_open) ? 0 : s->story_us;
}

/* -- telling -- */

static void add_steps(struct buf *out, const struct story *story)
{
    for (uint32_t i = 0; i < story->count; i++) {
        const struct story_step *t =
            &story->steps[(story->next + STORY_STEPS - story->count + i) % STORY_STEPS];
        const uint32_t numbers[] = {t->requests, t->classes[0],  t->classes[1], t->classes[2], t->classes[3],
                                    t->p50_us,   t->p95_us,      t->p99_us,     t->busy,       t->workers,
                                    t->pending,  t->connections, t->memory_mb,  t->rejected,   t->crashes};
        buf_printf(out, "%s[%u", i ? "," : "", t->at);
        for (size_t k = 0; k < sizeof(numbers) / sizeof(*numbers); k++) {
            buf_printf(out, ",%u", numbers[k]);
        }
        buf_text(out, "]");
    }
}

void story_history(const struct supervisor *s, const struct member *only, struct buf *out)
{
    bool first = true;
    buf_printf(out,
               "{\"step\":%d,\"now\":%llu,\"fields\":[\"at\",\"requests\",\"2xx\",\"3xx\",\"4xx\",\"5xx\","
               "\"p50_us\",\"p95_us\",\"p99_us\",\"busy\",\"workers\",\"pending\",\"connections\","
               "\"memory_mb\",\"rejected\",\"crashes\"],\"pools\":[",
               STORY_STEP_S, (unsigned long long)(clock_wall_us() / CLOCK_US_PER_SECOND));
    for (const struct member *m = s->members; m; m = m->next) {
        if (m->story && m->conf && (!only || m == only)) {
            buf_text(out, first ? "{\"name\":\"" : ",{\"name\":\"");
            buf_json(out, str_of(m->name));
            buf_text(out, "\",\"steps\":[");
            add_steps(out, m->story);
            buf_text(out, "]}");
            first = false;
        }
    }
    buf_text(out, "]}\n");
}

static int slowest_first(const void *a, const void *b)
{
    const struct script_fact *x = a, *y = b;
    return x->max_us != y->max_us ? (x->max_us < y->max_us ? 1 : -1) : x->errors < y->errors ? 1 : -1;
}

/* The caller's; NULL: out of memory. */
static struct script_facts *gather(const struct member *m)
{
    struct script_facts *all = malloc(sizeof(*all));
    if (!all) {
        return NULL;
    }
    *all = m->story->scripts;
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        if (c->member == m) {
            boards_add_scripts(c, all);
        }
    }
    qsort(all->facts, all->count, sizeof(*all->facts), slowest_first);
    return all;
}

static void add_fact(struct buf *out, const struct script_fact *f)
{
    buf_text(out, "{\"script\":\"");
    buf_json(out, str_of(f->script));
    buf_text(out, "\",\"uri\":\"");
    buf_json(out, str_of(f->uri));
    buf_printf(out,
               "\",\"requests\":%llu,\"total_us\":%llu,\"max_us\":%llu,\"errors\":%llu,\"seen\":%llu,"
               "\"message\":\"",
               (unsigned long long)f->requests, (unsigned long long)f->total_us,
               (unsigned long long)f->max_us, (unsigned long long)f->errors,
               (unsigned long long)(f->seen_wall_us / CLOCK_US_PER_SECOND));
    buf_json(out, str_of(f->message));
    buf_text(out, "\"}");
}

void story_scripts(const struct supervisor *s, const struct member *only, struct buf *out)
{
    bool first = true;
    buf_text(out, "{\"pools\":[");
    for (const struct member *m = s->members; m; m = m->next) {
        struct script_facts *all = m->story && m->conf && (!only || m == only) ? gather(m) : NULL;
        if (all) {
            buf_text(out, first ? "{\"name\":\"" : ",{\"name\":\"");
            buf_json(out, str_of(m->name));
            buf_text(out, "\",\"scripts\":[");
            for (uint32_t i = 0; i < all->count; i++) {
                buf_text(out, i ? "," : "");
                add_fact(out, &all->facts[i]);
            }
            buf_text(out, "]}");
            first = false;
        }
        free(all);
    }
    buf_text(out, "]}\n");
}

static void add_plain(struct buf *out, const char *text)
{
    for (; *text; text++) {
        buf_add(out, *text >= 0x20 && *text < 0x7f ? text : "?", 1);
    }
}

void story_lines(const struct supervisor *s, struct buf *out)
{
    for (const struct member *m = s->members; m; m = m->next) {
        struct script_facts *all = m->story && m->conf ? gather(m) : NULL;
        for (uint32_t i = 0; all && i < all->count; i++) {
            const struct script_fact *f = &all->facts[i];
            buf_text(out, "script\t");
            add_plain(out, m->name);
            buf_printf(out, "\t%llu\t%llu\t%llu\t%llu\t", (unsigned long long)f->requests,
                       (unsigned long long)f->total_us, (unsigned long long)f->max_us,
                       (unsigned long long)f->errors);
            add_plain(out, f->script);
            buf_text(out, "\t");
            add_plain(out, f->uri);
            buf_text(out, "\t");
            add_plain(out, f->message);
            buf_text(out, "\n");
        }
        free(all);
    }
}
