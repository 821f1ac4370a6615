/* A certificate for development. See the header. */
#include "http/net/tls_self_signed.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/str.h"

#define DAY_S      86400
#define LIFE_DAYS  365
#define SPARE_DAYS 7
#define NAMES      "DNS:localhost,DNS:*.localhost,IP:127.0.0.1,IP:::1"

/* -- where -- */

/* $XDG_DATA_HOME/tokiophp; malloc'ed. NULL: there is no such place. */
static char *own_folder(void)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (data && *data == '/') {
        return xasprintf("%s/tokiophp", data);
    }
    return home && *home == '/' ? xasprintf("%s/.local/share/tokiophp", home) : NULL;
}

/* The folder and those above it. */
static int make_folder(const char *path)
{
    char *text = xstrdup(path);
    for (char *slash = strchr(text + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        mkdir(text, 0755);
        *slash = '/';
    }
    free(text);
    return mkdir(path, 0700) == 0 || errno == EEXIST ? 0 : -1;
}

static bool lasts(const char *cert, const char *key)
{
    FILE *file = access(key, R_OK) == 0 ? fopen(cert, "re") : NULL;
    X509 *x = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
    time_t soon = time(NULL) + SPARE_DAYS * DAY_S;
    bool good = x && X509_cmp_time(X509_get0_notAfter(x), &soon) > 0;
    X509_free(x);
    if (file) {
        fclose(file);
    }
    return good;
}

/* -- made by ourselves -- */

static bool add_extension(X509 *x, int nid, const char *value)
{
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);
    bool good = extension && X509_add_ext(x, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return good;
}

static bool fill(X509 *x, EVP_PKEY *key)
{
    uint64_t serial;
    X509_NAME *name = X509_get_subject_name(x);
    return RAND_bytes((unsigned char *)&serial, sizeof serial) == 1 &&
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(x), serial >> 1) == 1 &&
           X509_set_version(x, 2) == 1 && X509_gmtime_adj(X509_getm_notBefore(x), -DAY_S) &&
           X509_gmtime_adj(X509_getm_notAfter(x), (long)LIFE_DAYS * DAY_S) && X509_set_pubkey(x, key) == 1 &&
           X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"localhost", -1, -1,
                                      0) == 1 &&
           X509_set_issuer_name(x, name) == 1 && add_extension(x, NID_subject_alt_name, NAMES) &&
           add_extension(x, NID_basic_constraints, "critical,CA:FALSE") &&
           add_extension(x, NID_ext_key_usage, "serverAuth") && X509_sign(x, key, EVP_sha256()) > 0;
}

static FILE *create(const char *path, mode_t mode)
{
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    return fd >= 0 ? fdopen(fd, "w") : NULL;
}

static bool sign_one(const char *cert_path, const char *key_path)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    FILE *cert = create(cert_path, 0644), *secret = create(key_path, 0600);
    bool good = key && x && cert && secret && fill(x, key) && PEM_write_X509(cert, x) == 1 &&
                PEM_write_PrivateKey(secret, key, NULL, NULL, 0, NULL, NULL) == 1;
    good = (!cert || fclose(cert) == 0) && good;
    good = (!secret || fclose(secret) == 0) && good;
    X509_free(x);
    EVP_PKEY_free(key);
    return good;
}

/* -- made by mkcert, whose authority the user's browsers know -- */

static bool ask_mkcert(const char *cert, const char *key)
{
    extern char **environ;
    const char *argv[] = {"mkcert",    "-cert-file",  cert,        "-key-file", key,
                          "localhost", "*.localhost", "127.0.0.1", "::1",       NULL};
    pid_t pid;
    int status;
    if (posix_spawnp(&pid, "mkcert", NULL, NULL, (char **)(uintptr_t)argv, environ) != 0) {
        return false;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 && lasts(cert, key);
}

int tls_self_signed(char **cert, char **key, char *error, size_t error_size)
{
    char *folder = own_folder();
    if (!folder || make_folder(folder) != 0) {
        snprintf(error, error_size, "no place for a certificate: %s%s%s",
                 folder ? folder : "neither HOME nor XDG_DATA_HOME is set", folder ? ": " : "",
                 folder ? strerror(errno) : "");
        free(folder);
        return -1;
    }
    *cert = xasprintf("%s/localhost.pem", folder);
    *key = xasprintf("%s/localhost.key", folder);
    free(folder);
    if (!lasts(*cert, *key) && !ask_mkcert(*cert, *key) && !sign_one(*cert, *key)) {
        snprintf(error, error_size, "cannot make a certificate at %s: %s", *cert, strerror(errno));
        free(*cert);
        free(*key);
        return -1;
    }
    return 0;
}
