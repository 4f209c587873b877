/* The command line of the programs that time a training step: pairs of a name and a value. */
#ifndef BENCH_OPTIONS_H
#define BENCH_OPTIONS_H

#include <stdint.h>
#include <string.h>

#include "base/status.h"
#include "base/str.h"

typedef struct bench_options {
    const char *depth;     /* as MODEL.BACKBONE.DEPTH: "18x", "50x" */
    const char *recompute; /* as MODEL.RECOMPUTE */
    int64_t height, width, batch, steps, warmup, threads;
    int64_t bf16;    /* 1: activations in bfloat16 */
    int64_t direct;  /* 1: no Winograd */
    int64_t rule;    /* 1: Winograd by the rule of shapes, nothing measured */
    int64_t summary; /* 1: the time of each layer, or of each kind of call, to stderr */
} bench_options;

#define BENCH_OPTIONS_DEFAULT                                                                      \
    {                                                                                              \
        .depth = "50x", .recompute = "block", .height = 256, .width = 128, .batch = 32,            \
        .steps = 3, .warmup = 1                                                                    \
    }

static inline reid_status bench_options_parse(int argc, char **argv, bench_options *o,
                                              reid_error *err)
{
    struct {
        const char *name;
        int64_t *value;
    } const rows[] = {
        {"--height", &o->height},   {"--width", &o->width},   {"--batch", &o->batch},
        {"--steps", &o->steps},     {"--warmup", &o->warmup}, {"--threads", &o->threads},
        {"--bf16", &o->bf16},       {"--direct", &o->direct}, {"--rule", &o->rule},
        {"--summary", &o->summary},
    };
    for (int i = 1; i < argc; i += 2) {
        if (i + 1 == argc)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a value", argv[i]);
        if (strcmp(argv[i], "--depth") == 0 || strcmp(argv[i], "--recompute") == 0) {
            *(argv[i][2] == 'd' ? &o->depth : &o->recompute) = argv[i + 1];
            continue;
        }
        size_t r = 0;
        while (r < sizeof rows / sizeof rows[0] && strcmp(rows[r].name, argv[i]) != 0)
            r++;
        if (r == sizeof rows / sizeof rows[0])
            return reid_fail(err, REID_ERR_INVALID, "unknown option '%s'", argv[i]);
        if (reid_parse_int64(argv[i + 1], rows[r].value) != REID_OK || *rows[r].value < 0)
            return reid_fail(err, REID_ERR_INVALID, "%s needs a number", argv[i]);
    }
    if (o->height < 32 || o->width < 32 || o->batch < 1 || o->steps < 1)
        return reid_fail(err, REID_ERR_INVALID,
                         "at least 32x32 pixels, one image and one step are needed");
    return REID_OK;
}

#endif
