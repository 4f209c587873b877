/* Runs a fuzz target without a fuzzer: fuzz_NAME FILE_OR_FOLDER … runs every file as it is and then
 * a few hundred mutations of it, the same ones each time. A crash or a sanitizer's report is the
 * failure; the input that was running is named. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/rng.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS = 300, MAX_BYTES = 1 << 20 };

static const char *current;
static unsigned current_mutation;

static void name_input(void)
{
    if (current)
        fprintf(stderr, "while running %s, mutation %u\n", current, current_mutation);
}

/* An assertion. */
static void on_abort(int number)
{
    name_input();
    signal(number, SIG_DFL);
    raise(number);
}

/* Flips, inserts, removes, repeats and cuts. Returns the new size; the buffer has room for twice
 * the old one and 64 bytes. */
static size_t mutate(uint8_t *bytes, size_t size, reid_rng *rng)
{
    for (uint32_t edits = 1 + reid_rng_below(rng, 4); edits > 0; edits--) {
        size_t at = size > 0 ? reid_rng_below(rng, (uint32_t)size) : 0;
        size_t length = size > at ? reid_rng_below(rng, (uint32_t)(size - at)) % 16 : 0;
        switch (reid_rng_below(rng, 6)) {
        case 0:
            if (size > 0)
                bytes[at] ^= (uint8_t)(1u << reid_rng_below(rng, 8));
            break;
        case 1:
            if (size > 0)
                bytes[at] = (uint8_t)reid_rng_u32(rng);
            break;
        case 2: /* a byte more */
            memmove(bytes + at + 1, bytes + at, size - at);
            bytes[at] = (uint8_t)reid_rng_u32(rng);
            size++;
            break;
        case 3: /* some bytes less */
            memmove(bytes + at, bytes + at + length, size - at - length);
            size -= length;
            break;
        case 4: /* some bytes again */
            memmove(bytes + at + length, bytes + at, size - at);
            size += length;
            break;
        default:
            if (reid_rng_below(rng, 4) == 0)
                size = at;
        }
    }
    return size;
}

static void run_file(const char *path)
{
    char *data;
    size_t size;
    reid_error err = {0};
    if (reid_file_read(path, MAX_BYTES, &data, &size, &err) != REID_OK) {
        fprintf(stderr, "%s\n", err.text);
        exit(2);
    }
    current = path;
    current_mutation = 0;
    LLVMFuzzerTestOneInput((const uint8_t *)data, size);
    for (current_mutation = 1; current_mutation <= MUTATIONS; current_mutation++) {
        reid_rng rng = reid_rng_stream(size, REID_RNG_TEST, current_mutation, 0);
        uint8_t *bytes = reid_xmalloc(2 * size + 64);
        memcpy(bytes, data, size);
        size_t mutated = mutate(bytes, size, &rng);
        uint8_t *exact = reid_xmalloc(mutated + 1); /* so that reading beyond is seen */
        memcpy(exact, bytes, mutated);
        LLVMFuzzerTestOneInput(exact, mutated);
        free(exact);
        free(bytes);
    }
    current = NULL;
    free(data);
}

int main(int argc, char **argv)
{
    size_t files = 0;
    atexit(name_input);
    signal(SIGABRT, on_abort);
    for (int i = 1; i < argc; i++) {
        if (!reid_path_is_dir(argv[i])) {
            run_file(argv[i]);
            files++;
            continue;
        }
        reid_dir_entry *entries;
        size_t count;
        reid_error err = {0};
        if (reid_dir_list(argv[i], &entries, &count, &err) != REID_OK) {
            fprintf(stderr, "%s\n", err.text);
            return 2;
        }
        for (size_t k = 0; k < count; k++) {
            char *path = reid_path_join(argv[i], entries[k].name);
            run_file(path);
            free(path);
            files++;
        }
        reid_dir_free(entries, count);
    }
    printf("%zu inputs, %d mutations of each\n", files, MUTATIONS);
    return files > 0 ? 0 : 2;
}
