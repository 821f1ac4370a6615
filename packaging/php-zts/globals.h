/* Included into every C file of PHP before all else (packaging/php-zts/build): where a thread's globals lie
 * is a number in libphp's code.
 *
 * A thread's block begins at _tsrm_ls_cache. PHP keeps in a variable how far into it EG(), CG() and the like
 * are, although the order in which they are laid out, and so the number, is the same in every process: each
 * access loads that variable first. globals_at.h, which globals-at makes, has the numbers; globals-check.c
 * looks whether they are true. The variables stay and are right, for whoever is not linked into libphp:
 * extensions are compiled as ever.
 *
 * Code that PHP compiles without a thread's own pointer (ext/date, ext/zlib) called a function for each
 * access; libphp's pointer is there for it as well. */
#if !defined(TOKIOPHP_GLOBALS_H) && !defined(__ASSEMBLER__) && !defined(ZEND_COMPILE_DL_EXT)
#define TOKIOPHP_GLOBALS_H

#include "globals_at.h"

#include "TSRM.h"

#ifdef ZTS
#undef TSRMG
#undef TSRMG_BULK
#undef TSRMG_FAST
#undef TSRMG_FAST_STATIC
/* `offset` is the variable's name, which is not looked at in any other way. */
#define TSRMG_FAST_STATIC(offset, type, element) (((type)((char *)TSRMLS_CACHE + AT_##offset))->element)
#define TSRMG_FAST(offset, type, element)        TSRMG_FAST_STATIC(offset, type, element)
#define TSRMG(id, type, element)                 TSRMG_STATIC(id, type, element)
#define TSRMG_BULK(id, type)                     TSRMG_BULK_STATIC(id, type)
TSRMLS_MAIN_CACHE_EXTERN()
#endif

#endif
