/* See cron.h. The thread sleeps until the next command is due or one has ended; what is in struct job is its
 * own but for pid, which cron_terminate reads. It lives as long as its process. */
#include "engine/work/cron.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/at_exec.h"
#include "engine/base/cron_time.h"
#include "engine/base/log.h"

#define LATE_S      90 /* a command that is started later than this was missed */
#define LOOK_MOST_S 60 /* the clock may be set */
#define STACK_BYTES (256u << 10)

struct job {
    const char *name, *command;
    struct cron_time when;
    time_t due; /* -1: never */
    time_t began;
    _Atomic pid_t pid; /* 0 = it does not run */
    int pid_fd;
    struct task_note *runs, *times; /* of its name, and of what is due when; NULL = none */
};

struct cron {
    const char *pool;
    _Atomic bool *open, *draining;
    _Atomic bool starts; /* a command is on its way: neither a process yet nor left to the next process */
    pthread_t thread;
    time_t looked; /* when its thread last did */
    uint32_t count;
    struct job jobs[];
};

/* -- commands -- */

/* In the child: what a program is to find, whatever the server does with signals. */
_Noreturn static void become(const char *command)
{
    sigset_t none;

    setpgid(0, 0);          /* SIGTERM reaches all that it starts */
    at_exec_close_others(); /* what scripts of tasks have open at this moment */
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execl("/bin/sh", "sh", "-c", command, (char *)NULL);
    _exit(127);
}

static void start(const struct cron *cron, struct job *job, time_t now)
{
    char due[32];
    struct tm at;

    strftime(due, sizeof(due), "%H:%M", localtime_r(&job->due, &at));
    if (!task_note_take(job->times, job->due, now)) { /* the process that we replace had it, or a later one */
        return;
    }
    if (job->pid || task_note_running(job->runs)) {
        log_warning("[pool %s] cron %s: still running%s, the run of %s is missed", cron->pool, job->name,
                    job->pid ? "" : ", begun by an earlier process", due);
        return;
    }
    if (now - job->due > LATE_S) {
        log_warning("[pool %s] cron %s: the run of %s was missed, it is started now", cron->pool, job->name,
                    due);
    }
    pid_t pid = fork();

    if (pid == 0) {
        become(job->command);
    }
    if (pid < 0) {
        log_sys(LEVEL_ERROR, "[pool %s] cron %s cannot be started", cron->pool, job->name);
        return;
    }
    setpgid(pid, pid); /* whoever is first */
    task_note_runs(job->runs, pid);
    job->began = now;
    job->pid_fd = (int)syscall(SYS_pidfd_open, pid, 0);
    atomic_store(&job->pid, pid);
    log_notice("[pool %s] cron %s: started", cron->pool, job->name);
}

static void look_after(const struct cron *cron, struct job *job, time_t now)
{
    int status;

    if (!job->pid || waitpid(job->pid, &status, WNOHANG) <= 0) {
        return;
    }
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0;

    task_note_ended(job->runs, job->pid);
    atomic_store(&job->pid, 0);
    if (job->pid_fd >= 0) {
        close(job->pid_fd);
    }
    log_write(good ? LEVEL_NOTICE : LEVEL_WARNING, __func__, __LINE__,
              "[pool %s] cron %s: ended with %s %d after %lld s", cron->pool, job->name,
              WIFSIGNALED(status) ? "signal" : "code",
              WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), (long long)(now - job->began));
}

/* -- the thread -- */

/* Else nothing would be due before the clock shows again what it has shown. */
static void follow_clock(struct cron *cron, time_t now)
{
    for (uint32_t i = 0; now < cron->looked && i < cron->count; i++) {
        struct job *job = &cron->jobs[i];

        job->due = cron_time_next(&job->when, now);
    }
    cron->looked = now;
}

