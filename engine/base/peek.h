/* Reading memory of this process that may not be there, or may change meanwhile: it is copied by the kernel,
 * which says no instead of faulting. Async-signal-safe, any thread; errno changes. */
#ifndef ENGINE_BASE_PEEK_H
#define ENGINE_BASE_PEEK_H

#include <stdbool.h>
#include <stddef.h>

struct peek {
    void *to;
    const void *from;
    size_t n;
    bool copied; /* out: all n bytes were there */
};

/* Many at once, since the calls are what it costs. copied is false before. */
void peek_all(struct peek *pieces, size_t count);
bool peek(void *to, const void *from, size_t n);

#endif
