/* The other pools whose clients a process answers (frontend.answers_for): known at its launch, by name, since
 * it may outlive the configuration. Their numbers are those of the blocks on its board. Supervisor's thread.
 */
#ifndef ENGINE_SUPERVISE_GUESTS_H
#define ENGINE_SUPERVISE_GUESTS_H

#include <stdbool.h>
#include <stdint.h>

struct config;
struct pool_conf;
struct scribe;
struct supervisor;

/* One of them, and the pipe for lines of its access log (scribe.h). */
struct guest_place {
    char *name;
    int log[2];            /* [0] is the scribe's, [1] the process's until it is forked; -1 = none */
    struct scribe *scribe; /* NULL: not started */
};

struct guests {
    struct guest_place *places;
    uint32_t count;
};

/* Those of a process of `owner`, in file order. */
void guests_find(struct guests *out, const struct config *config, const struct pool_conf *owner);
/* At the end; log_pipe becomes ours. */
void guests_add(struct guests *guests, const char *name, int log_pipe);
bool guests_number(const struct guests *guests, const char *name, uint32_t *number);
/* The pipes, for those that have an access log: 0 or -1. */
int guests_open_logs(struct guests *guests, const struct supervisor *s);
int guests_file(const struct guest_place *place, const struct supervisor *s); /* that access log; -1 = none */
void guests_close_theirs(struct guests *guests);                              /* the process's ends */
void guests_start_scribes(struct guests *guests, const struct supervisor *s);
/* What is in the pipes is still written. */
void guests_free(struct guests *guests);

#endif
