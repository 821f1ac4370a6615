/* Programs that a request has started and never waited for. A handle of proc_open() that ends without
 * proc_close() does not wait, as in php-fpm, where what remains of the program (a zombie) goes with the
 * worker. Here it would stay as long as the process of all workers, and process numbers are the whole
 * machine's. So who started it may still wait for it, and once its request is over whoever ends a request
 * does. Any thread. */
#ifndef ENGINE_PHP_CHILDREN_H
#define ENGINE_PHP_CHILDREN_H

#include <sys/types.h>

/* waitpid(2), which PHP calls: notes what is left behind. */
pid_t children_wait(pid_t pid, int *status, int options, pid_t (*wait_of_libc)(pid_t, int *, int));
/* This thread's request is over. */
void children_request_end(void);
/* In a child of fork(): none of them is its own. */
void children_give_up(void);

#endif
