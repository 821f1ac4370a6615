/* What PHP functions may do to the process, which many threads share: made per thread, or refused. */
#ifndef ENGINE_PHP_HYGIENE_H
#define ENGINE_PHP_HYGIENE_H

#include <wchar.h>

#include "engine/engine_settings.h"
#include "engine/php/thread.h"

void hygiene_before_php(
    void); /* main thread: switches of C libraries that must be set before their first use */
void hygiene_install(const struct pool_conf *pool); /* main thread, after module startup */
void hygiene_thread_start(struct php_thread *t);
void hygiene_request_end(void); /* inside request shutdown */

/* Before a character is read: PHP's own state is forgotten, any other is left alone. Any thread. */
void hygiene_begin_character(mbstate_t *state);

/* What a worker script's boot has set of it, kept for its requests: malloc'ed, NULL = nothing. */
struct hygiene_kept *hygiene_keep(const struct php_thread *t);
void hygiene_put_back(struct php_thread *t, const struct hygiene_kept *kept); /* after a request */
void hygiene_free_kept(struct hygiene_kept *kept);

#endif
