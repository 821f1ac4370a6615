/* Runs a fuzz target without a fuzzing engine: every file of the corpus folders named on the command line as
 * it is, cut short at every length, with every bit flipped, and spliced with its neighbours by a fixed
 * pseudo-random sequence. The same input every time: what fails here fails again. One thread.
 *
 *   fuzz_NAME FOLDER...
 *
 * With clang, build a target with -fsanitize=fuzzer and without this file to look for new inputs. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { SEEDS_MAX = 1024, SEED_BYTES_MAX = 1 << 16, CUTS_MAX = 4096, FLIPS_MAX = 16384, SPLICES = 10000 };

struct seed {
    uint8_t *data;
    size_t size;
};

static struct seed seeds[SEEDS_MAX];
static size_t seed_count;
static unsigned long runs;
static uint64_t state = 0x9e3779b97f4a7c15u;

static uint32_t next_random(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 32);
}

/* The target gets an exact heap copy, so that the address sanitizer sees one byte too far. */
static void feed(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size > 0 ? size : 1);
    if (copy == NULL) {
        abort();
    }
    if (size > 0) {
        memcpy(copy, data, size);
    }
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    runs++;
}

static void load(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL || seed_count == SEEDS_MAX) {
        fprintf(stderr, "%s: cannot be read\n", path);
        exit(1);
    }
    struct seed *seed = &seeds[seed_count];
    seed->data = malloc(SEED_BYTES_MAX);
    if (seed->data == NULL) {
        abort();
    }
    seed->size = fread(seed->data, 1, SEED_BYTES_MAX, f);
    seed_count++;
    fclose(f);
}

static void load_folder(const char *folder)
{
    struct dirent **entries;
    int n = scandir(folder, &entries, NULL, alphasort);
    if (n < 0) {
        fprintf(stderr, "%s: no such corpus\n", folder);
        exit(1);
    }
    for (int i = 0; i < n; i++) {
        char path[4096];
        snprintf(path, sizeof(path), "%s/%s", folder, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.') {
            load(path);
        }
        free(entries[i]);
    }
    free(entries);
}

static void replay(const struct seed *seed)
{
    feed(seed->data, seed->size);
    for (size_t n = 0; n < seed->size && n < CUTS_MAX; n++) {
        feed(seed->data, n);
    }
    for (size_t bit = 0; bit < seed->size * 8 && bit < FLIPS_MAX; bit++) {
        seed->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        feed(seed->data, seed->size);
        seed->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

/* The beginning of one seed, the end of another, and a few bytes changed. */
static void splice(void)
{
    static uint8_t mix[2 * SEED_BYTES_MAX];
    const struct seed *a = &seeds[next_random() % seed_count], *b = &seeds[next_random() % seed_count];
    size_t head = a->size > 0 ? next_random() % (a->size + 1) : 0;
    size_t skip = b->size > 0 ? next_random() % (b->size + 1) : 0;
    memcpy(mix, a->data, head);
    memcpy(mix + head, b->data + skip, b->size - skip);
    size_t size = head + b->size - skip;
    for (uint32_t changes = next_random() % 4; size > 0 && changes > 0; changes--) {
        mix[next_random() % size] = (uint8_t)next_random();
    }
    feed(mix, size);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        load_folder(argv[i]);
    }
    if (seed_count == 0) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER... (with at least one file)\n", argv[0]);
        return 1;
    }
    for (size_t i = 0; i < seed_count; i++) {
        replay(&seeds[i]);
    }
    for (int i = 0; i < SPLICES; i++) {
        splice();
    }
    for (size_t i = 0; i < seed_count; i++) {
        free(seeds[i].data);
    }
    printf("%zu files, %lu inputs\n", seed_count, runs);
    return 0;
}
