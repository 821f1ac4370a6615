/* See thread.h. */
#include "engine/php/thread.h"

ZEND_TSRMLS_CACHE_DEFINE()

_Thread_local struct php_thread *php_thread;
