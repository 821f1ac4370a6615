/* See task_notes.h. */
#include "engine/work/task_notes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/hash.h"
#include "engine/base/proc_file.h"

#define NOTES 1024 /* names that come and go with reloads stay */
#define SEED  1    /* the same in all processes; names are the configuration's */

struct task_notes {
    struct task_note notes[NOTES];
};

int task_notes_file(void)
{
    int fd = memfd_create("task-notes", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    if (fd >= 0 && (ftruncate(fd, sizeof(struct task_notes)) != 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)) {
        close(fd);
        fd = -1;
    }
    return fd;
}

struct task_notes *task_notes_open(int fd)
{
    struct stat st;

    if (fd < 0 || fstat(fd, &st) != 0 || st.st_size != sizeof(struct task_notes)) {
        return NULL;
    }
    void *place = mmap(NULL, sizeof(struct task_notes), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    return place == MAP_FAILED ? NULL : place;
}

struct task_note *task_note_find(struct task_notes *notes, const char *kind, const char *name,
                                 uint64_t number)
{
    uint64_t hash = hash_str(str_of(name), hash_str(str_of(kind), SEED + number)) | 1;

    for (unsigned i = 0; notes && i < NOTES; i++) {
        struct task_note *note = &notes->notes[(hash / 2 + i) % NOTES];
        uint64_t found = 0;

        if (atomic_compare_exchange_strong(&note->name, &found, hash) || found == hash) {
            return note;
        }
    }
    return NULL;
}

/* When the process began, in the kernel's ticks; 0: it does not say. */
static uint64_t beginning_of(pid_t pid)
{
    char path[64], text[1024];
    uint64_t began;

    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    const char *at = proc_file_read(path, text, sizeof(text)) ? strrchr(text, ')') : NULL;

    return at && sscanf(
                     at + 1,
                     " %*c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %" SCNu64,
                     &began) == 1
               ? began
               : 0;
}

void task_note_runs(struct task_note *note, pid_t pid)
{
    if (note) {
        atomic_store(&note->began, beginning_of(pid));
        atomic_store(&note->pid, pid);
    }
}

void task_note_ended(struct task_note *note, pid_t pid)
{
    if (note) {
        atomic_compare_exchange_strong(&note->pid, &pid, 0);
    }
}

/* Without /proc, a process of this number that leads its group is taken for it. */
pid_t task_note_running(const struct task_note *note)
{
    pid_t pid = note ? atomic_load(&note->pid) : 0;

    if (pid <= 0 || kill(pid, 0) != 0 || getpgid(pid) != pid) {
        return 0;
    }
    uint64_t began = atomic_load(&note->began), now = began ? beginning_of(pid) : 0;

    return now == began || now == 0 ? pid : 0;
}

bool task_note_take(struct task_note *note, int64_t due, int64_t now)
{
    int64_t last = note ? atomic_load(&note->due) : 0;
    bool is_free = last < due || (last > now && last != due); /* the clock was set back */

    return !note || (is_free && atomic_compare_exchange_strong(&note->due, &last, due));
}
