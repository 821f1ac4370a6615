/* Whatever a path is made of, what path_name lets through is clean, and means the same when it is encoded
 * and read again. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "engine/base/must.h"
#include "http/wire/path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char clean[PATH_TEXT_MAX + 1], again[PATH_TEXT_MAX + 1], encoded[3 * PATH_TEXT_MAX + 4];
    int n = path_name((struct str){(const char *)data, size}, clean, NULL);
    if (n < 0) {
        MUST(n == -400 || n == -403 || n == -414);
        return 0;
    }
    MUST(n > 0 && n <= PATH_TEXT_MAX && clean[0] == '/' && strlen(clean) == (size_t)n);
    MUST(strstr(clean, "//") == NULL && strchr(clean, '\\') == NULL);
    for (const char *dot = strstr(clean, "/."); dot != NULL; dot = strstr(dot + 1, "/.")) {
        MUST(dot == clean && strncmp(dot, "/.well-known", 12) == 0 && (dot[12] == '/' || dot[12] == '\0'));
    }
    size_t encoded_n = path_encode((struct str){clean, (size_t)n}, encoded, sizeof(encoded));
    MUST(encoded_n >= (size_t)n);
    MUST(path_name((struct str){encoded, encoded_n}, again, NULL) == n &&
         memcmp(clean, again, (size_t)n) == 0);
    return 0;
}
