/* Times the evaluation of Market-1501's size on made-up features, or on those of a file, so that a
 * peer can rank the same ones. Prints one JSON line: seconds of each run, memory beyond the
 * features, the figures.
 *
 * The file holds int32 queries, gallery, dim; int32 pids and camids of all images, queries first;
 * float32 features. */
#include <malloc.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "base/str.h"
#include "evaluation/rank.h"

#define CAMERAS 6
#define IDENTITIES 750
#define DISTRACTORS 2798 /* of 15,913 in Market-1501's gallery */

typedef struct bench {
    int64_t queries, gallery, dim, runs, threads, rerank;
    const char *metric, *data, *write;
    int32_t *pids, *camids;
    float *features;
} bench;

static reid_status parse(int argc, char **argv, bench *b, reid_error *err)
{
    struct {
        const char *name;
        int64_t *value;
    } const numbers[] = {
        {"--queries", &b->queries}, {"--gallery", &b->gallery}, {"--dim", &b->dim},
        {"--runs", &b->runs},       {"--threads", &b->threads}, {"--rerank", &b->rerank},
    };
    struct {
        const char *name;
        const char **value;
    } const texts[] = {{"--metric", &b->metric}, {"--data", &b->data}, {"--write", &b->write}};
    for (int i = 1; i < argc; i += 2) {
        bool known = false;
        for (size_t r = 0; r < sizeof numbers / sizeof numbers[0] && i + 1 < argc; r++)
            if (strcmp(numbers[r].name, argv[i]) == 0)
                known = reid_parse_int64(argv[i + 1], numbers[r].value) == REID_OK;
        for (size_t r = 0; r < sizeof texts / sizeof texts[0] && i + 1 < argc; r++)
            if (strcmp(texts[r].name, argv[i]) == 0) {
                *texts[r].value = argv[i + 1];
                known = true;
            }
        if (!known)
            return reid_fail(err, REID_ERR_INVALID, "what is '%s'?", argv[i]);
    }
    return REID_OK;
}

static reid_status allocate(bench *b, reid_error *err)
{
    size_t count = (size_t)(b->queries + b->gallery);
    if (b->queries < 1 || b->gallery < 1 || b->dim < 1)
        return reid_fail(err, REID_ERR_INVALID, "sizes must be above zero");
    b->pids = reid_alloc(count, sizeof *b->pids);
    b->camids = reid_alloc(count, sizeof *b->camids);
    b->features = reid_alloc_aligned(count * (size_t)b->dim * sizeof *b->features);
    if (!b->pids || !b->camids || !b->features)
        return reid_fail(err, REID_ERR_EXHAUSTED, "no memory for %zu features", count);
    return REID_OK;
}

/* An identity is a direction, a camera another, an image noise around them; all of unit length. */
static void make_up(bench *b)
{
    size_t dim = (size_t)b->dim, queries = (size_t)b->queries;
    size_t count = queries + (size_t)b->gallery;
    size_t distractors = (size_t)b->gallery * DISTRACTORS / 15913;
    size_t identities = REID_MIN(((size_t)b->gallery - distractors) / 8 + 1, (size_t)IDENTITIES);
    size_t anchors = identities + 1 + CAMERAS;
    float *anchor = reid_xcalloc(anchors * dim, sizeof *anchor);
    reid_rng rng = reid_rng_stream(1, REID_RNG_TEST, 0, 0);
    for (size_t i = 0; i < anchors * dim; i++)
        anchor[i] = (float)reid_rng_normal(&rng);
    for (size_t i = 0; i < count; i++) {
        bool distractor = i >= queries && i - queries < distractors;
        size_t pid = distractor ? 0 : 1 + i % identities;
        size_t cam = i < queries ? i / identities % CAMERAS : reid_rng_below(&rng, CAMERAS);
        const float *of_camera = anchor + (identities + 1 + cam) * dim;
        float *feature = b->features + i * dim;
        double squares = 0;
        for (size_t d = 0; d < dim; d++) {
            float own = distractor ? 0.0f : 0.34f * anchor[pid * dim + d];
            feature[d] = own + 0.25f * of_camera[d] + (float)reid_rng_normal(&rng);
            squares += (double)feature[d] * feature[d];
        }
        for (size_t d = 0; d < dim; d++)
            feature[d] = (float)(feature[d] / sqrt(squares));
        b->pids[i] = (int32_t)pid;
        b->camids[i] = (int32_t)cam;
    }
    free(anchor);
}

