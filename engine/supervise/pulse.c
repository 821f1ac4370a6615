/* Does an engine process still react? Its control thread is asked every few seconds, but not while the
 * process rests: then a connection that nobody takes is the reason to ask (rest.c), so that an idle server
 * wakes nobody. One that is silent for SILENT_US is stopped, or its control thread hangs: it is replaced, and
 * connections that it has not taken go to its successor. Supervisor's thread.
 *
 * One that gets no processor is silent, too, and would lose requests if it were replaced for that. The kernel
 * counts how long threads have waited for a processor; while that is a large part of the time, it is waited
 * for. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/proc_file.h"
#include "engine/supervise/channel.h"
#include "engine/supervise/state.h"

#define ASK_US    (5 * CLOCK_US_PER_SECOND)
#define SILENT_US (10 * CLOCK_US_PER_SECOND)
#define AGAIN_US  (2 * CLOCK_US_PER_SECOND)  /* to the next look at one that waits for the processor */
#define MOST_US   (60 * CLOCK_US_PER_SECOND) /* however little it may run */
#define SHOWN_US  (3 * CLOCK_US_PER_SECOND)  /* a silence that others are told of */

/* -- what the kernel says -- */

static uint64_t thread_waited_ns(pid_t pid, const char *thread)
{
    char path[64], text[128];
    unsigned long long ran, waited;
    snprintf(path, sizeof(path), "/proc/%d/task/%.20s/schedstat", (int)pid, thread);
    return proc_file_read(path, text, sizeof(text)) && sscanf(text, "%llu %llu", &ran, &waited) == 2 ? waited
                                                                                                     : 0;
}

/* For the processor, all its threads together. */
static uint64_t waited_ns(pid_t pid)
{
    char path[64];
    uint64_t sum = 0;
    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    DIR *threads = opendir(path);
    const struct dirent *entry;
    while (threads && (entry = readdir(threads)) != NULL) {
        sum += entry->d_name[0] != '.' ? thread_waited_ns(pid, entry->d_name) : 0;
    }
    if (threads) {
        closedir(threads);
    }
    return sum;
}

/* Stopped by a debugger, it is somebody's concern already. */
static bool is_traced(pid_t pid)
{
    char path[64], text[256];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    const char *end = proc_file_read(path, text, sizeof(text)) ? strrchr(text, ')') : NULL;
    return end && end[1] == ' ' && end[2] == 't';
}

void pulse_look(struct child *child, uint64_t now)
{
    child->waited_ns = waited_ns(child->pid);
    child->looked_us = now;
}

bool pulse_starves(struct child *child, uint64_t now)
{
    uint64_t before = child->waited_ns, since = child->looked_us;
    pulse_look(child, now);
    uint64_t waited_us = child->waited_ns > before ? (child->waited_ns - before) / 1000 : 0;
    return waited_us > (now - since) / 4;
}

/* -- questions -- */

void pulse_heard(struct child *child)
{
    child->asked_us = child->judge_us = 0;
}

void pulse_ask(struct child *child)
{
    uint64_t now = clock_us();
    if (child->asked_us != 0 || child->channel < 0) {
        return;
    }
    child->asked_us = now;
    child->judge_us = now + SILENT_US;
    child->ask_us = now + ASK_US;
    /* If the channel is full it has not read for long, and its silence counts as well. */
    channel_send(child->channel, CHANNEL_ASK, 0, NULL, NULL, 0);
}

uint64_t pulse_silent_us(const struct child *child, uint64_t now)
{
    uint64_t silent = child->asked_us != 0 && now > child->asked_us ? now - child->asked_us : 0;
    return silent > SHOWN_US ? silent : 0;
}

/* A process of an earlier image may not know the question. */
static bool is_asked(const struct child *child)
{
    const struct generation *g = child->generation;
    return g->state == GENERATION_READY && !g->adopted && child->channel >= 0;
}

/* The first time it is only looked how long its threads have waited so far. */
static void judge(struct child *child, uint64_t now)
{
    char why[96];
    uint64_t silent = now - child->asked_us;
    bool first = child->looked_us < child->asked_us;
    if (first) {
        pulse_look(child, now);
    }
    if (first || (silent < MOST_US && (pulse_starves(child, now) || is_traced(child->pid)))) {
        child->judge_us = now + AGAIN_US;
        return;
    }
    snprintf(why, sizeof(why), "it has not reacted for %u s", (unsigned)(silent / CLOCK_US_PER_SECOND));
    pulse_heard(child);
    seat_lost(child->generation, why, now);
}

void pulse_tick(struct supervisor *s, uint64_t now)
{
    for (struct child *c = s->children, *next; c; c = next) {
        next = c->next; /* a successor is put in front */
        if (!is_asked(c)) {
            continue;
        }
        if (c->judge_us != 0 && now >= c->judge_us) {
            judge(c, now);
        } else if (!c->rests && now >= c->ask_us) {
            pulse_ask(c);
        }
    }
}

uint64_t pulse_next_us(const struct supervisor *s)
{
    uint64_t next = 0;
    for (const struct child *c = s->children; c; c = c->next) {
        uint64_t at = !is_asked(c) ? 0 : c->asked_us != 0 ? c->judge_us : c->rests ? 0 : c->ask_us;
        next = at != 0 && (next == 0 || at < next) ? at : next;
    }
    return next;
}
