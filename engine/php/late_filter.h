/* ext/filter keeps a second copy of every variable of a request, for filter_input() and its like. For those
 * of INPUT_SERVER, some thirty, that is a third of what a small request costs, and hardly a script asks: so
 * they are filtered when one does. */
#ifndef ENGINE_PHP_LATE_FILTER_H
#define ENGINE_PHP_LATE_FILTER_H

#include "engine/php/thread.h"

/* Main thread, after module startup. filter: gives the variables of the running request to the filter. */
void late_filter_install(void (*filter)(struct php_thread *t));
/* Can it wait? Not if it changes what a script sees (filter.default), and if it is somebody else's filter. A
 * worker's thread, in a request. */
bool late_filter_applies(void);

#endif
