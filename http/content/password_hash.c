/* Hashes of passwords. See the header. What is compared is compared in a time that does not depend on where
 * it differs. */
#include "http/content/password_hash.h"

#include <crypt.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <stdlib.h>

#include "http/wire/base64.h"

#define MD5_SIZE   16
#define SHA1_SIZE  20
#define APR1       "$apr1$"
#define APR1_SALT  8
#define APR1_TEXT  22 /* of its 16 bytes */
#define APR1_TURNS 1000
#define SHA1_MARK  "{SHA}"
#define DES_TEXT   13

static bool begins(const char *text, const char *with)
{
    return strncmp(text, with, strlen(with)) == 0;
}

static bool same(struct str a, struct str b)
{
    return a.n == b.n && CRYPTO_memcmp(a.p, b.p, a.n) == 0;
}

/* -- $apr1$: MD5, a thousand times over; the same idea as libcrypt's $1$, with another beginning -- */

static struct str apr1_salt(const char *hash)
{
    const char *salt = hash + strlen(APR1);
    return (struct str){salt, strcspn(salt, "$")};
}

static bool apr1_known(const char *hash)
{
    struct str salt = apr1_salt(hash);
    return salt.n > 0 && salt.n <= APR1_SALT && salt.p[salt.n] == '$' &&
           strlen(salt.p + salt.n + 1) == APR1_TEXT;
}

static bool md5_of(EVP_MD_CTX *md, const struct str *parts, size_t count, unsigned char out[MD5_SIZE])
{
    bool ok = EVP_DigestInit_ex(md, EVP_md5(), NULL) == 1;
    for (size_t i = 0; ok && i < count; i++) {
        ok = EVP_DigestUpdate(md, parts[i].p, parts[i].n) == 1;
    }
    return ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
}

static bool apr1_begin(EVP_MD_CTX *md, struct str password, struct str salt, unsigned char out[MD5_SIZE])
{
    const struct str twice[] = {password, salt, password};
    if (!md5_of(md, twice, 3, out) || EVP_DigestInit_ex(md, EVP_md5(), NULL) != 1) {
        return false;
    }
    bool ok = EVP_DigestUpdate(md, password.p, password.n) == 1 &&
              EVP_DigestUpdate(md, APR1, strlen(APR1)) == 1 && EVP_DigestUpdate(md, salt.p, salt.n) == 1;
    for (size_t left = password.n, n; ok && left > 0; left -= n) {
        n = left < MD5_SIZE ? left : MD5_SIZE;
        ok = EVP_DigestUpdate(md, out, n) == 1;
    }
    for (size_t bits = password.n; ok && bits > 0; bits >>= 1) {
        ok = EVP_DigestUpdate(md, bits & 1 ? "" : password.p, 1) == 1;
    }
    return ok && EVP_DigestFinal_ex(md, out, NULL) == 1;
}

static bool apr1_turn(EVP_MD_CTX *md, int turn, struct str password, struct str salt,
                      unsigned char out[MD5_SIZE])
{
    const struct str last = {(const char *)out, MD5_SIZE};
    struct str parts[4];
    size_t count = 0;
    parts[count++] = turn & 1 ? password : last;
    if (turn % 3) {
        parts[count++] = salt;
    }
    if (turn % 7) {
        parts[count++] = password;
    }
    parts[count++] = turn & 1 ? last : password;
    return md5_of(md, parts, count, out);
}

static void apr1_text(const unsigned char made[MD5_SIZE], char out[APR1_TEXT])
{
    static const char digits[] = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    static const unsigned char order[5][3] = {{0, 6, 12}, {1, 7, 13}, {2, 8, 14}, {3, 9, 15}, {4, 10, 5}};
    for (int i = 0; i < 5; i++) {
        unsigned v = (unsigned)made[order[i][0]] << 16 | (unsigned)made[order[i][1]] << 8 | made[order[i][2]];
        for (int k = 0; k < 4; k++, v >>= 6) {
            *out++ = digits[v & 63];
        }
    }
    *out++ = digits[made[11] & 63];
    *out = digits[made[11] >> 6];
}

static bool apr1_fits(const char *hash, struct str password)
{
    unsigned char made[MD5_SIZE];
    char text[APR1_TEXT];
    struct str salt = apr1_salt(hash);
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool ok = md && apr1_begin(md, password, salt, made);
    for (int turn = 0; ok && turn < APR1_TURNS; turn++) {
        ok = apr1_turn(md, turn, password, salt, made);
    }
    EVP_MD_CTX_free(md);
    if (!ok) {
        return false;
    }
    apr1_text(made, text);
    return same((struct str){text, APR1_TEXT}, str_of(salt.p + salt.n + 1));
}

/* -- {SHA} -- */

static bool sha1_read(const char *hash, unsigned char out[SHA1_SIZE])
{
    return base64_decode(str_of(hash + strlen(SHA1_MARK)), out, SHA1_SIZE) == SHA1_SIZE;
}

static bool sha1_fits(const char *hash, struct str password)
{
    unsigned char kept[SHA1_SIZE], made[EVP_MAX_MD_SIZE];
    return sha1_read(hash, kept) && EVP_Digest(password.p, password.n, made, NULL, EVP_sha1(), NULL) == 1 &&
           CRYPTO_memcmp(kept, made, SHA1_SIZE) == 0;
}

/* -- all of them -- */

bool password_hash_known(const char *hash)
{
    unsigned char sha1[SHA1_SIZE];
    if (begins(hash, APR1)) {
        return apr1_known(hash);
    }
    if (begins(hash, SHA1_MARK)) {
        return sha1_read(hash, sha1);
    }
    if (hash[0] != '$' && hash[0] != '_' && strlen(hash) != DES_TEXT) {
        return false; /* to libcrypt any two letters are the beginning of a hash of DES: also a password's */
    }
    int known = crypt_checksalt(hash);
    return known == CRYPT_SALT_OK || known == CRYPT_SALT_METHOD_LEGACY || known == CRYPT_SALT_TOO_CHEAP;
}

bool password_hash_fits(const char *hash, const char *password)
{
    if (begins(hash, APR1)) {
        return apr1_fits(hash, str_of(password));
    }
    if (begins(hash, SHA1_MARK)) {
        return sha1_fits(hash, str_of(password));
    }
    struct crypt_data *data = calloc(1, sizeof *data); /* 32 KB */
    const char *made = data ? crypt_r(password, hash, data) : NULL;
    bool fits = made && made[0] != '*' && same(str_of(made), str_of(hash));
    if (data) {
        OPENSSL_cleanse(data, sizeof *data);
        free(data);
    }
    return fits;
}

int password_key(unsigned char key[PASSWORD_DIGEST])
{
    return RAND_bytes(key, PASSWORD_DIGEST) == 1 ? 0 : -1;
}

bool password_digest(const unsigned char key[PASSWORD_DIGEST], struct str user, struct str password,
                     unsigned char out[PASSWORD_DIGEST])
{
    unsigned char text[2 * PASSWORD_MAX + 2];
    unsigned n = PASSWORD_DIGEST;
    size_t user_n = user.n < PASSWORD_MAX ? user.n : PASSWORD_MAX;
    size_t password_n = password.n < PASSWORD_MAX ? password.n : PASSWORD_MAX;
    memcpy(text, user.p, user_n);
    text[user_n] = ':'; /* no user has one */
    memcpy(text + user_n + 1, password.p, password_n);
    bool made = HMAC(EVP_sha256(), key, PASSWORD_DIGEST, text, user_n + 1 + password_n, out, &n) != NULL;
    OPENSSL_cleanse(text, sizeof text);
    return made;
}
