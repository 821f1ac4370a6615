/* What the processes of a pool's tasks leave to each other, in a memory file that the supervisor makes, keeps
 * over reloads and never reads: which run of a command was the last one and whether it still runs, and how
 * often a script has crashed. A process that replaces another one goes on from there.
 *
 * Several processes use it at once: all fields are atomic, and each note is found by its name. The pool's
 * user can write what he likes into it; he harms his own tasks. */
#ifndef ENGINE_WORK_TASK_NOTES_H
#define ENGINE_WORK_TASK_NOTES_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct task_note {
    _Atomic uint64_t name; /* a hash; 0 = free */
    /* Of a command: the last moment that somebody took it on himself to start it, and what runs. */
    _Atomic int64_t due;
    _Atomic uint64_t began; /* the process's, as the kernel counts; 0 = unknown */
    _Atomic pid_t pid;      /* leads a group of its own; 0 = it does not run */
    /* Of a script: */
    _Atomic uint32_t short_runs;    /* in a row, its crashes among them */
    _Atomic uint64_t not_before_us; /* of clock_us(): after a crash */
};

struct task_notes;

int task_notes_file(void); /* close-on-exec, sealed: its size stays; -1 with errno */
/* For the life of the process. NULL, also for fd = -1: there are none. */
struct task_notes *task_notes_open(int fd);
/* The note of this name (two texts and a number), made if there is none. NULL: no place, or no notes. */
struct task_note *task_note_find(struct task_notes *notes, const char *kind, const char *name,
                                 uint64_t number);

void task_note_runs(struct task_note *note, pid_t pid); /* a process that was just started; NULL-safe */
void task_note_ended(struct task_note *note, pid_t pid);
/* The process that still runs, also if another engine process has started it; 0 = none. */
pid_t task_note_running(const struct task_note *note);
/* False: somebody has taken this run on himself already. */
bool task_note_take(struct task_note *note, int64_t due, int64_t now);

#endif
