/* Closing every descriptor but a few. Any single-threaded process. */
#ifndef ENGINE_SUPERVISE_DESCRIPTORS_H
#define ENGINE_SUPERVISE_DESCRIPTORS_H

#include <stddef.h>

struct keep_list {
    int *fds;
    size_t count, size;
};

void keep_add(struct keep_list *keep, int fd); /* negative ones are left out */
void keep_only(struct keep_list *keep);        /* closes all others, frees the list */

#endif