static void turn(struct cron *cron)
{
    time_t now = time(NULL);

    follow_clock(cron, now);
    for (uint32_t i = 0; i < cron->count; i++) {
        struct job *job = &cron->jobs[i];

        look_after(cron, job, now);
        if (job->due < 0 || now < job->due || !atomic_load(cron->open)) {
            continue;
        }
        atomic_store(&cron->starts, true);  /* first: who drains looks at these two the other way round */
        if (!atomic_load(cron->draining)) { /* else it is the next process's */
            start(cron, job, now);
        }
        atomic_store(&cron->starts, false);
        job->due = cron_time_next(&job->when, now);
    }
}

static void wait_turn(const struct cron *cron, struct pollfd *fds)
{
    time_t now = time(NULL), next = now + LOOK_MOST_S;

    for (uint32_t i = 0; i < cron->count; i++) {
        const struct job *job = &cron->jobs[i];

        fds[i] = (struct pollfd){.fd = job->pid ? job->pid_fd : -1, .events = POLLIN};
        next = job->due >= 0 && job->due < next ? job->due : next;
        if (job->pid && job->pid_fd < 0) { /* an old kernel: we look */
            next = now + 1;
        }
    }
    if (next <= now && !atomic_load(cron->open)) {
        next = now + 1;
    }
    poll(fds, cron->count, next > now ? (int)(next - now) * 1000 : 0);
}

static void *run(void *arg)
{
    struct cron *cron = arg;
    struct pollfd *fds = calloc(cron->count, sizeof(*fds));

    log_as_server = true;

    while (fds) {
        wait_turn(cron, fds);
        turn(cron);
    }
    log_error("[pool %s] cron: out of memory", cron->pool);
    return NULL;
}

static int start_thread(struct cron *cron)
{
    pthread_attr_t attributes;
    sigset_t all, before;

    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int error = pthread_create(&cron->thread, &attributes, run, cron);

    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return error;
}

/* What was due while no process took it comes first. */
static void prepare(struct job *job, const struct setting_pair *pair, struct task_notes *notes, time_t now)
{
    struct str text = str_of(pair->value);

    job->name = pair->key;
    job->due = -1;
    job->runs = task_note_find(notes, "cron", pair->key, 0);
    job->times = task_note_find(notes, pair->key, pair->value, 1);
    if (cron_time_read(&job->when, &text)) {
        time_t last = job->times ? atomic_load(&job->times->due) : 0;

        job->due = cron_time_next(&job->when, last > 0 && last < now ? last : now);
    }
    job->command = text.p;
}

struct cron *cron_start(const char *pool, const struct setting_pair *pairs, struct task_notes *notes,
                        _Atomic bool *open, _Atomic bool *draining)
{
    uint32_t count = 0;
    time_t now = time(NULL);

    for (const struct setting_pair *p = pairs; p; p = p->next) {
        count++;
    }
    struct cron *cron = calloc(1, sizeof(*cron) + count * sizeof(struct job));

    if (!cron) {
        log_error("[pool %s] cron: out of memory", pool);
        return NULL;
    }
    *cron = (struct cron){.pool = pool, .open = open, .draining = draining};
    for (const struct setting_pair *p = pairs; p; p = p->next) {
        prepare(&cron->jobs[cron->count++], p, notes, now);
    }
    int error = start_thread(cron);

    if (error) {
        log_error("[pool %s] cron gets no thread: %s", pool, strerror(error));
        free(cron);
        return NULL;
    }
    return cron;
}

/* -- others -- */

uint32_t cron_running(const struct cron *cron)
{
    uint32_t running = cron && atomic_load(&cron->starts);

    for (uint32_t i = 0; cron && i < cron->count; i++) {
        running += atomic_load(&cron->jobs[i].pid) != 0;
    }
    return running;
}

void cron_terminate(struct cron *cron)
{
    for (uint32_t i = 0; cron && i < cron->count; i++) {
        pid_t pid = atomic_load(&cron->jobs[i].pid);

        if (pid > 0) {
            kill(-pid, SIGTERM);
        }
    }
}
