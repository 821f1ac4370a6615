/* Private keys pass through memory of OpenSSL's that it frees as it is: a file's decoded bytes, for example.
 * The supervisor reads the keys of all pools, and its memory is where every engine process begins, so what is
 * freed there is wiped. Once a process has its own keys, freeing costs nothing more. */
#include <malloc.h>
#include <openssl/crypto.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/log.h"
#include "http/net/tls_private.h"

static bool wiping = true; /* changes before the loops start */
static bool told;          /* OpenSSL is, who allocates for it */

static void *allocate(size_t n, const char *file, int line)
{
    (void)file;
    (void)line;
    return malloc(n);
}

static void release(void *p, const char *file, int line)
{
    (void)file;
    (void)line;
    if (p && wiping) {
        explicit_bzero(p, malloc_usable_size(p));
    }
    free(p);
}

static void *resize(void *p, size_t n, const char *file, int line)
{
    if (!p || !wiping) {
        return realloc(p, n);
    }
    size_t had = malloc_usable_size(p);
    void *fresh = n ? malloc(n) : NULL;
    if (fresh) {
        memcpy(fresh, p, had < n ? had : n);
    }
    if (fresh || n == 0) {
        release(p, file, line);
    }
    return fresh;
}

void tls_memory_wipe(void)
{
    if (!told) {
        told = true;
        if (CRYPTO_set_mem_functions(allocate, resize, release) != 1) {
            log_warning("TLS: OpenSSL is in use already: what it frees of private keys is not wiped");
        }
    }
}

bool tls_is_begun(void)
{
    return told;
}

void tls_memory_settle(void)
{
    wiping = false;
}