static bool transfer(FILE *file, void *data, size_t size, size_t count, bool reading)
{
    return (reading ? fread(data, size, count, file) : fwrite(data, size, count, file)) == count;
}

static reid_status exchange(bench *b, const char *path, bool reading, reid_error *err)
{
    FILE *file = fopen(path, reading ? "rbe" : "wbe");
    int32_t sizes[3] = {(int32_t)b->queries, (int32_t)b->gallery, (int32_t)b->dim};
    if (!file)
        return reid_fail(err, REID_ERR_IO, "cannot open '%s'", path);
    bool good = transfer(file, sizes, sizeof *sizes, 3, reading);
    reid_status status = REID_OK;
    if (reading && good) {
        b->queries = sizes[0];
        b->gallery = sizes[1];
        b->dim = sizes[2];
        status = allocate(b, err);
    }
    if (status == REID_OK && good) {
        size_t count = (size_t)(b->queries + b->gallery);
        good = transfer(file, b->pids, sizeof *b->pids, count, reading) &&
               transfer(file, b->camids, sizeof *b->camids, count, reading) &&
               transfer(file, b->features, sizeof *b->features, count * (size_t)b->dim, reading);
    }
    if (fclose(file) != 0 || !good)
        status = reid_fail(err, REID_ERR_IO, "'%s' is cut off", path);
    return status;
}

static long resident_kib(const char *field)
{
    char line[256];
    long value = -1;
    FILE *file = fopen("/proc/self/status", "re");
    while (file && value < 0 && fgets(line, sizeof line, file))
        if (strncmp(line, field, strlen(field)) == 0)
            value = strtol(line + strlen(field), NULL, 10);
    if (file)
        fclose(file);
    return value;
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6;
}

static reid_status measure(bench *b, reid_error *err)
{
    size_t queries = (size_t)b->queries, dim = (size_t)b->dim;
    reid_eval_set q = {b->features, b->pids, b->camids, queries};
    reid_eval_set g = {b->features + queries * dim, b->pids + queries, b->camids + queries,
                       (size_t)b->gallery};
    reid_eval_metric metric;
    reid_rank_result result = {0};
    REID_TRY(reid_eval_metric_from_name(b->metric, &metric, err));
    reid_rerank_options rerank = {.k1 = 20, .k2 = 6, .lambda = 0.3};
    reid_eval_options options = {
        .metric = metric, .threads = (int)b->threads, .rerank = b->rerank ? &rerank : NULL};
    malloc_trim(0);
    long before = resident_kib("VmRSS:");
    double cpu = cpu_seconds();
    printf("{\"seconds\": [");
    for (int64_t i = 0; i < b->runs; i++) {
        double start = reid_clock_seconds();
        REID_TRY(reid_eval_market1501(&q, &g, dim, &options, &result, err));
        printf("%s%.4f", i > 0 ? ", " : "", reid_clock_seconds() - start);
    }
    printf("], \"cpu_seconds\": %.4f", (cpu_seconds() - cpu) / (double)b->runs);
    printf(", \"beyond_mib\": %.1f, \"mAP\": %.12f, \"mINP\": %.12f, \"cmc\": [",
           (double)(resident_kib("VmHWM:") - before) / 1024, result.map, result.minp);
    for (int k = 0; k < REID_EVAL_MAX_RANK; k++)
        printf("%s%.12f", k > 0 ? ", " : "", result.cmc[k]);
    printf("]}\n");
    return REID_OK;
}

int main(int argc, char **argv)
{
    bench b = {.queries = 3368, .gallery = 15913, .dim = 2048, .runs = 1, .metric = "cosine"};
    reid_error err = {0};
    reid_status status = parse(argc, argv, &b, &err);
    if (status == REID_OK && b.data) {
        status = exchange(&b, b.data, true, &err);
    } else if (status == REID_OK) {
        status = allocate(&b, &err);
        if (status == REID_OK)
            make_up(&b);
    }
    if (status == REID_OK && b.write)
        status = exchange(&b, b.write, false, &err);
    else if (status == REID_OK)
        status = measure(&b, &err);
    if (status != REID_OK)
        fprintf(stderr, "bench_eval: %s\n", err.text);
    free(b.pids);
    free(b.camids);
    if (b.features)
        reid_free_aligned(b.features, (size_t)((b.queries + b.gallery) * b.dim) * sizeof(float));
    return status == REID_OK ? 0 : 1;
}
