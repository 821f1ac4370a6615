/* What the supervisor answers when an engine process asks (lookout.h): numbers, what is remembered, orders.
 * Supervisor's thread; it waits for nobody. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/log.h"
#include "engine/supervise/closer.h"
#include "engine/supervise/lookout.h"
#include "engine/supervise/state.h"

bool member_shows_all(const struct member *m)
{
    void *in;
    const struct setting_row *row = m->conf ? pool_setting(m->conf, "http.internal_listen", &in) : NULL;
    const char *text = row ? *(char *const *)((const char *)in + row->offset) : NULL;
    return text && *text;
}

static void answer_view(const struct child *child, const struct lookout_question *q)
{
    const struct member *m = child->member;
    bool ours = strcmp(q->layout, view_layout()) == 0;
    struct view *view = ours ? boards_view(m->supervisor, member_shows_all(m) ? NULL : m) : NULL;
    int fd = view ? view_save(view) : -1;
    lookout_answer(child->lookout, q, 0, fd);
    if (fd >= 0) {
        close(fd);
    }
    view_free(view);
}

/* Texts are sealed as views are. */
static int save_text(const struct buf *text)
{
    int fd = text->failed ? -1 : memfd_create("text", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd >= 0 && (write(fd, text->p, text->n) != (ssize_t)text->n ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static void answer_text(const struct child *child, const struct lookout_question *q)
{
    const struct member *m = child->member, *only = member_shows_all(m) ? NULL : m;
    struct buf text = {.limit = LOOKOUT_TEXT_MAX};
    if (q->kind == LOOKOUT_HISTORY) {
        story_history(m->supervisor, only, &text);
    } else {
        story_scripts(m->supervisor, only, &text);
    }
    int fd = save_text(&text);
    lookout_answer(child->lookout, q, 0, fd);
    if (fd >= 0) {
        close(fd);
    }
    buf_free(&text);
}

/* In a time that tells nothing of where they differ. */
static bool is_token(const char *said, const char *token)
{
    size_t n = strlen(token), differ = strlen(said) ^ n;
    for (size_t i = 0; i < n; i++) {
        differ |= (size_t)(unsigned char)(said[i % (strlen(said) + 1)] ^ token[i]);
    }
    return n > 0 && differ == 0;
}

/* A process is a peer: that it asks is worth nothing, the token that somebody has told it is. */
static void answer_order(const struct child *child, const struct lookout_question *q)
{
    const struct member *m = child->member;
    struct supervisor *s = m->supervisor;
    const char *token = m->conf ? pool_setting_text(m->conf, "http.internal_token") : NULL;
    struct member *named = member_find(s, q->pool);
    bool may = token && member_shows_all(m) && is_token(q->token, token) && s->phase == PHASE_RUNNING;
    if (may && q->kind == LOOKOUT_RELOAD) {
        log_notice("[pool %s] a reload was asked for on its page", m->name);
        s->reload_wanted = true;
    } else if (may && named && named->conf) {
        for (int i = 0; i < named->seat_count; i++) {
            seat_swap(&named->seats[i], "asked for on the dashboard", clock_us());
        }
    } else {
        may = false;
    }
    lookout_answer(child->lookout, q, may, -1);
}

/* Whoever shows all pools may look at all of them, others at themselves. */
static void answer_profile(const struct child *child, const struct lookout_question *q)
{
    const struct member *m = child->member;
    const char *pool = member_shows_all(m) ? q->pool : m->name;
    int fd = profiling_begin(m->supervisor, pool, q->seconds, q->hz);
    lookout_answer(child->lookout, q, 0, fd);
    if (fd >= 0) {
        close(fd);
    }
}

static void answer_talker(struct child *child, const struct lookout_question *q)
{
    int fd = talker_pipe(child, q->stream == OUTPUT_STDOUT ? OUTPUT_STDOUT : OUTPUT_STDERR, q->worker);
    lookout_answer(child->lookout, q, 0, fd);
    child_close_fd(&fd);
}

/* No pool counts for more than it may have. */
static uint64_t count_workers(const struct member *m)
{
    uint64_t processes = m->conf && m->conf->s.processes > 0 ? (uint64_t)m->conf->s.processes : 1;
    uint64_t most = m->conf ? (uint64_t)m->conf->s.max_children * processes : 0, count = 0;
    for (const struct child *c = m->supervisor->children; c; c = c->next) {
        struct board_source from = board_of(c);
        count += c->member == m && !from.draining ? board_workers(&from) : 0;
    }
    return count < most ? count : most;
}

static uint64_t count_others(const struct member *asking)
{
    uint64_t count = 0;
    for (const struct member *m = asking->supervisor->members; m; m = m->next) {
        count += m != asking ? count_workers(m) : 0;
    }
    return count;
}

void child_ask(struct child *child)
{
    struct lookout_question q;
    int rc = lookout_hear(child->lookout, &q);
    if (rc < 0) {
        closer_end_socket(&child->lookout);
    } else if (rc > 0 && q.kind == LOOKOUT_WORKERS) {
        lookout_answer(child->lookout, &q, count_others(child->member), -1);
    } else if (rc > 0 && (q.kind == LOOKOUT_HISTORY || q.kind == LOOKOUT_SCRIPTS)) {
        answer_text(child, &q);
    } else if (rc > 0 && q.kind == LOOKOUT_TALKER) {
        answer_talker(child, &q);
    } else if (rc > 0 && q.kind == LOOKOUT_PROFILE) {
        answer_profile(child, &q);
    } else if (rc > 0 && (q.kind == LOOKOUT_RESTART || q.kind == LOOKOUT_RELOAD)) {
        answer_order(child, &q);
    } else if (rc > 0) {
        answer_view(child, &q);
    }
}
