/* Times one thread of the data pipeline: files to normalised batches with the augmentations of the
 * Bag of Tricks. Prints one JSON line: seconds of each pass over the files. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/rng.h"
#include "base/str.h"
#include "base/vec.h"
#include "data/pipeline.h"

#define BATCH 64 /* images written one after the other, as into a batch */

typedef struct bench {
    int64_t height, width, passes, cache_mb;
    const char *folder;
    REID_VEC(char *) files;
    reid_pipeline pipeline;
    reid_pipeline_scratch scratch;
    float *batch;
} bench;

static reid_status parse(int argc, char **argv, bench *b, reid_error *err)
{
    struct {
        const char *name;
        int64_t *value;
    } const rows[] = {{"--height", &b->height},
                      {"--width", &b->width},
                      {"--passes", &b->passes},
                      {"--cache", &b->cache_mb}};
    for (int i = 1; i + 1 < argc; i += 2) {
        bool known = strcmp(argv[i], "--folder") == 0;
        if (known)
            b->folder = argv[i + 1];
        for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++)
            if (strcmp(rows[r].name, argv[i]) == 0)
                known = reid_parse_int64(argv[i + 1], rows[r].value) == REID_OK;
        if (!known)
            return reid_fail(err, REID_ERR_INVALID, "what is '%s'?", argv[i]);
    }
    return b->folder ? REID_OK : reid_fail(err, REID_ERR_INVALID, "--folder is needed");
}

static reid_status list_files(bench *b, reid_error *err)
{
    DIR *folder = opendir(b->folder);
    if (!folder)
        return reid_fail(err, REID_ERR_IO, "cannot open '%s'", b->folder);
    const struct dirent *entry;
    while ((entry = readdir(folder)) != NULL)
        if (entry->d_name[0] != '.')
            reid_vec_push(&b->files, reid_xasprintf("%s/%s", b->folder, entry->d_name));
    closedir(folder);
    return b->files.count > 0 ? REID_OK : reid_fail(err, REID_ERR_INVALID, "the folder is empty");
}

static reid_status prepare(bench *b, reid_error *err)
{
    char size[64];
    reid_transform transform;
    snprintf(size, sizeof size, "[%lld, %lld]", (long long)b->height, (long long)b->width);
    const char *const values[][2] = {
        {"INPUT.SIZE_TRAIN", size},   {"INPUT.PADDING.ENABLED", "True"},
        {"INPUT.PADDING.SIZE", "10"}, {"INPUT.FLIP.ENABLED", "True"},
        {"INPUT.FLIP.PROB", "0.5"},   {"INPUT.REA.ENABLED", "True"},
        {"INPUT.REA.PROB", "0.5"},
    };
    reid_config *config = reid_config_new();
    reid_status status = REID_OK;
    for (size_t i = 0; i < sizeof values / sizeof values[0] && status == REID_OK; i++)
        status = reid_config_set(config, values[i][0], values[i][1], err);
    if (status == REID_OK)
        status = reid_transform_init(&transform, config, true, err);
    reid_config_free(config);
    REID_TRY(status);
    reid_pipeline_init(&b->pipeline, &transform, b->files.count, (size_t)b->cache_mb << 20);
    reid_pipeline_scratch_init(&b->scratch, &b->pipeline);
    b->batch = reid_alloc_aligned(BATCH * b->pipeline.image_bytes * sizeof *b->batch);
    return b->batch ? REID_OK : reid_fail(err, REID_ERR_EXHAUSTED, "no memory for a batch");
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static reid_status run_pass(bench *b, uint64_t pass, double *ret_sum, reid_error *err)
{
    for (size_t i = 0; i < b->files.count; i++) {
        reid_rng rng = reid_rng_stream(1, REID_RNG_AUGMENT, pass, (uint32_t)i);
        reid_transform_choice choice = reid_transform_draw(&b->pipeline.transform, &rng);
        float *image = b->batch + i % BATCH * b->pipeline.image_bytes;
        REID_TRY(reid_pipeline_run(&b->pipeline, &b->scratch, i, b->files.items[i], &choice, image,
                                   err));
        *ret_sum += image[i % b->pipeline.image_bytes];
    }
    return REID_OK;
}

static reid_status measure(bench *b, reid_error *err)
{
    double sum = 0;
    REID_TRY(run_pass(b, 0, &sum, err)); /* files and cache become warm */
    double cpu = cpu_seconds();
    printf("{\"seconds\": [");
    for (int64_t p = 0; p < b->passes; p++) {
        double start = reid_clock_seconds();
        REID_TRY(run_pass(b, (uint64_t)p + 1, &sum, err));
        printf("%s%.4f", p > 0 ? ", " : "", reid_clock_seconds() - start);
    }
    printf("], \"cpu_seconds\": %.4f, \"images\": %zu, \"sum\": %.6f}\n",
           (cpu_seconds() - cpu) / (double)b->passes, b->files.count, sum);
    return REID_OK;
}

int main(int argc, char **argv)
{
    bench b = {.height = 256, .width = 128, .passes = 3};
    reid_error err = {0};
    reid_status status = parse(argc, argv, &b, &err);
    if (status == REID_OK)
        status = list_files(&b, &err);
    if (status == REID_OK)
        status = prepare(&b, &err);
    if (status == REID_OK)
        status = measure(&b, &err);
    if (status != REID_OK)
        fprintf(stderr, "bench_data: %s\n", err.text);
    if (b.batch)
        reid_free_aligned(b.batch, BATCH * b.pipeline.image_bytes * sizeof *b.batch);
    reid_pipeline_scratch_fini(&b.scratch);
    reid_pipeline_fini(&b.pipeline);
    for (size_t i = 0; i < b.files.count; i++)
        free(b.files.items[i]);
    reid_vec_fini(&b.files);
    return status == REID_OK ? 0 : 1;
}
