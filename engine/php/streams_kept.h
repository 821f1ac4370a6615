/* Stream wrappers, filters and the default context as a worker script's boot has left them: kept once, put
 * back after each of its requests. Worker's thread. */
#ifndef ENGINE_PHP_STREAMS_KEPT_H
#define ENGINE_PHP_STREAMS_KEPT_H

struct streams_kept;

struct streams_kept *streams_keep(void); /* lives in PHP's memory of this run */
void streams_put_back(const struct streams_kept *kept);
void streams_free_kept(struct streams_kept *kept);

#endif
