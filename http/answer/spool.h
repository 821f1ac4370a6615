/* The part of an answer that its client has not read yet, when it is more than a few messages: in a temporary
 * file without a name, so that a slow reader does not hold a worker. One file an answer, up to
 * http.response_buffer; all of a process together have http.response_files. The worker writes it; the loop
 * reads what it is told of (reply_message.h). */
#ifndef HTTP_ANSWER_SPOOL_H
#define HTTP_ANSWER_SPOOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct spool {
    int fd_and_one; /* 0 = there is no file */
    uint64_t size;  /* of the file: what is counted of all spools */
    uint64_t end;   /* where the next piece goes */
};

/* What all spools of this process may take together. Before the loops start. */
void spool_limit(uint64_t bytes);
/* Appends the parts, n bytes in all, and says where they lie. False: there is no room within limit, or on the
 * disk, and nothing was added. */
bool spool_add(struct spool *spool, const struct iovec *v, int count, size_t n, uint64_t limit, off_t *at);
/* Nothing of it is wanted any more: it begins anew. */
void spool_rewind(struct spool *spool);
void spool_free(struct spool *spool);
int spool_fd(const struct spool *spool);

#endif
